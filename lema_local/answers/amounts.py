"""The amounts that a text states, with exact values: digits, money, percent, fractions, and words such as half.

>>> sorted(numbers("Half of the 1,200 seats cost $2.50, the others 10% less.")) == sorted(
...     [Fraction(1, 2), 1200, Fraction(5, 2), 10, Fraction(1, 10), Fraction(9, 10), 90, Fraction(11, 10)])
True
"""

import re
from fractions import Fraction
from functools import lru_cache

# whole numbers are ints, which hash and add many times faster and equal the fractions that they are
Number = Fraction | int
MAX_CHARACTERS = 2_000  # of a text that are read

_NUMBER_OR_WORD = re.compile(
    r"([$€£¥]?(?:\d{1,3}(?:,\d{3}){1,4}(?!\d)|\d{1,15})(?:\.\d{1,20})?%?|[$€£¥]?\.\d{1,20}%?)"
    r"|(?<=\d):\d\d\b|([^\W\d_]+(?:['’-][^\W\d_]+)*)"
)
_COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER_WORDS: dict[str, Number] = {word: i for i, word in enumerate(_COUNTS, 1)} | {
    word: Fraction(value)
    for word, value in (
        ("half", "1/2"), ("halves", "1/2"), ("third", "1/3"), ("quarter", "1/4"), ("twice", "2"), ("double", "2"),
        ("thrice", "3"), ("triple", "3"), ("dozen", "12"),
    )
}  # fmt: skip
# numbers that everyone may use without being told: 1 and 2, percent, the clock and the calendar
COMMON: frozenset[Number] = frozenset((0, 1, 2, 7, 12, 24, 52, 60, 100, 365, 1000))


def show(number: Number) -> str:
    """12, 0.25, or "about 3.33" where no short decimal is exact."""
    if number.denominator == 1:
        return str(number.numerator)
    text = f"{float(number):.4f}".rstrip("0")
    return text if Fraction(text) == number else f"about {float(number):.2f}"


@lru_cache(maxsize=4096)
def amount(text: str) -> Number:
    """The value of one amount: "$1,200.50", "25%" (as 25)."""
    plain = text.lstrip("$€£¥").rstrip("%").replace(",", "")
    return _wholeamount(Fraction(plain)) if "." in plain else int(plain)


def _wholeamount(number: Fraction) -> Number:
    return number.numerator if number.denominator == 1 else number


def over(left: Number, right: Number) -> Number:
    """left / right, exactly; ZeroDivisionError for a zero."""
    return _wholeamount(Fraction(left) / right)


@lru_cache(maxsize=1 << 14)
def numbers(text: str) -> frozenset[Number]:
    """Every number in a text: digits, a/b, and words such as half or twice; a percentage also as its share."""
    found: set[Number] = set()
    for number, word in _NUMBER_OR_WORD.findall(text[: 2 * MAX_CHARACTERS]):
        if number:
            value = amount(number)
            found.add(value)
            if number[-1] == "%":
                share = over(value, 100)
                found |= {share, 1 - share, 100 - value, 1 + share}
        elif word and (known := _NUMBER_WORDS.get(word.lower())) is not None:
            found.add(known)
    for top, bottom in re.findall(r"(\d{1,9})/(\d{1,9})", text[: 2 * MAX_CHARACTERS]):
        if int(bottom):
            share = over(int(top), int(bottom))
            found |= {share, 1 - share}
    return frozenset(found)


def plain_numbers(text: str) -> list[Number]:
    """The numbers written in digits, in reading order."""
    return [amount(number) for number, _ in _NUMBER_OR_WORD.findall(text[:MAX_CHARACTERS]) if number]


def distance(left: Number, right: Number) -> Number:
    """How far two numbers are apart."""
    return left - right if left >= right else right - left
