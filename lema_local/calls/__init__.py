"""The only caller of an LLM: requests, pacing, budget, prices, and the judgement of what came back.

Here so that one place knows what is sent, what is tried again, what it costs, and that a status of 200 can lie. Stages
ask it through stages/calls.py; Batch files hold the same calls as lines.
"""
