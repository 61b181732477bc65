"""Answers graded per second, beside math-verify alone on the same rows in the same run.

    python bench/grading.py                        rows of its own making
    python bench/grading.py outputs.jsonl          rows with text, reference and kind (as `lema grade` reads them)

Prints a table and the ratio; never fails on time, since machines differ.
"""

import json
import random
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lema_local.answers.authors import is_correct_authors
from lema_local.answers.exact import compare, extract_answer, is_correct
from lema_local.answers.grading import Grader, Verdict
from lema_local.answers.latex_notation import normalise
from lema_local.records.types import AnswerKind

Row = tuple[str, str, AnswerKind]
_REFERENCE_ROWS = 1_000  # as many as math-verify gets: it takes about a millisecond each


def main() -> None:
    rows = _read(Path(sys.argv[1])) if len(sys.argv) > 1 else _make(20_000, random.Random(0))
    by_kind: dict[AnswerKind, list[Row]] = defaultdict(list)
    for row in rows:
        by_kind[row[2]].append(row)
    heads = ("rows", "ours /s", "pool /s", "authors /s", "math-verify", "ratio")
    print(f"{'kind':<8}" + "".join(f"{head:>12}" for head in heads))
    for kind, some in by_kind.items():
        alone = _time_pure(some)
        pool, reasons = _time_pool(some)
        authors = _time(some, lambda row: is_correct_authors(row[0], row[1], row[2]))
        sample = some[:_REFERENCE_ROWS]
        reference = _time_math_verify(sample) if kind != "choice" else float("nan")
        figures = "".join(f"{figure:>12,.0f}" for figure in (len(some), alone, pool, authors, reference))
        print(f"{kind:<8}{figures}{pool / reference:>11.1f}x  {reasons}")
    print(f"memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


def _time(rows: list[Row], grade: Callable[[Row], object]) -> float:
    normalise.cache_clear()  # no run lives on the one before it
    start = time.perf_counter()
    for row in rows:
        grade(row)
    return len(rows) / (time.perf_counter() - start)


def _time_pure(rows: list[Row]) -> float:
    """One core: extraction, exact and normalised comparison."""
    return _time(rows, lambda row: is_correct(extract_answer(row[0], row[2]), row[1], row[2]))


def _time_pool(rows: list[Row]) -> tuple[float, str]:
    """Everything, with algebra on two workers, started before the clock."""
    reasons: dict[str, int] = defaultdict(int)
    with Grader(workers=2) as grader, ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda n: grader.grade(f"y=x(x+{n})", f"x^2+{n}x=y", "latex"), range(4)))
        normalise.cache_clear()
        start = time.perf_counter()
        pending = []
        for text, reference, kind in rows:
            answer = extract_answer(text, kind)
            same, rule = compare(answer, reference, kind)
            if same is None:
                pending.append(threads.submit(grader.grade, answer, reference, kind))
            else:
                reasons[Verdict(same, rule).decided_by] += 1
        for future in pending:
            reasons[future.result().decided_by] += 1
        seconds = time.perf_counter() - start
    return len(rows) / seconds, ", ".join(
        f"{n:,} {reason}" for reason, n in sorted(reasons.items(), key=lambda i: -i[1])
    )


def _time_math_verify(rows: list[Row]) -> float:
    import logging

    from math_verify import parse, verify  # type: ignore[import-untyped]

    logging.disable(logging.CRITICAL)
    parse("$1$")

    def grade(row: Row) -> None:
        verify(parse(f"${row[1]}$", parsing_timeout=1), parse(row[0], parsing_timeout=1), timeout_seconds=1)

    return _time(rows, grade)


def _read(path: Path) -> list[Row]:
    rows: list[Row] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            rows.append((row["text"], str(row["reference"]), row.get("kind", "number")))
    return rows


def _make(count: int, rng: random.Random) -> list[Row]:
    """Number and latex rows of the length and the mix of real outputs; about a third of them wrong."""
    rows: list[Row] = []
    for number in range(count):
        a, b = rng.randint(2, 900), rng.randint(2, 90)
        right = a * b if rng.random() > 0.3 else a * b + rng.choice([-1, 1, 10])
        steps = f"Step 1: There are {a} boxes with {b} pens each, so we multiply.\n" * 4
        ending = rng.choice(["The answer is {n}.", "The answer is ${n:,}.", "#### {n}", "**Final answer:** {n} pens"])
        rows.append((steps + f"Step 5: {a} * {b} = {right}. " + ending.format(n=right), str(a * b), "number"))
        if number % 4 == 0:
            rows.append((steps + f"So the answer is $\\boxed{{{_latex(a, b, rng)}}}$.", _reference(a, b), "latex"))
    return rows


def _reference(a: int, b: int) -> str:
    forms = (f"\\frac{{{a}}}{{{b}}}", f"{a}", f"({a},-{b})", f"{a}\\sqrt{{{b}}}", f"x^2+{a}x+{b}", f"{a * b}")
    return forms[a % len(forms)]


def _latex(a: int, b: int, rng: random.Random) -> str:
    reference = _reference(a, b)
    choice = rng.random()
    if choice < 0.3:
        return _reference(a, b + rng.randint(1, 3))
    if choice < 0.6:
        return reference.replace("\\frac", "\\dfrac").replace(",", ", ").replace("+", " + ")
    if choice < 0.62 and reference.startswith("x^2"):
        return f"{b} + x(x + {a})"
    return reference


if __name__ == "__main__":
    main()
