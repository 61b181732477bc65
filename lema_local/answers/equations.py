r"""What an equation says: "x=4" is 4, "x^{2}=4" is not. Over answers in one notation (latex_notation.normalise).

An equation is its right-hand side only where its left says so: a name of any length, a function's value, letters alone
(a+b, which the question asked for), or numbers worked out. Anything else is an equation that nobody solved.

    >>> values("x=4", "4"), values("Totalarea=30", "30"), values("2+2=4", "4"), values("x=2,x=-2", "-2,2")
    (('4', '4'), ('30', '30'), ('4', '4'), ('2,-2', '-2,2'))
    >>> values("x^{2}=4", "4"), is_unsolved("x^{2}=4", "4"), is_unsolved("x^{2}=4", "x=2")
    (('x^{2}=4', '4'), True, False)
"""

import re

_GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|epsilon|theta|lambda|mu|rho|sigma|phi|varphi|psi|omega)(?![a-zA-Z]) ?"
)
_COMMAND = re.compile(r"\\[a-zA-Z]+ ?")
_UNSOLVED = re.compile(r"\\(?:sqrt|ln|log|lfloor|lceil|sum|int|lim)(?![a-zA-Z])|\|[^|]{0,20}[nxy]")
_SUBSCRIPT = re.compile(r"_\{?\w{1,20}\}?")
_CALL = re.compile(r"(?<=[a-zA-Z'])(?<![abkmntuvwxyz])(?:\^\{-1\})?\([^()]{1,40}\)|(?<=[fgh])\^\{-1\}\([^()]{1,40}\)")
_NAME = re.compile(r"\{?[a-zA-Z]{1,60}'{0,3}\}?")
_LETTERS = re.compile(r"[a-zA-Z'+*/(){},-]{1,80}")
_ELEMENT_OF = re.compile(r"^\\?[a-zA-Z]{1,6}(?:_\{?\w\}?)?\\(?:in|equiv)(?![a-zA-Z])")
_NO_EQUATION = re.compile(r"[<>:⟦]|\\(?:le|ge|ne|cup|cap|in|pm|mid)(?![a-zA-Z])")


def values(left: str, right: str) -> tuple[str, str]:
    """Two answers, each without what it says to be equal to, where that says so.

    Two equations about different things stay as they are.
    """
    if "=" not in left + right and "\\in" not in left + right and "\\equiv" not in left + right:
        return left, right
    ours, theirs = _read(left, right), _read(right, left)
    if ours and theirs:
        return (ours[1], theirs[1]) if ours[0] == theirs[0] else (left, right)
    if ours and "=" not in right:
        return ours[1], right
    if theirs and "=" not in left:
        return left, theirs[1]
    return left, right


def is_unsolved(left: str, right: str) -> bool:
    """Whether one of two answers, as values leaves them, is an equation and the other is a value."""
    return ("=" in left) != ("=" in right) and not _NO_EQUATION.search(left + right)


def _read(text: str, other: str) -> tuple[str, str] | None:
    """The name and the value of an answer such as x=4, x=2+2=4, 4=x or x=2,x=-2; None where it is none."""
    if element := _ELEMENT_OF.match(text):
        return element[0], text[element.end() :]
    text = text.replace("\\approx", "=")
    items = _split(text, ",")
    if len(items) == 1 or any("=" not in item for item in items[1:]):
        return _read_one(text)
    read = [_read_one(item) for item in items]
    found = [one for one in read if one is not None]
    if len(found) < len(items):
        return None
    listed = ",".join(value for _, value in found)
    if len({name for name, _ in found}) == 1:
        return found[0][0], listed
    # x=4,y=5 is the point (4,5), for those who ask for a point
    return ",".join(name for name, _ in found), f"({listed})" if other.startswith("(") else listed


def _read_one(text: str) -> tuple[str, str] | None:
    first, *rest = _split(text, "=")
    if not rest or not all(rest):
        return None
    if all(_says_so(side) for side in [first, *rest[:-1]]):
        value = rest[-1]
        return (
            (value, first)
            if len(rest) == 1 and _is_value(_GREEK.sub(" t", first)) and _NAME.fullmatch(value)
            else (first, value)
        )
    return None


def _says_so(side: str) -> bool:
    side = _GREEK.sub(" t", side)
    if _is_value(side):
        return True
    if _UNSOLVED.search(side):
        return False
    bare = _COMMAND.sub("", _CALL.sub("", _SUBSCRIPT.sub(" ", side))).replace(" ", "").replace("|", "")
    return bool(_NAME.fullmatch(bare) or (_LETTERS.fullmatch(bare) and len(set(re.findall("[a-zA-Z]", bare))) > 1))


def _is_value(side: str) -> bool:
    """Whether a side holds no variable."""
    return not re.search("[a-zA-Z]", _COMMAND.sub("", _SUBSCRIPT.sub(" ", side))) and any(c.isdigit() for c in side)


def _split(text: str, separator: str) -> list[str]:
    """A text at its separators outside all brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        if character in "([{⟦":
            depth += 1
        elif character in ")]}⟧":
            depth -= 1
        elif character == separator and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
