"""Sums in LaTeX as plain text: each formula alone, what cannot be read as no sum, money and hostile text."""

import time

import pytest

from lema_local.corrections.latex import plain_sums


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("She pays $5 * 3 = $15 and $6.", "She pays $5 * 3 = $15 and $6."),
        ("She pays 5$ * 3 = 15$ and 6$.", "She pays 5$ * 3 = 15$ and 6$."),
        ("He spends $.50 / 2 = $.25, $ 155 = $ 155 and $$60.", "He spends $.50 / 2 = $.25, $ 155 = $ 155 and $$60."),
        (r"It is $3 \times 4 = 12$ now", "It is  ; 3 * 4 = 12 ;  now"),
        (r"The answer is $\boxed{34}$", r"The answer is  \boxed{34} "),
        (r"So $x = 3 \cdot 4$", r"So  ; x ≈ 3 * 4 ; "),
        (r"\$5 \times 3 = \$15", " 5 * 3 =  15"),
    ],
)
def test_a_formula_stands_between_stops_and_money_stays_money(text: str, plain: str) -> None:
    assert plain_sums(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        "$" * 100_000,
        "$ = " * 50_000,
        "$a" * 50_000 + "1",
        "\\(" * 50_000,
        "\\[ \\( $ = " * 20_000,
        "\\frac{1" * 30_000,
        "\\text{" * 30_000,
        "$ \\le" + " " * 200_000 + "=$",
        "$1 = 2 " + " " * 200_000 + "(\\, $",
    ],
)
def test_hostile_formulas_take_linear_time(text: str) -> None:
    started = time.process_time()
    plain_sums(text)
    assert time.process_time() - started < 2.0
