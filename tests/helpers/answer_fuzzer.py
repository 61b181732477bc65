"""Texts that a model might write and a parser might break on: pieces of answers, LaTeX, reasoning and corrections, put
together by a seed. Grows no large number and no deep nest: what is slow or large is tested elsewhere."""

import random

_NUMBERS = (
    "0", "1", "3", "7", "12", "18", "100", "2004", "1,000", "12,34,567", "3.14", ".5", "0.333", "1e5", "2E-9", "00",
    "1.", "½", "²", "٣", "三", "1/2", "3/0", "2 1/2", "25%", "$5", "7:00 pm", "10:30", "6!", "6!!", "6!!!", "n!", "-3",
    "- 3", "−4", "+5", "999999999999999999999", "1.5 million", "2 dozen", "half", "one half", "twenty-five",
    "two and a half",
)  # fmt: skip
_LATEX = (
    r"\frac", r"\dfrac12", r"\frac{1}{2}", r"\frac{", r"\sqrt", r"\sqrt14", r"\sqrt[3]{8}", r"\sqrt{", r"\pi", "π",
    "√", r"\sin", r"\cos 60^\circ", r"\tan^{-1}", r"\ln", r"\log_2", r"\exp", r"\boxed", r"\boxed{", r"\boxed{5}",
    r"\fbox{", r"\text{", r"\text{ and }", r"\text{ or else }", r"\left(", r"\right]", r"\{", r"\}", r"\cup",
    r"\infty", r"\pm", r"\le", r"\begin{pmatrix}", r"\end{pmatrix}", r"\\", "&", r"\circ", "°", r"\degree",
    r"\overline{3}", r"\pmod 5", r"\binom{5}{2}", r"\angle ABC", r"\theta", r"\cdot", r"\times", r"\div", r"\approx",
    r"\%", r"\$", r"\!", r"\,", "_7", "_{two}", "base 7", "^", "^2", "^{-1}", "^{10}", "^{", "{", "}", "(", ")", "[",
    "]", "|", "!", "'", "x", "y", "f(x)", "i", "e", "2i", "x^2", "xy", "AB", "=", "x=", "x^2=", "<", ">", ",", ";",
    ":", "+", "-", "*", "/", "**", "...",
)  # fmt: skip
_WORDS = (
    "The answer is", "the answer is not", "The final answer is:", "Answer:", "**Answer:**", "ANSWER:", "A:", "####",
    "#### Step 2:", "The correct option is", "is the answer.", "My choice is", "(A)", "(B)", "A)", "option C", "C",
    "a", "a bank", "A dog", "either (A) or (B)", "not (D)", "vitamin C", "apples", "dollars per", "degrees",
    "because", "and", "or", "but", "so", "half of", "twice", "January 5", "p.m.", "Monday", "no solution", "Step 1:",
    "Step 2:", "Step 1.", "Incorrect Step: Step 2", "Incorrect step:", "Explanation:", "Correct Solution:",
    "**Explanation**", "Step 99999999999:", "The original solution is correct.", "There is no mistake.",
    "| Step | Sum |", "|---|---|", "| 2 | 3 |", "```json",
    '{"incorrect_step": 2, "explanation": "x", "correct_solution": ["5"]}', '{"incorrect_step":', "```", "Question:",
    "Q1:", "Human:", "Problem 2:", "I am not sure.", "<<3+4=7>>7", "\n", "\n\n", "\t", "  ", ". ", ".", "?", "! ",
)  # fmt: skip
_MARKERS = (
    "<think>", "</think>", "<thinking>", "</reasoning>", "[THINK]", "[/THINK]", "◁think▷",
    "<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|end|>", "<|im_end|>", "</s>", "analysis",
    "assistantfinal", "<answer>", "</answer>", "Here is my thought process:", "Here is my response:", "\x00",
    "\u200b", "\u202e", "\ud800", "\udfff", "\ufeff", "é", "→", "★", "𝟓", "\x85", "\u2028",
)  # fmt: skip
_KINDS = ((_NUMBERS, 4), (_LATEX, 4), (_WORDS, 4), (_MARKERS, 1))
_POOLS = [pool for pool, weight in _KINDS for _ in range(weight)]


def fuzz_text(rng: random.Random) -> str:
    """A text of up to fourteen pieces, with and without blanks between them."""
    pieces = []
    for _ in range(rng.randint(1, 14)):
        pieces.append(rng.choice(rng.choice(_POOLS)))
        if rng.random() < 0.4:
            pieces.append(" ")
    return "".join(pieces)


def fuzz_formula(rng: random.Random) -> str:
    """An answer, or a reference, of numbers and LaTeX alone."""
    return "".join(rng.choice(_NUMBERS if rng.random() < 0.4 else _LATEX) for _ in range(rng.randint(1, 7)))
