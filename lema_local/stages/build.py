"""Building: rationales and corrections become training examples, examples become the arms of the profile. No LLM
call."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lema_local.answers.exact import extract_answer, is_correct
from lema_local.corrections.checks import failed_requirement
from lema_local.corrections.parsing import ParsedCorrection, parse_correction
from lema_local.corrections.rationales import answer_text, gold_output
from lema_local.corrections.reply_text import has_special_token
from lema_local.errors import DataError, LemaError
from lema_local.examples.arms import WITHOUT_CORRECTIONS, Assembled, Candidate, Ingredients, assemble, manifest
from lema_local.examples.augmentation import SampledPath, keep_paths
from lema_local.examples.texts import MAX_CHARACTERS, corrected_steps, correction_example, cot_example, sampled_output
from lema_local.examples.tokens import ESTIMATOR, TokenCounter, token_counter
from lema_local.prompts import in_alpaca, sampled_steps
from lema_local.records.types import Example, Problem, TrainingSet
from lema_local.review.rubric import consensus, counts_of
from lema_local.review.summary import grades_by_correction
from lema_local.settings.tables import Arm
from lema_local.stages import correct, sample
from lema_local.stages.derive import derive
from lema_local.stages.run import Experiment, Run
from lema_local.stages.select import wanted_rows
from lema_local.stages.student import student_frame, student_prompt

_FAILS = "correction fails "


@dataclass(frozen=True, slots=True)
class Built:
    """An arm and the examples it is made of, by id; one that trains twice stands twice."""

    training_set: TrainingSet
    examples: tuple[Example, ...]


def build(run: Run, arms: tuple[Arm, ...] | None = None) -> list[Built]:
    """Put the arms together and record them; the same records give the same training-set ids."""
    arms = arms or run.profile.build.arms
    ingredients = _prepare(run, arms)
    counter = _counter(run)
    return [_record(run, assemble(arm, ingredients, seed=run.profile.build.seed), ingredients, counter) for arm in arms]


def warm_up_id(experiment: Experiment) -> str:
    """The id of the training set `warm-up`; records nothing."""
    ingredients = _in_own_input(experiment, _gold_alone(experiment))
    return assemble("warm-up", ingredients, seed=experiment.profile.build.seed).id


def _counter(run: Run) -> TokenCounter:
    try:
        return token_counter(run.endpoints.model(run.profile.endpoint("student").model))
    except LemaError:  # a name that only its own server knows
        return ESTIMATOR


def _prepare(run: Run, arms: Sequence[Arm]) -> Ingredients:
    """What the arms are made of, in the student's own input."""
    ingredients = gather(run, arms)
    if not ingredients.corrections and not set(arms) <= set(WITHOUT_CORRECTIONS):
        raise DataError(_no_corrections(run, ingredients.left_out))
    return _in_own_input(run, ingredients)


def _in_own_input(experiment: Experiment, ingredients: Ingredients) -> Ingredients:
    """The same in the student's own input: the Alpaca-style one, or what its chat template makes of the paper's."""
    form, frame = student_prompt(experiment), student_frame(experiment)
    if form == "cot":
        return ingredients

    def changed(candidates: Sequence[Candidate]) -> list[Candidate]:
        found = []
        for candidate in candidates:
            example = candidate.example
            if frame is not None:
                prompt, output = frame.around(example.prompt), example.output.strip()
            else:
                prompt, output = in_alpaca(example.kind, example.prompt, example.output)
            found.append(replace(candidate, example=replace(example, prompt=prompt, output=output)))
        return found

    return replace(
        ingredients,
        cot=changed(ingredients.cot),
        corrections=changed(ingredients.corrections),
        corrected=changed(ingredients.corrected),
        spare=changed(ingredients.spare),
    )


def _record(run: Run, assembled: Assembled, ingredients: Ingredients, counter: TokenCounter) -> Built:
    """Add an arm to the database. One that is there keeps its manifest, so that a rerun changes nothing."""
    examples = tuple(c.example for c in assembled.candidates)
    ids = tuple(example.id for example in examples)
    there = run.store.rows("select manifest from training_set where id = $id", id=assembled.id)
    if there:
        text = there[0]["manifest"]
    else:
        frame = student_frame(run)
        chat = {} if frame is None else {"chat": asdict(frame)}
        text = json.dumps(manifest(assembled, ingredients, counter) | chat, sort_keys=True)
    training_set = TrainingSet(
        id=assembled.id,
        arm=assembled.arm,
        dataset=run.profile.data.dataset,
        seed=assembled.seed,
        cot_examples=sum(example.kind == "cot" for example in examples),
        correction_examples=sum(example.kind == "correction" for example in examples),
        manifest=text,
        example_ids=ids,
    )
    if not there:
        new = run.store.missing("example", ids)
        run.store.add_training_set(training_set, {e.id: e for e in examples if e.id in new}.values())
    return Built(training_set, examples)


