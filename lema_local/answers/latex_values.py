r"""Whether two LaTeX answers are the same, by evaluating both at the same points.

Here because most answers are plainly right or far off, and algebra takes 30 ms to say so where arithmetic takes 50 us.
Floats come first; where they cannot tell, numbers without variables are evaluated exactly or with 400 digits, so that
no value is too small or too close to be told apart (1/2004! and 1/2006!). The rest is left to algebra. Nothing is run
as code; time and memory are bounded.

    >>> compare(r"\frac{\sqrt{3}}{2}", r"\frac{1}{2}"), compare("(x+1)(x+1)", "x^{2}+2x+1"), compare("x^{2}=4", "2")
    (False, True, None)
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from lema_local.answers.arithmetics import FUNCTIONS, INFINITE, LARGE, Arithmetic, Exact, Floats, Precise
from lema_local.answers.number_values import is_rounded, rounds_to

_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?|\.\d+)|\\([a-zA-Z]+|[{}|])|(.))", re.DOTALL)
_OPEN, _CLOSE = {"(", "[", "\\{", "⟦"}, {")", "]", "\\}", "⟧"}
_SEPARATORS = {",", ";", "¶", "&", "\\cup"}
_PRODUCT_ENDS = _SEPARATORS | _CLOSE | {"+", "-", "}"}
_ARGUMENT_ENDS = _PRODUCT_ENDS | FUNCTIONS | {"*", "\\cdot", "\\times"}
_POINTS = (0.7351941, 7.2718923)
_FAR = 1e-5  # relative; floats that are closer are looked at more closely
_CONSTANTS = {"\\pi", "\\infty", "e", "i"}
_VARIABLE = re.compile(r"[a-zA-Z]|\\(?:alpha|beta|gamma|theta|lambda|mu|phi|omega)")
_DECIMAL = re.compile(r"-?\d{0,30}\.\d{1,30}")
_MAX_TOKENS = 300
_MAX_DEPTH = 40


def compare(left: str, right: str) -> bool | None:
    """Whether two normalised answers are the same, as far as values tell; None: algebra must decide.

    Different: sets of values that cannot be matched up, whatever their order and brackets. Same: equal values in the
    same order and brackets, where no large numbers or roots of variables make them equal by accident. A decimal is the
    number that its digits are.
    """
    if len(left) + len(right) > 1_000 or ("\\ln" in left) != ("\\ln" in right):
        return None
    same, has_variable = "." not in left + right, False
    for point in _POINTS:
        try:
            ours, theirs = _evaluate(left, point, Floats()), _evaluate(right, point, Floats())
        except (ValueError, ArithmeticError):
            same = False  # not understood, outside the domain, or too large for a float
            continue
        if "\\cup" in left + right and len(ours.values) != len(theirs.values):
            return None  # (0,1) and [1,2] may be written as one interval
        if not _match(ours, theirs, _FAR):
            return False
        has_variable = has_variable or ours.has_variable or theirs.has_variable
        same = same and ours.is_plain and theirs.is_plain and _is_equal(ours, theirs, Floats.tolerance)
        if not has_variable:
            break
    return True if same else None if has_variable else _compare_closely(left, right)


def is_rounding(given: str, reference: str) -> bool:
    """Whether a decimal reference is the value of an exact answer, rounded (number_values has the rule)."""
    if not _DECIMAL.fullmatch(reference) or "." in given or len(given) > 200:
        return False
    exact = Exact()
    for arithmetic in (exact, Precise()):
        try:
            found = _evaluate(given, 0, arithmetic)
            if found.has_variable or len(found.values) != 1 or found.values[0].imag:
                return False
            value = found.values[0]
            return is_rounded(value, reference) if arithmetic is exact else rounds_to(Fraction(str(value)), reference)
        except (ValueError, ArithmeticError):
            continue
    return False


def _compare_closely(left: str, right: str) -> bool | None:
    """Numbers without variables that floats could not tell apart, or could not hold."""
    for exact in (Exact, Precise):
        try:
            ours, theirs = _evaluate(left, 0, exact()), _evaluate(right, 0, exact())
        except (ValueError, ArithmeticError):
            continue
        if ours.has_variable or theirs.has_variable:
            return None
        if not _match(ours, theirs, exact.tolerance):
            return False
        return True if _is_equal(ours, theirs, exact.tolerance) else None
    return None


@dataclass(frozen=True, slots=True)
class _Values:
    values: list[Any]
    shape: list[str]  # brackets and separators, in order
    scale: Any  # the largest number that was added or put into a function: what a rounding error is relative to
    is_plain: bool  # nothing that hides a difference
    has_variable: bool


def _match(ours: _Values, theirs: _Values, tolerance: Any) -> bool:
    if len(ours.values) > 60 or len(theirs.values) > 60:
        return True
    scale = max(ours.scale, theirs.scale)

    def near(a: Any, b: Any) -> bool:
        return bool(abs(a - b) <= tolerance * max(abs(a), abs(b), scale))

    # both ways, without counting: {1, 1, 2} is {1, 2}
    return all(any(near(a, b) for b in theirs.values) for a in ours.values) and all(
        any(near(a, b) for a in ours.values) for b in theirs.values
    )


def _is_equal(ours: _Values, theirs: _Values, tolerance: Any) -> bool:
    """Equal values in the same brackets, and in the same order unless they are a bare list."""
    if ours.shape != theirs.shape:
        return False
    if len(ours.shape) > 1 and set(ours.shape) == {",", ""} and len(ours.values) < 60:
        return _match(replace(ours, scale=0), replace(theirs, scale=0), tolerance)
    return all(abs(a - b) <= tolerance * abs(b) for a, b in zip(ours.values, theirs.values, strict=True))


def _evaluate(text: str, point: float, arithmetic: Arithmetic) -> _Values:
    """The numbers that an expression or a list of expressions comes to; ValueError where it is not understood."""
    tokens = []
    for number, command, other in _TOKEN.findall(text):
        tokens.append(number or (f"\\{command}" if command else other))
    if not tokens or len(tokens) > _MAX_TOKENS:
        raise ValueError("empty or long")
    parser = _Parser(tokens, point, arithmetic)
    flat: list[Any] = []
    stack = parser.items(None)
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif item != item or abs(item) == float("inf"):
            raise ValueError("not finite")
        else:
            flat.append(item)
    is_large = any(abs(value) > LARGE and value != INFINITE for value in flat)
    is_plain = not (is_large or arithmetic.is_lossy or (parser.has_root and parser.has_variable))
    return _Values(flat, parser.shape, parser.scale, is_plain, parser.has_variable)


class _Parser:
    """Recursive descent over tokens, with a bound on depth; every step consumes a token."""

    def __init__(self, tokens: list[str], point: float, arithmetic: Arithmetic) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._point = point
        self._arithmetic = arithmetic
        self.shape: list[str] = []
        self.scale: Any = 0
        self.has_root = self.has_variable = False

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        symbol = self._peek()
        self._at += 1
        return symbol

    def items(self, closing: set[str] | None) -> list[Any]:
        """Expressions between separators, up to a closing token (consumed) or, with None, the end."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError("deep")
        found = [self._sum()]
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

    def _sum(self) -> Any:
        total = self._product()
        while (sign := self._peek()) == "+" or sign == "-":
            self._take()
            term = _number(self._product())
            self.scale = max(self.scale, abs(_number(total)), abs(term))
            total = total + term if sign == "+" else total - term
        return total

    def _product(self) -> Any:
        value = self._power()
        while (symbol := self._peek()) and symbol not in _PRODUCT_ENDS:
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

    def _power(self) -> Any:
        if self._peek() in {"-", "+"}:
            sign = -1 if self._take() == "-" else 1
            return sign * _number(self._counted_power())
        base = self._atom()
        while (symbol := self._peek()) in {"^", "!", "°"}:
            self._take()
            if symbol == "°":
                base = self._radians(base)
            elif symbol == "^":
                base = self._raised(_number(base), _number(self._group()))
            elif self._peek() == "!":
                raise ValueError("ambiguous")  # 6!! is no factorial of a factorial
            else:
                base = self._arithmetic.factorial(_number(base))
        return base

    def _counted_power(self) -> Any:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError("deep")
        value = self._power()
        self._depth -= 1
        return value

    def _group(self) -> Any:
        """A braced group, or one token."""
        if self._peek() == "{":
            self._take()
            found = self.items({"}"})
            return found[0] if len(found) == 1 else found
        return self._atom()

    def _atom(self) -> Any:
        symbol = self._take()
        if symbol[:1].isdigit() or (symbol[:1] == "." and len(symbol) > 1):
            return self._arithmetic.number(symbol)
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
            degree = self._arithmetic.number("2")
            if self._peek() == "[":
                self._take()
                degree = _number(self.items({"]"})[0])
            return self._raised(_number(self._group()), 1 / degree)
        if symbol in FUNCTIONS:
            return self._function(symbol)
        if symbol in _CONSTANTS:
            return self._arithmetic.constant(symbol)
        if _VARIABLE.fullmatch(symbol) and self._peek() != "_":
            self.has_variable = True
            # one irrational point for each name
            return self._arithmetic.number(str(self._point + sum(map(ord, symbol)) % 61 * 0.0317))
        raise ValueError("not understood")

    def _function(self, name: str) -> Any:
        r"""\sin^2 3x and its like; \sin^{-1} is no power, and left to algebra."""
        power, base = None, None
        if self._peek() == "^":
            self._take()
            power = _number(self._group())
            if not power.real > 0:
                raise ValueError("ambiguous")
        if name == "\\log" and self._peek() == "_":
            self._take()
            base = self._arithmetic.function("\\log", _number(self._group()))
        argument = self._argument()
        self.scale = max(self.scale, 1)
        value = self._arithmetic.function(name, argument)
        value = value if base is None else value / base
        return value if power is None else self._raised(value, power)

    def _argument(self) -> Any:
        """In sin(x)y what stands in brackets, in sin 3x y all that is written on to the next sign or function."""
        if self._peek() in {"(", "[", "{"}:
            value = _number(self._atom())
            if self._peek() == "°":
                self._take()
                value = self._radians(value)
            if self._peek() in {"^", "!"}:
                raise ValueError("ambiguous")
            return value
        value = _number(self._counted_power())
        while (symbol := self._peek()) and symbol not in _ARGUMENT_ENDS:
            if symbol in {"/", "\\div", "(", "["}:
                raise ValueError("ambiguous")
            value = value * _number(self._counted_power())
        return value

    def _radians(self, value: Any) -> Any:
        return _number(value) * self._arithmetic.constant("\\pi") / 180

    def _raised(self, base: Any, exponent: Any) -> Any:
        self.has_root = self.has_root or bool(exponent.imag) or exponent.real != int(exponent.real)
        return self._arithmetic.power(base, exponent)


def _number(item: Any) -> Any:
    if isinstance(item, list):
        raise ValueError("a list is no number")
    return item
