"""Markdown and YAML that foreign text cannot get out of: model names, data sets and corrector names come from outside.

text("<b>a|b</b>")   ->  &lt;b&gt;a\\|b&lt;/b&gt;
front_matter({"base_model": "a: b"})  ->  ---\\nbase_model: "a: b"\\n---\\n
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lema_local import printable

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~>-])")
_WORD_MARK = re.compile(r"(?<=[A-Za-z0-9])\\([-_+])(?=[A-Za-z0-9])")  # a mark within a word means nothing
MAX_CHARACTERS = 300


def text(value: object) -> str:
    """A value as Markdown that shows itself: one line, no markup, no HTML, no control characters; at most 300
    characters."""
    bare = " ".join(printable.line(value).split())[:MAX_CHARACTERS]
    escaped = _SPECIAL.sub(r"\\\1", bare.replace("&", "&amp;").replace("<", "&lt;"))
    return _WORD_MARK.sub(r"\1", escaped)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A pipe table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(text(cell) for cell in row) + " |" for row in rows)])


def front_matter(fields: Mapping[str, Any]) -> str:
    """YAML between two lines of dashes. Every string is quoted, so that none is taken for a number, a key or an end."""
    return "---\n" + "\n".join(_yaml(fields, "")) + "\n---\n"


def _yaml(value: Any, indent: str) -> list[str]:
    if isinstance(value, Mapping):
        lines = []
        for key, item in value.items():
            if isinstance(item, Mapping | list | tuple):
                lines += [f"{indent}{key}:", *_yaml(item, indent + "  ")]
            else:
                lines.append(f"{indent}{key}: {_scalar(item)}")
        return lines
    lines = []
    for item in value:
        if isinstance(item, Mapping | list | tuple):
            first, *rest = _yaml(item, indent + "  ")
            lines += [f"{indent}- {first.strip()}", *rest]
        else:
            lines.append(f"{indent}- {_scalar(item)}")
    return lines


def _scalar(value: Any) -> str:
    # JSON's escapes are YAML's but for characters beyond U+FFFF, which JSON writes as two
    if not isinstance(value, str):
        return json.dumps(value)
    quoted = (f"\\{c}" if c in '"\\' else c if c.isprintable() else f"\\U{ord(c):08x}" for c in value)
    return f'"{"".join(quoted)}"'