def _refuse_foreign_rationales(run: Run, own: Sequence[str]) -> None:
    """DataError where rationales were sampled, and none of those that this profile's arms are made of."""
    if not own or len(run.store.missing("completion", own)) < len(own):
        return
    others = run.store.rows("select count(*) as n from rationale")[0]["n"]
    if others:
        raise DataError(
            _of_others(run, f"{others} rationales")
            + " A warm-up's reasoner is another one with another training.seed: --seeds keeps it."
        )


def _of_others(run: Run, what: str) -> str:
    return (
        f"{run.store.path} has {what}, but none of this profile, data set and models: run `lema data` with the same "
        "options first."
    )


def _no_corrections(run: Run, left_out: Mapping[str, int]) -> str:
    failed = [f"{reason.removeprefix(_FAILS)} {n}" for reason, n in left_out.items() if reason.startswith(_FAILS)]
    if failed:
        return (
            f"Every kept correction fails a check that the profile requires ({', '.join(failed)}): see "
            "`lema sql correction_checks`."
        )
    others = run.store.rows("select count(*) as n from correction where rejected_because is null")[0]["n"]
    if others and not correct.has_asked(run):
        return _of_others(run, f"{others} kept corrections")
    return (
        "No correction was kept, and all arms but cot need some: see `lema sql rejections`, and give a stronger "
        "corrector (--corrector-url, --corrector-model) or problems with solutions."
    )


def gather(run: Run, arms: Sequence[Arm]) -> Ingredients:
    """CoT examples (gold; sampled ones where the profile says so) and correction examples of the profile's train
    problems."""
    if set(arms) == {"warm-up"}:  # it comes before any rationale
        return _gold_alone(run)
    left_out: Counter[str] = Counter(run.problems.left_out)
    gold = _gold(run.problems.train, left_out)
    derive(run.store, "sample")  # an upgrade may have emptied the tables, or a stopped run left replies ungraded
    derive(run.store, "augment")
    derive(run.store, "correct")
    problems = {problem.id: problem for problem in run.problems.train}
    kept: list[Candidate] = []
    spare: list[Candidate] = []
    books: list[dict[str, Any]] = []
    if run.profile.build.augment:
        target = run.profile.build.augment_target
        taken = {c.example.id for c in gold}
        # the target holds for the data set's own problems, and again for evolved ones: these change no other arm
        for is_evolved in (False, True):
            paths = (p for p in _paths(run) if (problems[p.problem_id].source is not None) == is_evolved)
            found, beyond, counted = keep_paths(paths, problems, taken=taken, target=target)
            kept += [_path_candidate(p, e, problems) for p, e in found]
            spare += [_path_candidate(p, e, problems) for p, e in beyond]
            books.append(counted.as_dict())
    corrections, corrected = _corrections(run, problems, left_out, expand="cot-expanded" in arms)
    cot, corrections, corrected, spare = (
        _of_plain_text(each, left_out) for each in ([*gold, *kept], corrections, corrected, spare)
    )
    return Ingredients(cot, corrections, corrected, spare, left_out, *books)


def _gold_alone(experiment: Experiment) -> Ingredients:
    left_out: Counter[str] = Counter(experiment.problems.left_out)
    return Ingredients(_of_plain_text(_gold(experiment.problems.train, left_out), left_out), left_out=left_out)


def _of_plain_text(candidates: Sequence[Candidate], left_out: Counter[str]) -> list[Candidate]:
    """Those without a special token, which would end or restart a turn of the student, here or in another trainer."""
    found = [c for c in candidates if not has_special_token(c.example.prompt + "\n" + c.example.output)]
    if len(found) < len(candidates):
        left_out["special token in the text"] += len(candidates) - len(found)
    return found


def _gold(problems: Sequence[Problem], left_out: Counter[str]) -> list[Candidate]:
    found: dict[str, Candidate] = {}
    for problem in problems:
        output = gold_output(problem)
        if output is None:
            left_out["problem without a solution"] += 1
            continue
        example = cot_example(problem.question, output, source_id=problem.id, problem_id=problem.id)
        if len(example.output) > MAX_CHARACTERS:
            left_out["solution too long"] += 1
        elif example.id in found:
            left_out["problem that is there twice"] += 1
        else:
            found[example.id] = Candidate(example, "gold", problem.dataset, is_evolved=problem.source is not None)
    return list(found.values())


