"""The exact value of a number that was read off a text, and when a decimal stands for another value.

    >>> evaluate("3 1/2"), evaluate("25%"), evaluate("(10 + 8)/2")
    ((Fraction(7, 2), None), (Fraction(25, 1), Fraction(1, 4)), (Fraction(9, 1), None))

The rule for decimals, for number and latex alike: a decimal is the number that its digits are, so 0.333 is not 1/3.
Only a reference may be rounded (ASDiv's 3.333 for 10/3): a decimal reference of three significant digits or more is
also reached by a value that has no finite decimal and rounds to it, half up, at its own decimals; and by such a value
rounded or cut to at least three decimals, where a fraction with a denominator of at most 12 has both decimals (3.3333
for 3.333).
"""

import ast
import re
from fractions import Fraction

Number = Fraction | int
# the value, and the other reading of a percentage or a scaled number
Value = tuple[Number, Number | None]
_SCALES = {"dozen": 12, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ARITHMETIC = re.compile(r"[\d.+*/() x-]{1,100}")
_DECIMAL = re.compile(r"-?\d{0,30}\.(\d{1,30})")
_ENDLESS = (3, 6, 7, 9, 11, 12)  # denominators up to 12 without a finite decimal


def evaluate(plain: str) -> Value | None:
    """The value of a number as numerals.read_number writes it; None where it is no single rational number."""
    body, _, scale = plain.partition(" ") if plain[-1:] in {"n", "d"} else (plain, "", "")
    percent = body.endswith("%")
    body = body.rstrip("%")
    try:
        if " " in body and "/" in body and re.fullmatch(r"-?\d+ \d+/\d+", body):
            whole, part = body.split(" ")
            value = abs(Fraction(whole)) + Fraction(part)
            value = -value if body.startswith("-") else value
        elif re.fullmatch(r"-?[\d.]+(?:e[-+]?\d+)?", body, re.IGNORECASE):
            value = Fraction(body)
        elif re.fullmatch(r"-?[\d.]+/[\d.]+", body):
            top, bottom = body.split("/")
            value = Fraction(top) / Fraction(bottom)
        else:
            return _arithmetic_value(body)
    except (ValueError, ZeroDivisionError):
        return None
    if percent:
        return value, value / 100
    return (value * _SCALES[scale], value) if scale in _SCALES else (value, None)


def is_rounded(value: Number, reference: str, answer: str = "") -> bool:
    """Whether a decimal reference is this value, rounded. `answer`: how the value was written, where that is known."""
    if not _ends(value):
        return rounds_to(value, reference)
    given = _DECIMAL.fullmatch(answer)
    if given is None or len(given[1]) < 3:
        return False
    for bottom in _ENDLESS:
        exact = Fraction(round(Fraction(value * bottom)), bottom)
        if not _ends(exact) and value in _shortened(exact, len(given[1])) and rounds_to(exact, reference):
            return True
    return False


def rounds_to(value: Number, reference: str) -> bool:
    """Whether a reference is a decimal of three significant digits or more, and the value comes to it, half up."""
    decimal = _DECIMAL.fullmatch(reference)
    if decimal is None or len(reference.lstrip("-0.").replace(".", "")) < 3:
        return False
    return _shortened(Fraction(value), len(decimal[1]))[0] == Fraction(reference)


def _ends(value: Number) -> bool:
    """Whether a value has a finite decimal."""
    bottom = value.denominator
    for factor in (2, 5):
        while bottom % factor == 0:
            bottom //= factor
    return bottom == 1


def _shortened(value: Fraction, places: int) -> tuple[Fraction, Fraction]:
    """A value rounded half up, away from zero, as people round; and cut."""
    shift = 10**places
    size = abs(value) * shift
    sign = 1 if value >= 0 else -1
    return Fraction(sign * int(size + Fraction(1, 2)), shift), Fraction(sign * int(size), shift)


def _arithmetic_value(expression: str) -> Value | None:
    """Exact value of + - * / and brackets over numerals; None for anything else, powers included."""
    if len(expression) > 100 or not _ARITHMETIC.fullmatch(expression) or "**" in expression:
        return None
    source = expression.replace("x", "*").strip()
    try:
        return _fold(ast.parse(source, mode="eval").body, source), None
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _fold(node: ast.expr, source: str) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        # the literal's own digits: 0.1 as a float is not a tenth
        return Fraction(ast.get_source_segment(source, node) or "")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _fold(node.operand, source)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _fold(node.left, source), _fold(node.right, source)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Div):
            return left / right
    raise ValueError("not arithmetic")
