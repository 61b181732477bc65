r"""Whether two LaTeX answers are the same, by evaluating both at the same points.

Here because most answers are plainly right or far off, and algebra takes 30 ms to say so where arithmetic takes 50 us.
It says "same" or "different" only where rounding and special cases cannot matter, and leaves the rest to algebra.
Nothing is run as code; floats bound time and memory.

    >>> compare(r"\frac{\sqrt{3}}{2}", r"\frac{1}{2}"), compare("(x+1)(x+1)", "x^{2}+2x+1"), compare("x^{2}=4", "2")
    (False, True, None)
"""

import cmath
import math
import re
from dataclasses import dataclass

_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?|\.\d+)|\\([a-zA-Z]+|[{}|])|(.))", re.DOTALL)
_OPEN, _CLOSE = {"(", "[", "\\{", "⟦"}, {")", "]", "\\}", "⟧"}
_SEPARATORS = {",", ";", "¶", "&", "\\cup"}
_POINTS = (0.7351941, 7.2718923)
_LARGE = 1e8  # beyond it, or below its inverse, a difference may be lost in rounding
_INFINITE = 1e30
_FAR = 1e-5  # relative; math-verify takes decimals as equal up to six places, so closer values are left to it
_CONSTANTS = {"\\pi": math.pi, "\\infty": _INFINITE, "e": math.e, "i": 1j}
_RECIPROCAL = {"\\cot": cmath.tan, "\\sec": cmath.cos, "\\csc": cmath.sin}
_FUNCTIONS = {
    "\\sin": cmath.sin, "\\cos": cmath.cos, "\\tan": cmath.tan, "\\ln": cmath.log, "\\log": cmath.log10,
}  # fmt: skip
_VARIABLE = re.compile(r"[a-zA-Z]|\\(?:alpha|beta|gamma|theta|lambda|mu|phi|omega)")
_MAX_TOKENS = 300
_MAX_DEPTH = 40

Item = complex | list["Item"]


def compare(left: str, right: str) -> bool | None:
    """Whether two normalised answers are the same, as far as values tell; None: algebra must decide.

    Different: sets of values that cannot be matched up, whatever their order and brackets. Same: equal values in the
    same order and brackets, where no decimals, large numbers or roots of variables make them equal by accident.
    """
    if len(left) + len(right) > 1_000 or ("\\ln" in left) != ("\\ln" in right):
        return None
    same = True
    for point in _POINTS:
        try:
            ours, theirs = _evaluate(left, point), _evaluate(right, point)
        except (ValueError, ArithmeticError):
            same = False  # not understood, or outside the domain
            continue
        if "\\cup" in left + right and len(ours.values) != len(theirs.values):
            return None  # (0,1) and [1,2] may be written as one interval
        if not _match(ours.values, theirs.values):
            return False
        same = same and ours.is_plain and theirs.is_plain and ours.shape == theirs.shape
        same = same and all(abs(a - b) <= 1e-12 * abs(b) for a, b in zip(ours.values, theirs.values, strict=True))
    return True if same and "." not in left + right else None


def _match(ours: list[complex], theirs: list[complex]) -> bool:
    if len(ours) > 60 or len(theirs) > 60:
        return True
    # both ways, without counting: {1, 1, 2} is {1, 2}
    return all(any(_near(a, b) for b in theirs) for a in ours) and all(any(_near(a, b) for a in ours) for b in theirs)


def _near(a: complex, b: complex) -> bool:
    return abs(a - b) <= _FAR * max(1.0, abs(a), abs(b))


@dataclass(frozen=True, slots=True)
class _Values:
    values: list[complex]
    shape: list[str]  # brackets and separators, in order
    is_plain: bool  # nothing that hides a difference


def _evaluate(text: str, point: float) -> _Values:
    """The numbers that an expression or a list of expressions comes to; ValueError where it is not understood."""
    tokens = []
    for number, command, other in _TOKEN.findall(text):
        tokens.append(number or (f"\\{command}" if command else other))
    if not tokens or len(tokens) > _MAX_TOKENS:
        raise ValueError("empty or long")
    parser = _Parser(tokens, point)
    flat: list[complex] = []
    stack = parser.items(None)
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif cmath.isnan(item) or cmath.isinf(item):
            raise ValueError("not finite")
        else:
            flat.append(item)
    is_large = any(abs(value) > _LARGE and value != _INFINITE for value in flat)
    is_plain = not (is_large or parser.has_large or (parser.has_root and parser.has_variable))
    return _Values(flat, parser.shape, is_plain)


