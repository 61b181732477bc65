"""From replies to training sets: derive, build and manifest of 100,000 rationales and 50,000 corrections, with no LLM
call.

    python bench/building.py                       the size that the project promises: under 60 s and 2 GB
    python bench/building.py --rationales 10000    a tenth of it

Makes a database of synthetic replies (arithmetic stories, half of them wrong in one step), then times each stage in a
process of its own, so that memory is that stage's. Never fails on time, since machines differ.
"""

import argparse
import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lema_local.records.journal import row_of
from lema_local.records.store import Writer
from lema_local.records.types import Completion
from lema_local.settings.profiles import load_profile
from lema_local.stages import correct, sample
from lema_local.stages.build import build
from lema_local.stages.derive import derive, rederive
from lema_local.stages.run import Run
from lema_local.stages.work import Call

PROFILE = """
[data]
dataset = "bench"
train_path = "train.jsonl"
test_path = "test.jsonl"
decontaminate = false  # stories of one pattern are alike on purpose
[endpoints.reasoner]
base_url = "http://127.0.0.1:9/v1"
model = "bench-reasoner"
[endpoints.corrector]
base_url = "http://127.0.0.1:9/v1"
model = "bench-corrector"
[endpoints.student]
base_url = "http://127.0.0.1:9/v1"
model = "smollm2-135m-instruct"
[sampling]
samples = {samples}
[build]
arms = ["cot", "lema", "lema-controlled"]
"""
ITEMS = ("pens", "apples", "tickets", "bricks", "stamps", "marbles")
NAMES = ("Nora", "Omar", "Lena", "Tariq", "Ines", "Pavel")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rationales", type=int, default=100_000)
    options.add_argument("--samples", type=int, default=8, help="rationales of each problem")
    options.add_argument("--profile", action="store_true", help="print where the time goes")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        print(f"{'stage':<20}{'rows':>10}{'seconds':>10}{'CPU s':>8}{'MB':>8}")
        total = 0.0
        for stage in (
            _make_samples,
            _derive_samples,
            _make_corrections,
            _derive_corrections,
            _build,
            _build,
            _rederive,
        ):
            made, seconds, cpu, memory = _apart(stage, folder, given.rationales, given.samples, given.profile)
            total += 0 if stage in (_make_samples, _make_corrections, _rederive) else seconds
            print(f"{stage.__name__.strip('_'):<20}{made:>10,}{seconds:>10.1f}{cpu:>8.1f}{memory:>8,.0f}")
        print(f"derive + build (twice): {total:.1f} s")


