"""How fast each form of a GGUF's weights is here, and how well it agrees with the file: measured in a child, which an
interrupt ends at once, and whose illegal instruction (a llama.cpp of another machine) ends no one else.

    python -m lema_local.serving.measuring m.gguf f32=CACHE/m-f32.gguf bf16=CACHE/m-bf16.gguf

writes {"form": "bf16", "measured": {"file": {"tokens_per_s": 196.0, ...}, ...}} to stdout. Who started it removes the
files of the other forms, however it ended.
"""

import json
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from lema_local.errors import ServerError
from lema_local.hardware import die_with_parent
from lema_local.serving.llama_batches import Batches, convert

LEAST_AGREEMENT = 0.99
FASTER = 1.1  # than the file as it is, to be worth another file
SEQUENCES = 16
EXACT = "f32"
FOREIGN_BUILD = (
    "it met an instruction that this processor lacks, as a program does that was compiled on another machine; "
    "`make llama-server` compiles llama.cpp on this one"
)
_TEXTS = ("correct_number.1.txt", "judge.1.txt")  # what the positions are taken from: about 1,600 tokens


@dataclass(frozen=True, slots=True)
class Measured:
    """What a form gave."""

    tokens_per_s: float  # of one thread, SEQUENCES in a batch
    agreement: float | None = None  # with the file's weights in float32; None: not asked, for it was no faster


@dataclass(frozen=True, slots=True)
class Choice:
    """The form that is served, and why."""

    form: str
    measured: dict[str, Measured]

    @property
    def speed_up(self) -> float:
        """Times the file's speed as it is."""
        return self.measured[self.form].tokens_per_s / self.measured["file"].tokens_per_s if self.measured else 1.0


def choice_from(record: Any) -> Choice:
    """The choice that a record of it tells. LookupError, TypeError or AttributeError where it is none."""
    return Choice(str(record["form"]), {form: Measured(**each) for form, each in record["measured"].items()})


def measure_in_child(source: Path, targets: dict[str, Path]) -> Choice:
    """`measure` in a process of its own. Of the files named, that of the chosen form alone is left. ServerError where
    it ends badly."""
    command = [sys.executable, "-m", __name__, str(source), *(f"{form}={path}" for form, path in targets.items())]
    chosen = None
    try:
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=die_with_parent())
        if done.returncode:
            raise ServerError(f"The speed of {source} cannot be measured: {_why(done)}")
        choice = choice_from(json.loads(done.stdout))
        chosen = choice.form
        return choice
    except (OSError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ServerError(f"The speed of {source} cannot be measured: {error}.") from error
    finally:  # a child that was killed left what it had written
        for form, target in targets.items():
            for path in target.parent.glob(f".{target.name}.*"):
                path.unlink(missing_ok=True)
            if form != chosen:
                target.unlink(missing_ok=True)


def _why(done: "subprocess.CompletedProcess[str]") -> str:
    """How a child ended."""
    if done.returncode == -signal.SIGILL:
        return FOREIGN_BUILD
    return (done.stderr.strip().splitlines() or [f"llama.cpp ended with code {done.returncode}"])[-1][:300]


def measure(source: Path, targets: dict[str, Path]) -> Choice:
    """The fastest form that qualifies. Writes the weights in each form (EXACT is the measure of the others) to the file
    named, and leaves them there."""
    text = "\n".join(files("lema_local").joinpath("templates", name).read_text(encoding="utf-8") for name in _TEXTS)
    convert(source, targets[EXACT], EXACT)
    with Batches(targets[EXACT]) as batches:
        wanted = batches.top_tokens(text)
    with Batches(source) as batches:
        plain = Measured(batches.tokens_per_s(sequences=SEQUENCES))
    measured, chosen = {"file": plain}, "file"
    for form, path in targets.items():
        if form == EXACT:
            continue
        convert(source, path, form)
        with Batches(path) as batches:
            speed = batches.tokens_per_s(sequences=SEQUENCES)
            is_fast = speed > max(FASTER * plain.tokens_per_s, measured[chosen].tokens_per_s)
            agreement = _agreement(wanted, batches, text) if is_fast else None
        measured[form] = Measured(speed, agreement)
        if agreement is not None and agreement >= LEAST_AGREEMENT:
            chosen = form
    return Choice(chosen, measured)


def _agreement(wanted: list[int], batches: Batches, text: str) -> float:
    """Share of positions with the same top token: of the text's first 1,000 characters where that settles it."""
    share = 0.0
    for length in (1000, len(text)):
        found = batches.top_tokens(text[:length])
        # the last token of a text that is cut may be another
        same = [a == b for a, b in zip(wanted[: len(found) - 1], found[:-1], strict=True)]
        share = sum(same) / len(same)
        if share < LEAST_AGREEMENT - 0.04:
            break
    return share


def main(arguments: list[str]) -> None:
    """What the child does."""
    source, *named = arguments
    targets = {form: Path(path) for form, _, path in (each.partition("=") for each in named)}
    try:
        sys.stdout.write(json.dumps(asdict(measure(Path(source), targets))) + "\n")
    except ServerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