class _Parser:
    """Recursive descent over tokens, with a bound on depth; every step consumes a token."""

    def __init__(self, tokens: list[str], point: float) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._point = point
        self.shape: list[str] = []
        self.has_root = self.has_variable = self.has_large = False

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        symbol = self._peek()
        self._at += 1
        return symbol

    def items(self, closing: set[str] | None) -> list[Item]:
        """Expressions between separators, up to a closing token (consumed) or, with None, the end."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError("deep")
        found: list[Item] = [self._sum()]
        while self._peek() in _SEPARATORS:
            self.shape.append(self._take())
            found.append(self._sum())
        end = self._take() if closing else self._peek()
        if end not in (closing or {""}):
            raise ValueError("not understood")
        if len(found) > 1 or end not in {")", "}"}:
            self.shape.append(end)
        self._depth -= 1
        return found

    def _sum(self) -> Item:
        total = self._product()
        while self._peek() in {"+", "-"}:
            sign = 1 if self._take() == "+" else -1
            total = _number(total) + sign * _number(self._product())
        return total

    def _product(self) -> Item:
        value = self._power()
        while (symbol := self._peek()) and symbol not in _SEPARATORS | _CLOSE | {"+", "-", "}"}:
            if symbol in {"*", "\\cdot", "\\times"}:
                self._take()
                value = _number(value) * _number(self._power())
            elif symbol in {"/", "\\div"}:
                self._take()
                value = _number(value) / _number(self._power())
            elif symbol.isdigit() or (symbol == "\\frac" and self._tokens[self._at - 1].isdigit()):
                # 2 \frac{1}{2} may be a mixed number, 2 3 is nothing: not ours to say
                raise ValueError("ambiguous")
            else:
                value = _number(value) * _number(self._power())
        return value

    def _power(self) -> Item:
        if self._peek() in {"-", "+"}:
            sign = -1 if self._take() == "-" else 1
            return sign * _number(self._power_counted())
        base = self._atom()
        while self._peek() in {"^", "!"}:
            if self._take() == "!":
                base = math.factorial(_small_whole(_number(base)))
                continue
            exponent = _number(self._group())
            if abs(exponent) > 200:
                raise ValueError("large power")
            self.has_large = self.has_large or abs(exponent) > 8
            base = self._real_power(_number(base), exponent)
        return base

    def _power_counted(self) -> Item:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError("deep")
        value = self._power()
        self._depth -= 1
        return value

    def _group(self) -> Item:
        """A braced group, or one token."""
        if self._peek() == "{":
            self._take()
            found = self.items({"}"})
            return found[0] if len(found) == 1 else found
        return self._atom()

    def _atom(self) -> Item:
        symbol = self._take()
        if symbol[:1].isdigit() or (symbol[:1] == "." and len(symbol) > 1):
            self.has_large = self.has_large or not float(symbol) < _LARGE
            return complex(float(symbol))
        if symbol == "{":
            self._at -= 1
            return self._group()
        if symbol in _OPEN:
            mark = len(self.shape)
            found = self.items(_CLOSE)
            if len(self.shape) > mark:
                self.shape.append(symbol)
            return found[0] if len(found) == 1 else found
        if symbol == "\\frac":
            top = _number(self._group())
            return top / _number(self._group())
        if symbol == "\\sqrt":
            degree = 2.0 + 0j
            if self._peek() == "[":
                self._take()
                degree = _number(self.items({"]"})[0])
            return self._real_power(_number(self._group()), 1 / degree)
        if symbol in _FUNCTIONS or symbol in _RECIPROCAL:
            if self._peek() == "^":
                raise ValueError("ambiguous")
            argument = _number(self._power_counted())
            if symbol in {"\\ln", "\\log"} and (argument.imag or argument.real <= 0):
                raise ValueError("branch")
            return 1 / _RECIPROCAL[symbol](argument) if symbol in _RECIPROCAL else _FUNCTIONS[symbol](argument)
        if symbol in _CONSTANTS:
            return complex(_CONSTANTS[symbol])
        if _VARIABLE.fullmatch(symbol) and self._peek() != "_":
            self.has_variable = True
            # one irrational point for each name
            return complex(self._point + sum(map(ord, symbol)) % 61 * 0.0317)
        raise ValueError("not understood")

    def _real_power(self, base: complex, exponent: complex) -> complex:
        if exponent.imag or not exponent.real.is_integer():
            if base.imag or base.real < 0:
                raise ValueError("branch")
            self.has_root = True
        return base**exponent


def _number(item: Item) -> complex:
    if isinstance(item, list):
        raise ValueError("a list is no number")
    return item


def _small_whole(value: complex) -> int:
    if value.imag or not value.real.is_integer() or not 0 <= value.real <= 100:
        raise ValueError("factorial")
    return int(value.real)