def _paths(run: Run) -> Iterator[SampledPath]:
    """The sampled rationales that the profile lets join CoT data, in the order of augmentation."""
    ids: list[str] = []
    if "augmenter" in run.profile.build.augment_with and sample.AUGMENTER in run.profile.endpoints:
        endpoint = run.resolved(sample.AUGMENTER).endpoint
        paths = sample.wanted_of(run.profile, sample.AUGMENTER, endpoint, run.problems.train, beyond_target=True)
        ids += [call.id for call in paths]
    if "reasoner" in run.profile.build.augment_with:
        own = [call.id for call in sample.wanted(run)]
        imported = sample.imported(run.store, "sample", run.problems.train)
        if not imported:
            _refuse_foreign_rationales(run, own)
        ids += own + imported
    train = {problem.id for problem in run.problems.train}
    for id_, problem_id, author, purpose, answer, right, cut, derived, text, template in wanted_rows(
        run.store, "sampled_paths", ids
    ):
        if problem_id in train:
            yield SampledPath(id_, problem_id, author, purpose, answer, right, cut, derived, text, template)


def _path_candidate(path: SampledPath, example: Example, problems: dict[str, Problem]) -> Candidate:
    return Candidate(
        example,
        "augmented" if path.purpose == "augment" else "sampled",
        path.author,
        is_reference_derived=path.is_reference_derived,
        is_evolved=problems[path.problem_id].source is not None,
    )


def _corrections(
    run: Run, problems: dict[str, Problem], left_out: Counter[str], *, expand: bool
) -> tuple[list[Candidate], list[Candidate]]:
    """Kept corrections as examples, and (`expand`) their corrected solutions as CoT examples."""
    found: dict[str, Candidate] = {}
    corrected: list[Candidate] = []
    fault_of = _grade_filter(run)
    left_out.update(correct.of_no_mistake(run.store, run.problems.train))
    for row in correct.wanted_checks(run.store, correct.kept_corrections(run)):
        id_, problem_id, author, derived, step, explanation, solution, answer, mistaken, template, _, checks = row
        failed = failed_requirement(checks, run.profile.correction.require) or fault_of(id_)
        if failed is not None:
            left_out[_FAILS + failed] += 1
            continue
        problem, steps = problems[problem_id], sampled_steps(mistaken, template)
        parsed = ParsedCorrection(step, explanation, solution)
        example = correction_example(problem.question, steps, parsed, source_id=id_, problem_id=problem_id)
        reason = _unfit(example, parsed)
        if reason is None and example.id in found:
            reason = "correction that is there twice"
        if reason is not None:
            left_out[reason] += 1
            continue
        found[example.id] = Candidate(example, "correction", author, derived, problem.source is not None)
        whole = _corrected_example(problem, steps, parsed, answer, source_id=id_) if expand else None
        if whole is not None:
            corrected.append(Candidate(whole, "corrected solution", author, derived, problem.source is not None))
    return list(found.values()), corrected


def _grade_filter(run: Run) -> Callable[[str], str | None]:
    """What says of a correction's id why its grade keeps it from training; nothing where the profile asks for none."""
    c = run.profile.correction
    if not c.grades:
        return lambda id_: None
    grades = grades_by_correction(run.store)

    def fault(id_: str) -> str | None:
        given = [grade for name, grade in grades.get(id_, {}).items() if counts_of(name, c.graded_by)]
        grade = consensus(given)
        if grade is None:
            return "grade (none)" if c.ungraded == "drop" else None
        return None if grade in c.grades else f"grade ({grade})"

    return fault


def _unfit(example: Example, parsed: ParsedCorrection) -> str | None:
    """Why a correction cannot train though it was kept: what a student learns to write must read back as what was
    graded."""
    if max(len(example.prompt), len(example.output)) > MAX_CHARACTERS:
        return "correction too long"
    again = parse_correction(example.output)
    if (again.incorrect_step, again.explanation, again.correct_solution) != (
        parsed.incorrect_step,
        parsed.explanation,
        parsed.correct_solution,
    ):
        return "correction that does not read back"
    return None


def _corrected_example(
    problem: Problem, steps: list[str], parsed: ParsedCorrection, answer: str | None, *, source_id: str
) -> Example | None:
    whole = corrected_steps(steps, parsed)
    if not whole:
        return None
    output = sampled_output(whole, answer_text(problem))
    said = extract_answer(output, problem.kind)
    if said is None or not (said == answer or is_correct(said, problem.answer, problem.kind)):
        return None
    return cot_example(problem.question, output, source_id=source_id, problem_id=problem.id)
