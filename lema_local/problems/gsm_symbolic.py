"""gsm-symbolic: problems made from templates, with step-by-step solutions, without a download.

reasoning-gym (Apache-2.0) carries GSM8K questions turned into programs: names, things and numbers vary, the solution
follows. The offline profiles live on them. One instance of template 43:

    question  A student has 19 toys. His brother has 7 fewer toys than he has. How many toys do they have together?
    solution  His brother has 19 - 7 = 12 toys.
              Together, they have 19 + 12 = 31 toys.
    answer    31

Train and test share templates, and never a question: the side an instance falls on is a hash of the numbers in its
question, so no seed, count or choice of templates can bring the two together, nor the same numbers under other names.
"""

import hashlib
import importlib
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Literal

from lema_local.corrections.rationales import solution_steps
from lema_local.errors import DataError, MissingPackageError
from lema_local.records.types import Problem

Split = Literal["train", "test"]
_Template = Callable[[Random, float], dict[str, Any]]

DATASET = "gsm-symbolic"

# reasoning-gym numbers its templates 0 to 99; its authors offer 85 and list the other 15 as in need of repair.
TEMPLATES = 85

# Found by checking the arithmetic of 300 instances of each of the 85.
EXCLUDED = {
    2: "rounds a share of the students down, as 0.41 * 60 = 24",
    3: "rounds hours down, as 4752 / 60 = 79",
    4: "rounds racks down, as 156 / 24 = 6",
    46: "ends on another number than its answer, and prints 0.6666666666666666",
    49: "rounds a division down, as 899.7 / 1.4 = 642",
    66: "prints binary fractions, as 24.749999999999996 hours",
    75: "rounds halves down, as 17 * 0.5 = 8",
    99: "cuts cents off, as 71.04 - 22.04 = 48",
}

_TEST_SHARE = 4  # one set of numbers in four belongs to test
_MAX_MISSES = 3_000  # draws in a row without a new problem before a template counts as used up
_DIFFICULTY = 1.0  # the only one that reasoning-gym supports
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_BINARY_FRACTION = re.compile(r"\d\.\d{4}")
_POINT_ZERO = re.compile(r"(?<=\d)\.0(?!\d)")


def generate(split: Split, *, count: int, seed: int, templates: tuple[int, ...] | None) -> tuple[Problem, ...]:
    """`count` different problems, spread evenly over the templates (reasoning-gym's numbers; None: all that are sound).

    The same arguments give the same problems on any machine, and a larger count begins with those of a smaller one.
    Raises DataError for an unknown or excluded template and where a template has not so many different problems,
    MissingPackageError without reasoning-gym.
    """
    library = _load_templates()
    wanted = sorted(set(library) - set(EXCLUDED)) if templates is None else list(dict.fromkeys(templates))
    _check(wanted, library, split=split, count=count)
    streams = {k: _stream(library[k], split=split, seed=seed, number=k) for k in wanted}
    problems: list[Problem] = []
    seen: set[str] = set()
    while len(problems) < count:
        number = wanted[len(problems) % len(wanted)]
        problem = next((p for p in streams[number] if p.question not in seen), None)
        if problem is None:
            have = sum(p.subject == _subject(number) for p in problems)
            raise DataError(
                f"gsm-symbolic {_subject(number)} has only {have} different {split} problems for this seed; "
                f"ask for fewer than {count} problems or name more templates."
            )
        seen.add(problem.question)
        problems.append(problem)
    return tuple(problems)


def split_of(question: str) -> Split:
    """The split that a generated question belongs to, by a hash of the numbers in it."""
    numbers = " ".join(text.replace(",", "") for text in _NUMBER.findall(question))
    return "test" if hashlib.sha256(numbers.encode()).digest()[0] % _TEST_SHARE == 0 else "train"


def _load_templates() -> dict[int, _Template]:
    try:
        # By name: the package is optional and untyped, and importing it costs most of a second.
        gym: Any = importlib.import_module("reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic")
    except ImportError as error:
        raise MissingPackageError(
            "gsm-symbolic problems need reasoning-gym: pip install 'lema-local[data]', or give a file with --data-path."
        ) from error
    generators = gym.GSMSymbolicDataset(gym.GSMSymbolicDatasetConfig(seed=0, size=1)).generators
    return {k: generators[k] for k in gym.tasks_ok}


def _check(wanted: list[int], library: dict[int, _Template], *, split: str, count: int) -> None:
    if split not in ("train", "test"):
        raise DataError(f"gsm-symbolic has the splits train and test, not {split!r}.")
    if count < 1 or not wanted:
        raise DataError("gsm-symbolic needs a count of at least 1 and at least one template.")
    for k in wanted:
        if k in EXCLUDED:
            raise DataError(f"gsm-symbolic template {k} is left out: it {EXCLUDED[k]}; name another.")
        if k not in library:
            raise DataError(f"gsm-symbolic has no template {k}; there are {', '.join(map(str, sorted(library)))}.")


def _stream(template: _Template, *, split: Split, seed: int, number: int) -> Iterator[Problem]:
    """The different problems of one template on one side, until draws bring nothing new."""
    # Seeding by text goes through SHA-512 and so is the same in every Python; hash() of a tuple is not.
    random = Random(f"{DATASET}/{seed}/{split}/{number}")
    seen: set[str] = set()
    misses = 0
    while misses < _MAX_MISSES:
        misses += 1
        problem = _problem(template(random, _DIFFICULTY), split=split, number=number)
        if problem is not None and problem.question not in seen:
            seen.add(problem.question)
            misses = 0
            yield problem


def _problem(instance: dict[str, Any], *, split: Split, number: int) -> Problem | None:
    """The instance as a problem; None if it belongs to the other split or its solution does not end at its answer."""
    question = _POINT_ZERO.sub("", " ".join(str(instance["question"]).split()))
    answer = str(instance["answer"])
    if split_of(question) != split:
        return None
    steps = solution_steps(str(instance["metadata"]["answer_cot"]))
    numbers = _NUMBER.findall(steps[-1]) if steps else []
    if not numbers or numbers[-1].replace(",", "") != answer:
        return None  # a negative answer fails here too: an age of -1 is no problem to learn from
    if _BINARY_FRACTION.search(question) or any(_BINARY_FRACTION.search(step) for step in steps):
        return None
    return Problem(
        dataset=DATASET,
        split=split,
        question=question,
        answer=answer,
        solution="\n".join(steps),
        level=f"{len(steps)} steps",
        subject=_subject(number),
    )


def _subject(number: int) -> str:
    return f"template-{number:02d}"
