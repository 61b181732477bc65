"""Ans(.): the final answer of a text, and whether it is the reference's, for numbers, LaTeX and options.

One grader for the whole project, so that a mistake means the same everywhere: exact rules first, algebra in a pool of
processes that can be killed, and the authors' own rules to stand beside the paper. Pure but for that pool.
"""
