"""What became of every example before the first step: trained on, cut, or left out, why, and which is the longest.

    Lint(examples=4000, rows=3998, findings=(Finding("source too long", "correction", 2, 611, 17),), ...)
    -> "3998 of 4000 examples train; left out: 2 corrections with a source too long (the longest 611 tokens, ...)"

The training process writes it into its directory as lint.json and tells it to the process that started it, which knows
the examples' ids: `longest` is a place in the list of examples.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lema_local.errors import TrainingError

LINT_FILE = "lint.json"

Kind = Literal["cot", "correction"]
Reason = Literal[
    "source too long", "target too long", "empty output", "special token", "unknown character", "blurred edge",
    "source cut", "target cut",
]  # fmt: skip
CUT = ("source cut", "target cut")  # these train all the same
_WORDS: Mapping[str, str] = {
    "source too long": "a source too long",
    "target too long": "a target too long",
    "empty output": "an empty output",
    "special token": "text that spells a special token",
    "unknown character": "a character that the tokenizer does not know",
    "blurred edge": "a first output token that is not the output's first text",
    "source cut": "their source cut",
    "target cut": "their target cut",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """So many examples of a kind with one fault. `tokens` is the length of the longest (before a cut), at `longest`."""

    reason: Reason
    kind: Kind
    count: int
    tokens: int
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lint:
    """`rows` of `examples` train. `longest_source` and `longest_target` are of all examples, in tokens, before a
    cut."""

    examples: int
    rows: int
    longest_source: int
    longest_target: int
    findings: tuple[Finding, ...] = ()

    @property
    def left_out(self) -> int:
        return self.examples - self.rows

    @property
    def cut(self) -> int:
        """Texts that were cut: an example whose source and target are both cut counts twice."""
        return sum(finding.count for finding in self.findings if finding.reason in CUT)

    @property
    def summary(self) -> str:
        """For people, in a line."""
        return (
            f"{self.rows} of {self.examples} examples train, {self.left_out} are left out, {self.cut} texts cut; "
            f"longest source {self.longest_source} tokens, longest target {self.longest_target}"
        )

    def lines(self, name: Callable[[int], str] = lambda place: f"example {place}") -> list[str]:
        """For people: one line for each finding, [] where every example trains whole. `name` names an example."""
        said = []
        for finding in self.findings:
            kinds = "corrections" if finding.kind == "correction" else "CoT examples"
            verb = "trained with" if finding.reason in CUT else "left out with"
            said.append(
                f"{finding.count} {kinds} {verb} {_WORDS[finding.reason]} "
                f"(longest: {name(finding.longest)}, {finding.tokens} tokens)"
            )
        return said

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"left_out": self.left_out, "cut": self.cut, **asdict(self)}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "Lint":
        """What as_dict() gave. Raises TrainingError for anything else."""
        try:
            findings = tuple(Finding(**row) for row in table["findings"])
            names = ("examples", "rows", "longest_source", "longest_target")
            lint = cls(findings=findings, **{name: int(table[name]) for name in names})
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"Not the lint of a training run ({error}).") from error
        if any(f.reason not in get_args(Reason) or f.kind not in get_args(Kind) for f in lint.findings):
            raise TrainingError("Not the lint of a training run: it has reasons that are not known.")
        return lint


@dataclass(slots=True)
class Tally:
    """Findings while they are counted."""

    _found: dict[tuple[Reason, Kind], Finding] = field(default_factory=dict)

    def add(self, reason: Reason, kind: Kind, place: int, tokens: int) -> None:
        """One more example; `tokens` is the length of the text that is at fault."""
        old = self._found.get((reason, kind), Finding(reason, kind, 0, -1, place))
        longest = (tokens, place) if tokens > old.tokens else (old.tokens, old.longest)
        self._found[reason, kind] = Finding(reason, kind, old.count + 1, *longest)

    def findings(self) -> tuple[Finding, ...]:
        """In the order of the reasons, CoT first."""
        order = get_args(Reason)
        return tuple(sorted(self._found.values(), key=lambda f: (order.index(f.reason), f.kind != "cot")))


def refuse_flawed(lint: Lint) -> None:
    """--strict: TrainingError, in one line, where any example was left out or cut."""
    if lint.findings:
        raise TrainingError(
            f"--strict: {'; '.join(lint.lines())}. Raise training.source_max_length or target_max_length, mend the "
            "examples, or train without --strict."
        )


def write_lint(directory: Path, lint: Lint) -> None:
    """Writes lint.json into a run's directory, atomically."""
    partial = directory / f".{LINT_FILE}.{os.getpid()}"
    partial.write_text(json.dumps(lint.as_dict(), indent=1) + "\n", encoding="utf-8")
    partial.replace(directory / LINT_FILE)


def read_lint(directory: Path) -> Lint | None:
    """The lint of the run in a directory; None where it wrote none (before there was one), or one that cannot be
    read."""
    try:
        return Lint.from_dict(json.loads((directory / LINT_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TrainingError):
        return None
