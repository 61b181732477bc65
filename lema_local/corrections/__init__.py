"""What a corrector wrote, and what a solution's steps say: parsed, spliced onto the kept steps, checked, judged.

Here because whether a correction corrects anything is the one question that the method hangs on. Pure: model output is
hostile, so nothing here runs it, and every pattern is linear. Prompts, stages, review and the oracle call it.
"""
