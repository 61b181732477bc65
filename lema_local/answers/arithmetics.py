"""Three ways to count, for latex_values: floats, which are fast; fractions, which are exact; 400 digits for the rest.

Each turns symbols into numbers of its own (complex, Fraction, mpmath's) and raises ValueError or ArithmeticError for
what it cannot hold. All are bounded: no power or factorial takes more than some milliseconds.
"""

import cmath
import math
from fractions import Fraction
from functools import cache
from typing import Any, Protocol

LARGE = 1e8  # beyond it, or below its inverse, a float may lose a difference in rounding
INFINITE = 1e30
_MAX_BITS = 60_000  # of all powers and factorials of an expression
_MAX_FACTORIAL = 100_000
_DIGITS = 400
_RECIPROCAL = {"\\cot": "tan", "\\sec": "cos", "\\csc": "sin"}
FUNCTIONS = frozenset({"\\sin", "\\cos", "\\tan", "\\ln", "\\log", "\\exp", *_RECIPROCAL})


class Arithmetic(Protocol):
    """What an expression's symbols come to. `tolerance`: the relative error of a result."""

    tolerance: Any
    is_lossy: bool  # something was counted that may hide a difference

    def number(self, digits: str) -> Any: ...
    def constant(self, name: str) -> Any: ...
    def power(self, base: Any, exponent: Any) -> Any: ...
    def factorial(self, value: Any) -> Any: ...
    def function(self, name: str, argument: Any) -> Any: ...


class Floats:
    """complex: about a microsecond a symbol."""

    tolerance = 1e-12

    def __init__(self) -> None:
        self.is_lossy = False

    def number(self, digits: str) -> complex:
        value = float(digits)
        self.is_lossy = self.is_lossy or not value < LARGE
        return complex(value)

    def constant(self, name: str) -> complex:
        return _CONSTANTS[name]

    def power(self, base: complex, exponent: complex) -> complex:
        if abs(exponent) > 200:
            raise ValueError("large power")
        if (exponent.imag or not exponent.real.is_integer()) and (base.imag or base.real < 0):
            raise ValueError("branch")
        self.is_lossy = self.is_lossy or abs(exponent) > 8
        return base**exponent

    def factorial(self, value: complex) -> complex:
        if value.imag or not value.real.is_integer() or not 0 <= value.real <= 100:
            raise ValueError("factorial")
        return complex(math.factorial(int(value.real)))

    def function(self, name: str, argument: complex) -> complex:
        if name in _RECIPROCAL:
            return complex(1 / getattr(cmath, _RECIPROCAL[name])(argument))
        if name in ("\\ln", "\\log"):
            if argument.imag or argument.real <= 0:
                raise ValueError("branch")
            return cmath.log(argument) if name == "\\ln" else cmath.log10(argument)
        return complex(getattr(cmath, name[1:])(argument))


_CONSTANTS = {"\\pi": complex(math.pi), "\\infty": complex(INFINITE), "e": complex(math.e), "i": 1j}


class Exact:
    """Fraction: rational numbers of any size up to some thousand digits, and nothing else."""

    tolerance = 0  # a float would overflow
    is_lossy = False

    def __init__(self) -> None:
        self._bits = 0

    def number(self, digits: str) -> Fraction:
        return Fraction(digits)

    def constant(self, name: str) -> Fraction:
        raise ValueError("not rational")

    def power(self, base: Fraction, exponent: Fraction) -> Fraction:
        if exponent.denominator == 2:
            base, exponent = Fraction(_square_root(base.numerator), _square_root(base.denominator)), 2 * exponent
        if exponent.denominator != 1:
            raise ValueError("not rational")
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        self._spend(size * abs(exponent.numerator) if size > 1 else 1)
        return base**exponent.numerator

    def factorial(self, value: Fraction) -> Fraction:
        if value.denominator != 1 or not 0 <= value <= _MAX_FACTORIAL:
            raise ValueError("factorial")
        self._spend(value.numerator * value.numerator.bit_length())
        return Fraction(math.factorial(value.numerator))

    def function(self, name: str, argument: Fraction) -> Fraction:
        raise ValueError("not rational")

    def _spend(self, bits: int) -> None:
        self._bits += bits
        if self._bits > _MAX_BITS:
            raise ValueError("large")


def _square_root(value: int) -> int:
    if value < 0 or math.isqrt(value) ** 2 != value:
        raise ValueError("not rational")
    return math.isqrt(value)


class Precise:
    """mpmath's numbers of 400 digits: tells values apart that floats do not, however small or large they are."""

    tolerance = 1e-300
    is_lossy = False

    def __init__(self) -> None:
        self._mp = _context()

    def number(self, digits: str) -> Any:
        return self._mp.mpf(digits)

    def constant(self, name: str) -> Any:
        mp = self._mp
        return {"\\pi": +mp.pi, "\\infty": mp.mpf(INFINITE), "e": +mp.e, "i": mp.mpc(0, 1)}[name]

    def power(self, base: Any, exponent: Any) -> Any:
        if (exponent.imag or exponent.real != int(exponent.real)) and (base.imag or base.real < 0):
            raise ValueError("branch")
        if abs(exponent) > 1e6 or abs(self._mp.mag(base or 1)) * abs(exponent) > 1e6:
            raise ValueError("large power")
        return base**exponent

    def factorial(self, value: Any) -> Any:
        if value.imag or not 0 <= value.real <= _MAX_FACTORIAL or value.real != int(value.real):
            raise ValueError("factorial")
        return self._mp.factorial(value)

    def function(self, name: str, argument: Any) -> Any:
        if not abs(argument) < 1e5:
            raise ValueError("large argument")
        if name in ("\\ln", "\\log") and (argument.imag or argument.real <= 0):
            raise ValueError("branch")
        if name in _RECIPROCAL:
            return 1 / getattr(self._mp, _RECIPROCAL[name])(argument)
        return getattr(self._mp, "log10" if name == "\\log" else name[1:])(argument)


@cache
def _context() -> Any:
    import mpmath  # type: ignore[import-untyped]

    mp = mpmath.mp.clone()  # its precision is ours alone
    mp.dps = _DIGITS
    return mp
