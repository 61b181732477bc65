r"""Text of others as a terminal, a page, a picture or a spreadsheet can hold it. All that is shown goes through here.

Names, levels, subjects and replies come from files, servers and models. Their control characters drive a terminal,
break an SVG file, or end the renderer that draws it; their formulas run in a spreadsheet.

    line("a\x1b[2Jb\nc")          "a [2Jb c"           a cell of a table, one line
    lines("a\x1b[2Jb\nc")         "a [2Jb\nc"          what a command prints
    characters("a\x1b[2Jb\nc")    "a\ufffd[2Jb\nc"     a page, a picture, a file: whole, with a mark where one stood
    csv_cell("=1+1")              "'=1+1"              text, for a spreadsheet too
    json_text({"a": "\x9b"})      '{"a": "\u009b"}'    what no screen should get is an escape
"""

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

# Beside line ends and tabs, Unicode's controls (C0, DEL, C1), surrogates and non-characters: the former are no text in
# HTML and mostly none in XML 1.0 (section 2.2), the latter two are no character of either.
_NO_CHARACTER = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)
_LINE_END = re.compile("\r\n?")
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # full-width ones run too where such keyboards are
_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d+)*|\.\d+)(?:[eE][-+]?\d+)?\s?%?")


def line(value: object) -> str:
    """A value as one line for a terminal: what does not print, line ends included, is a space."""
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def lines(text: str) -> str:
    """Text for a terminal that keeps its lines."""
    return "\n".join(map(line, text.split("\n")))


def characters(text: str) -> str:
    """The same text of characters that HTML, SVG and UTF-8 files can hold: what they cannot is U+FFFD, line ends are
    \\n."""
    return _NO_CHARACTER.sub("\ufffd", _LINE_END.sub("\n", text))


def all_characters(value: Any) -> Any:
    """Plain data (dicts, lists, values) with all its texts, names included, of such characters."""
    if isinstance(value, str):
        return characters(value)
    if isinstance(value, Mapping):
        return {all_characters(key): all_characters(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [all_characters(item) for item in value]
    return value


def csv_cell(value: Any, *, guard: bool = True) -> Any:
    """A value as a cell of CSV. With `guard`, text that a spreadsheet would run as a formula begins with an apostrophe,
    as OWASP advises (owasp.org/www-community/attacks/CSV_Injection); numbers stay numbers."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = characters(str(value))
    runs = text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if guard and runs else text


def json_text(value: Any, *, indent: int | None = 1, default: Any = None) -> str:
    """JSON that every reader takes and that reads as text in any script: what does not print, and half characters, are
    its escapes; what JSON has no number for (NaN, Infinity) is null, and a decimal is a number."""
    text = json.dumps(_numbers(value), indent=indent, ensure_ascii=False, default=default, allow_nan=False)
    return "\n".join(part if part.isprintable() else "".join(map(_escaped, part)) for part in text.split("\n"))


def _numbers(value: Any) -> Any:
    """Plain data with numbers that JSON has."""
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            return None
        return int(value) if isinstance(value, Decimal) and value == int(value) else float(value)
    if isinstance(value, dict):
        return {key if isinstance(key, str | int | None) else str(key): _numbers(item) for key, item in value.items()}
    return [_numbers(item) for item in value] if isinstance(value, list | tuple) else value


def _escaped(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]
