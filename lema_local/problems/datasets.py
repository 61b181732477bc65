"""The data sets known by name, as data: where they are, which fields hold what, how many rows were published.

A field mapping says which fields of a row are the question, the answer and the rest. One in a profile:

    [data.fields]
    question = "Body + Question"      # two fields, joined as sentences
    answer = "Answer"
    subject = "Type | Category"       # the first of them that holds something
    choices = "question.choices"      # a field of a field

datasets.toml holds those of the presets.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Literal

from lema_local.records.types import AnswerKind
from lema_local.typed_toml import build

# plain: the field is the answer. hashes: what follows GSM8K's "####", and the text with it is the solution.
# boxed: what the last \boxed{} holds. unit: a number, perhaps with its unit in brackets. index: the place of the right
# option, counted from 0, as class labels of the Hub are.
AnswerForm = Literal["plain", "hashes", "boxed", "unit", "index"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which fields hold what: "A + B" joins, "A | B" takes the first that holds something, "a.b" looks inside."""

    question: str
    answer: str
    answer_form: AnswerForm = "plain"
    solution: str | None = None
    level: str | None = None
    subject: str | None = None
    choices: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A data set by name. A split without `files` cannot be fetched; `counts` name the splits that were published."""

    kind: AnswerKind
    licence: str
    note: str
    fields: tuple[Fields, ...] = ()  # the first whose question and answer a row fills
    hub: str | None = None
    revision: str | None = None
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    local: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    fractions: bool = True

    @property
    def is_for_evaluation(self) -> bool:
        """It was published as a test set only."""
        return set(self.counts) == {"test"}


@cache
def presets() -> dict[str, Preset]:
    """datasets.toml, by name."""
    raw = tomllib.loads(files("lema_local.problems").joinpath("datasets.toml").read_text(encoding="utf-8"))
    return {name: build(Preset, entry, f"datasets.toml, {name}") for name, entry in raw.items()}


def checksum(rows: Iterable[tuple[str, str]]) -> str:
    """16 hex digits that name the content of a split: its (question, answer) pairs.

    Order, repeats and white space do not count, so a folder tree, JSONL and Parquet of the same problems agree.
    """
    pairs = sorted({(" ".join(question.split()), " ".join(answer.split())) for question, answer in rows})
    text = "\n".join(json.dumps(pair, ensure_ascii=True) for pair in pairs)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def compare_with_published(preset: Preset, split: str, *, rows: int, content: str) -> str:
    """Whether a whole split is the published one, in words that follow its name."""
    count, published = preset.counts.get(split), preset.checksums.get(split)
    if count is None:
        return "has no published counterpart"
    if rows != count:
        return f"differs from the published split: {rows} usable rows, published {count}"
    if published is None:
        return f"has the {count} rows of the published split; its text cannot be checked, no checksum is known"
    if content != published:
        return f"differs from the published split: {count} rows as published, other text ({content}, not {published})"
    return f"is the published split ({count} rows, checksum {content})"


@dataclass(frozen=True, slots=True)
class Style:
    """How one row becomes a problem."""

    fields: Fields
    kind: AnswerKind
    fractions: bool = True


# GSM8K's own style too: "hashes" takes an answer without them as it is.
GENERIC = Fields(
    question="question | problem",
    answer="answer",
    answer_form="hashes",
    solution="solution",
    level="level",
    subject="subject | type",
)
# for rows with options alone; a body is ASDiv's
CHOICES = replace(GENERIC, question="body + question | question | problem", choices="choices | options")
_RECOGNISED = ("svamp", "asdiv", "csqa", "math")


def styles(dataset: str, *, fields: Fields | None = None, kind: AnswerKind | None = None) -> tuple[Style, ...]:
    """The styles to try on a row, in order: the mapping given, else the preset's, else every style that is known."""
    preset = presets().get(dataset)
    if fields is not None:
        guess: AnswerKind = preset.kind if preset else "latex" if fields.answer_form == "boxed" else "number"
        return (Style(fields, kind or ("choice" if fields.choices else guess)),)
    if preset is not None:
        tried = [Style(f, kind or preset.kind, preset.fractions) for f in (*preset.fields, GENERIC)]
    else:
        tried = [Style(f, kind or presets()[name].kind) for name in _RECOGNISED for f in presets()[name].fields]
        tried.append(Style(GENERIC, kind or "number"))
    if (kind or (preset.kind if preset else "choice")) == "choice":
        tried.append(Style(CHOICES, "choice"))
        tried.sort(key=lambda style: style.fields.choices is None)  # others would leave the options of a row out
    return tuple(tried)
