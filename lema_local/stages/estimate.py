"""What `lema data` would call, before it calls anything: calls, tokens and cost of what is pending (`--dry-run`).

Tokens are the means of like calls in the database where it has any; else prompts are counted at four characters a
token and texts at their longest. Corrections of samples that are not there yet are counted by the mistake rate so far,
or as if each sample were a mistake; `basis` says which.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.prompts import EVOLUTION_TEMPLATE, sample_template
from lema_local.records.store import Store, stage_sql
from lema_local.stages import correct, sample
from lema_local.stages.calls import handed_in
from lema_local.stages.evolve import made
from lema_local.stages.recipes import resolve_recipes
from lema_local.stages.resolve import wanted
from lema_local.stages.run import Experiment
from lema_local.stages.warm_up import resolve_warm_up
from lema_local.stages.work import Call

CHARACTERS_A_TOKEN = 4
PROMPTS_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Estimate:
    """The pending calls of one stage at one endpoint. Dollars are None where no price is known (local servers)."""

    stage: str
    endpoint: str
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    basis: str


def estimate(experiment: Experiment) -> list[Estimate]:
    """One row for each endpoint that samples, for each corrector, for the evolver's questions and answers, and for each
    reasoner that re-solves.

    Problems that were evolved before count like the others; what those to come will ask for is not known.
    """
    resolve_recipes(experiment)
    resolve_warm_up(experiment)
    asked, answered, evolved = made(experiment)
    experiment.add_train_problems(evolved)
    rows = _data(experiment)
    if experiment.profile.evolution.questions:
        rows += _evolution(experiment, asked, answered)
    if experiment.profile.correction.resolve:
        rows += _resolving(experiment, rows)
    return rows


def _data(experiment: Experiment) -> list[Estimate]:
    profile, problems, store = experiment.profile, experiment.problems.train, experiment.store
    rows, own, ungraded = [], set[str](), 0
    augmenter = [sample.AUGMENTER] if sample.AUGMENTER in profile.endpoints else []
    for name in (*profile.sampling.reasoners, *augmenter):
        endpoint = experiment.resolved(name).endpoint
        wanted = sample.wanted_of(profile, name, endpoint, problems)
        samples = not_there(store, wanted)
        render = sample.prompts(problems, endpoint.api)
        rows.append(
            row_of("augment" if name in augmenter else "sample", endpoint, len(samples), samples, render, store, "")
        )
        if name not in augmenter:
            own.update(call.id for call in wanted)
    ungraded = len(store.missing("rationale", list(own)))
    given = correct.mistakes(experiment)
    seen = len(own) - ungraded  # a run that was interrupted has samples that no stage has graded yet
    wrong = sum(row["id"] in own for row in given)  # beside these there are imported ones, of no sample that is asked
    rate, basis = (wrong / seen, "mistake rate so far") if seen else (1.0, "at most: every sample a mistake")
    to_come = round(rate * ungraded)
    before = False
    for name in profile.correction.correctors:
        corrector = experiment.resolved(name).endpoint
        calls = correct.wanted(profile, corrector, given)
        left = not_there(store, calls)
        mistakes = given or _stand_ins(experiment)
        like = left or correct.wanted(profile, corrector, mistakes)
        render = correct.prompts(mistakes, corrector.api)
        count, said = len(left) + to_come, basis if to_come else ""
        if before and count and not profile.correction.everyone:
            said = "; ".join(filter(None, (said, "at most: the correctors before correct none")))
        rows.append(row_of("correct", corrector, count, like, render, store, said))
        before = before or bool(to_come or store.missing("correction", [call.id for call in calls]))
        done = correct.kept(store, calls)
        given = [row for row in given if profile.correction.everyone or row["id"] not in done]
    return rows


def _evolution(experiment: Experiment, asked: Sequence[Call], answered: Sequence[Call]) -> list[Estimate]:
    """The questions to come, and the answers to them: as if each were a new one. Seeds are drawn from the corrections,
    so that more of them draw others."""
    e, problems, store = experiment.profile.evolution, experiment.problems.train, experiment.store
    endpoint = experiment.resolved("evolver").endpoint
    sampling = Sampling(temperature=e.temperature, max_tokens=e.max_tokens, top_p=e.top_p)
    few = problems[:PROMPTS_LOOKED_AT]
    render = sample.prompts(problems, endpoint.api)
    to_come = len(not_there(store, asked)) + e.questions - len(asked)
    answers = len(not_there(store, answered)) + e.answers * to_come
    questions_like = [Call(endpoint, "evolve", EVOLUTION_TEMPLATE, sampling, problem.id) for problem in few]
    answers_like = [Call(endpoint, "answer", sample_template(p.kind), sampling, p.id) for p in few]
    said = "at most: each question is new" if to_come else ""
    return [
        row_of("evolve", endpoint, to_come, questions_like, render, store, ""),
        row_of("answer", endpoint, answers, answers_like, render, store, said),
    ]


def _resolving(experiment: Experiment, rows: Sequence[Estimate]) -> list[Estimate]:
    """What each reasoner is asked to go on from: the corrections that are kept, and at most one for each of its
    mistakes to come."""
    problems, store = experiment.problems.train, experiment.store
    to_come = max((row.calls for row in rows if row.stage == "correct"), default=0)
    found = []
    for name, calls in wanted(experiment):
        endpoint = experiment.resolved(name).endpoint
        s = experiment.profile.sampling.by(name)
        sampling = Sampling(temperature=0.0, max_tokens=s.max_tokens)
        like = [Call(endpoint, "resolve", sample_template(p.kind, s.prompt), sampling, p.id) for p in problems]
        count = len(not_there(store, calls)) + to_come
        said = "at most: each correction to come is kept, and of its mistake" if to_come else ""
        found.append(row_of("resolve", endpoint, count, like, sample.prompts(problems, endpoint.api), store, said))
    return found


def _stand_ins(experiment: Experiment) -> list[correct.Mistake]:
    """Mistakes as long as rationales can be, to measure prompts by before there is any."""
    rationale = "x" * (CHARACTERS_A_TOKEN * experiment.profile.sampling.max_tokens)
    return [
        {"id": p.id, "problem_id": p.id, "question": p.question, "rationale": rationale, "solution": p.solution}
        | {"kind": p.kind, "template": ""}
        for p in experiment.problems.train[:PROMPTS_LOOKED_AT]
    ]


def not_there(store: Store, calls: Sequence[Call]) -> list[Call]:
    """The calls whose completion is neither in the store nor in a batch at work."""
    missing = store.missing("completion", [call.id for call in calls])
    missing -= handed_in(store) if missing else set()
    return [call for call in calls if call.id in missing]


def row_of(
    stage: str,
    endpoint: Endpoint,
    count: int,
    like: Sequence[Call],
    render: Callable[[Call], Prompt],
    store: Store,
    basis: str,
) -> Estimate:
    """The row of a stage: `count` calls that are `like` these."""
    usage = store.rows(stage_sql("usage_so_far"), purpose=stage, model=endpoint.model)[0]
    if usage["calls"]:
        read, written = usage["prompt_tokens"], usage["completion_tokens"]
        basis_tokens = f"tokens as in {usage['calls']} calls before"
    else:
        looked_at = like[:PROMPTS_LOOKED_AT]
        lengths = [_characters(render(call)) for call in looked_at]
        read = sum(lengths) / max(1, len(lengths)) / CHARACTERS_A_TOKEN
        written = looked_at[0].sampling.max_tokens if looked_at else 0
        basis_tokens = "texts at their longest"
    price = endpoint.price.of_prompt(round(read)) if endpoint.price else None  # by the length of one prompt
    read, written = round(count * read), round(count * written)
    return Estimate(
        stage=stage,
        endpoint=endpoint.name,
        model=endpoint.model,
        calls=count,
        prompt_tokens=read,
        completion_tokens=written,
        usd=price.cost(prompt=read, cached=0, completion=written) if price else None,
        basis="; ".join(part for part in (basis, basis_tokens) if part) if count else "nothing pending",
    )


def _characters(prompt: Prompt) -> int:
    return len(prompt.text or "") + sum(len(message["content"]) for message in prompt.messages)