def _apart(stage: Callable[..., int], *arguments: Any) -> tuple[int, float, float, float]:
    """Run a stage in a fresh process: rows, seconds, CPU seconds and peak memory in MB (the grader's workers not
    counted)."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_timed, stage, *arguments).result()


def _timed(stage: Callable[..., int], folder: Path, rationales: int, samples: int, profile: bool) -> Any:
    import cProfile
    import os
    import pstats

    os.chdir(folder)
    start = time.perf_counter()
    if profile:
        profiler = cProfile.Profile()
        made = profiler.runcall(stage, folder, rationales, samples)
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(25)
    else:
        made = stage(folder, rationales, samples)
    seconds = time.perf_counter() - start
    return made, seconds, time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _open(folder: Path) -> Writer:
    return Writer(folder / "lema.duckdb")


def _run(store: Writer, folder: Path) -> Run:
    return Run(load_profile(str(folder / "bench.toml"), environment={}), store)


def _make_samples(folder: Path, rationales: int, samples: int) -> int:
    problems = rationales // samples
    (folder / "bench.toml").write_text('description = "bench"\n' + PROFILE.format(samples=samples))
    for name, first, count in (("train", 0, problems), ("test", problems, 10)):
        rows = (_problem(number) for number in range(first, first + count))
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with _open(folder) as store:
        run = _run(store, folder)
        numbers = {problem.id: k for k, problem in enumerate(run.problems.train)}
        calls = sample.wanted(run)
        return _add(store, ((call, _rationale(numbers[call.problem_id], call.sample_index)) for call in calls))


def _make_corrections(folder: Path, rationales: int, samples: int) -> int:
    with _open(folder) as store:
        run = _run(store, folder)
        endpoint = run.resolved("corrector").endpoint
        numbers = {problem.id: k for k, problem in enumerate(run.problems.train)}
        calls = correct.wanted(run.profile, endpoint, correct.mistakes(run))
        return _add(store, ((call, _correction(numbers[call.problem_id], k)) for k, call in enumerate(calls)))


def _derive_samples(folder: Path, rationales: int, samples: int) -> int:
    with _open(folder) as store:
        return derive(store, "sample")


def _derive_corrections(folder: Path, rationales: int, samples: int) -> int:
    with _open(folder) as store:
        return derive(store, "correct")


def _rederive(folder: Path, rationales: int, samples: int) -> int:
    with _open(folder) as store:
        return sum(flip.rows for flip in rederive(store))


def _build(folder: Path, rationales: int, samples: int) -> int:
    with _open(folder) as store:
        return sum(len(built.examples) for built in build(_run(store, folder)))


def _numbers(number: int) -> tuple[int, int, int, str, str]:
    rng = random.Random(number)
    return rng.randint(3, 90), rng.randint(3, 60), rng.randint(2, 9), rng.choice(ITEMS), rng.choice(NAMES)


def _problem(number: int) -> dict[str, str]:
    a, b, c, item, name = _numbers(number)
    question = (
        f"In week {number} {name} packs {a} boxes with {b} {item} each. Then {name} gives {c} {item} to each of "
        f"three friends and keeps the rest. How many {item} does {name} keep?"
    )
    left = a * b - 3 * c
    solution = (
        f"The boxes hold {a}*{b} = <<{a}*{b}={a * b}>>{a * b} {item}.\nThe friends get 3*{c} = <<3*{c}={3 * c}>>"
        f"{3 * c} {item}.\nSo {a * b}-{3 * c} = <<{a * b}-{3 * c}={left}>>{left} {item} are kept.\n#### {left}"
    )
    return {"question": question, "answer": solution}


def _rationale(number: int, index: int) -> str:
    """Wrong in its second or third step for odd indices."""
    a, b, c, item, name = _numbers(number)
    given = 3 * c if index % 4 != 1 else 3 + c
    left = a * b - given + (10 if index % 4 == 3 else 0)
    words = ("First,", "To begin,", "We see that", "Now")[index // 2 % 4]
    return (
        f"Step 1: {words} {name} packs {a} boxes of {b} {item}, which makes {a} * {b} = {a * b} {item}.\n"
        f"Step 2: Then {name} gives {c} {item} to each of three friends, that is {given} {item}.\n"
        f"Step 3: So {name} keeps {a * b} - {given} = {left} {item} in attempt {index}. The answer is {left}."
    )


def _correction(number: int, k: int) -> str:
    """One in ten does not reach the answer."""
    a, b, c, item, name = _numbers(number)
    left = a * b - 3 * c + (1 if k % 10 == 0 else 0)
    return (
        f"Step 2.\nExplanation: Three friends get {c} {item} each, so the {item} given away are a product; the "
        f"original solution does not take off as many as {name} gives (case {k}).\nCorrect Solution:\n...\n"
        f"Step 2: The three friends get 3 * {c} = {3 * c} {item} from {name}.\n"
        f"Step 3: So {name} keeps {a * b} - {3 * c} = {left} {item}. The answer is {left}."
    )


def _add(store: Writer, replies: Iterator[tuple[Call, str]]) -> int:
    """Straight into the table: the journal is not what is measured here."""
    now, count = datetime(2026, 1, 1, tzinfo=UTC), 0
    with store.connect(write=True) as connection, connection.appender("completion") as appender:
        for call, text in replies:
            appender.append_row(*row_of(_completion(call, text, now)))
            count += 1
    return count


def _completion(call: Call, text: str, now: datetime) -> Completion:
    return Completion(
        id=call.id,
        purpose=call.purpose,
        model=call.endpoint.model,
        model_identity=call.endpoint.identity,
        template=call.template,
        problem_id=call.problem_id,
        rationale_id=call.rationale_id,
        checkpoint_id=None,
        sampling=call.sampling.as_json(),
        sample_index=call.sample_index,
        text=text,
        finish_reason="stop",
        prompt_tokens=900,
        completion_tokens=150,
        latency_s=1.0,
        cost_usd=None,
        endpoint=call.endpoint.name,
        is_reference_derived=False,
        created_at=now,
    )


if __name__ == "__main__":
    main()
