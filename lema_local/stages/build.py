"""Building: rationales and corrections become training examples, examples become the arms of the profile. No LLM
call."""

from collections import Counter
from dataclasses import dataclass

from lema_local.answers import extract_answer, is_correct
from lema_local.corrections import parse_correction
from lema_local.errors import DataError
from lema_local.examples import Built, build_arm, correction_example, cot_example, sampled_output
from lema_local.profiles import Arm
from lema_local.rationales import gold_output, split_steps
from lema_local.records import Example
from lema_local.serving import describe_endpoint
from lema_local.stages import correct, sample
from lema_local.stages.run import Run
from lema_local.store import stage_sql


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Every example that the profile's records give, before arms are put together."""

    cot: tuple[Example, ...]
    corrections: tuple[Example, ...]
    left_out: dict[str, int]  # reason -> count
    reference_derived: frozenset[str]  # ids of corrections that an oracle wrote


def build(run: Run, arms: tuple[Arm, ...] | None = None) -> list[Built]:
    """Put the arms together and record them; the same records give the same training-set ids."""
    ingredients = gather(run)
    if not ingredients.corrections and any(arm != "cot" for arm in arms or run.profile.build.arms):
        raise DataError(_no_corrections(run))
    seed = run.profile.build.seed
    built = []
    for arm in arms or run.profile.build.arms:
        b = build_arm(
            arm,
            ingredients.cot,
            ingredients.corrections,
            dataset=run.profile.data.dataset,
            seed=seed,
            left_out=ingredients.left_out,
            reference_derived=ingredients.reference_derived,
        )
        run.store.add_training_set(b.training_set, b.examples)
        built.append(b)
    return built


def _no_corrections(run: Run) -> str:
    others = run.store.rows("select count(*) as n from correction where rejected_because is null")[0]["n"]
    if others:
        return (
            f"{run.store.path} has {others} kept corrections, but none of this profile, data set and models: "
            "run `lema data` with the same options first."
        )
    return (
        "No correction was kept, and all arms but cot need some: see `lema sql rejections`, and give a stronger "
        "corrector (--corrector-url, --corrector-model) or problems with solutions."
    )


def gather(run: Run) -> Ingredients:
    """CoT examples (gold; sampled too where the profile says so) and correction examples of the profile's train
    problems."""
    run.store.merge()
    left_out: Counter[str] = Counter(run.problems.left_out)
    cot = []
    for problem in run.problems.train:
        output = gold_output(problem)
        if output is None:
            left_out["problem without a solution"] += 1
        else:
            cot.append(cot_example(problem.question, output, source_id=problem.id, problem_id=problem.id))
    if run.profile.build.augment:
        cot += _sampled(run, left_out)
    corrections, derived = _corrections(run)
    return Ingredients(tuple(cot), tuple(corrections), dict(left_out), derived)


def _sampled(run: Run, left_out: Counter[str]) -> list[Example]:
    endpoint = describe_endpoint("reasoner", run.profile.endpoint("reasoner"))
    ids = {call.id for call in sample.wanted(run.profile, endpoint, run.problems.train)}
    found = []
    for row in run.store.rows(stage_sql("cot_rationales")):
        if row["id"] not in ids:
            continue
        steps = split_steps(row["text"])
        if not steps:
            left_out["right rationale without steps"] += 1
            continue
        output = sampled_output(steps, row["reference"])
        if not is_correct(extract_answer(output, row["kind"]), row["reference"], row["kind"]):
            left_out["right rationale whose steps end otherwise"] += 1
            continue
        found.append(cot_example(row["question"], output, source_id=row["id"], problem_id=row["problem_id"]))
    return found


def _corrections(run: Run) -> tuple[list[Example], frozenset[str]]:
    ids = set(correct.kept_corrections(run))
    found, derived = [], set()
    for row in run.store.rows(stage_sql("correction_texts")):
        if row["id"] not in ids:
            continue
        parsed = parse_correction(row["text"])
        steps = split_steps(row["mistaken_text"])
        if row["is_reference_derived"]:
            derived.add(row["id"])
        found.append(
            correction_example(row["question"], steps, parsed, source_id=row["id"], problem_id=row["problem_id"])
        )
    return found, frozenset(derived)
