"""What `lema data` would call, before it calls anything: calls, tokens and cost of what is pending (`--dry-run`).

Tokens are the means of like calls in the database where it has any; else prompts are counted at four characters a
token and texts at their longest. Corrections of samples that are not there yet are counted by the mistake rate so far,
or as if each sample were a mistake; `basis` says which.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lema_local.endpoint import Endpoint, Prompt
from lema_local.profiles import Profile
from lema_local.records import Problem
from lema_local.serving import describe_endpoint
from lema_local.stages import correct, sample
from lema_local.stages.calls import Call
from lema_local.store import Store, stage_sql

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


def estimate(profile: Profile, problems: Sequence[Problem], store: Store | None) -> list[Estimate]:
    """One row for each endpoint that samples, and for each corrector of the cascade; what evolution would add is not
    known before. `store` is None where there is no database."""
    rows, wanted_count, samples_to_come = [], 0, 0
    augmenter = [sample.AUGMENTER] if sample.AUGMENTER in profile.endpoints else []
    for name in (*profile.sampling.reasoners, *augmenter):
        endpoint = describe_endpoint(name, profile.endpoint(name))
        wanted = sample.wanted_of(profile, name, endpoint, problems)
        samples = _missing(store, wanted)
        render = sample.prompts(problems, endpoint.api)
        rows.append(
            _row("augment" if name in augmenter else "sample", endpoint, len(samples), samples, render, store, "")
        )
        if name not in augmenter:
            wanted_count, samples_to_come = wanted_count + len(wanted), samples_to_come + len(samples)
    given = correct.mistakes_in(store, profile, problems) if store else []
    seen = wanted_count - samples_to_come
    rate, basis = (len(given) / seen, "mistake rate so far") if seen else (1.0, "at most: every sample a mistake")
    to_come = round(rate * samples_to_come)
    before = False
    for name in profile.correction.correctors:
        corrector = describe_endpoint(name, profile.endpoint(name))
        calls = correct.wanted(profile, corrector, given)
        left = _missing(store, calls)
        mistakes = given or _stand_ins(profile, problems)
        like = left or correct.wanted(profile, corrector, mistakes)
        render = correct.prompts(mistakes, corrector.api)
        count, said = len(left) + to_come, basis if to_come else ""
        if before and count:
            said = "; ".join(filter(None, (said, "at most: the correctors before correct none")))
        rows.append(_row("correct", corrector, count, like, render, store, said))
        before = before or bool(count)
        done = correct.kept(store, calls) if store else {}
        given = [row for row in given if row["id"] not in done]
    return rows


def _stand_ins(profile: Profile, problems: Sequence[Problem]) -> list[correct.Mistake]:
    """Mistakes as long as rationales can be, to measure prompts by before there is any."""
    rationale = "x" * (CHARACTERS_A_TOKEN * profile.sampling.max_tokens)
    return [
        {"id": p.id, "problem_id": p.id, "question": p.question, "rationale": rationale, "solution": p.solution}
        | {"kind": p.kind}
        for p in problems[:PROMPTS_LOOKED_AT]
    ]


def _missing(store: Store | None, calls: Sequence[Call]) -> list[Call]:
    if store is None:
        return list(calls)
    missing = store.missing("completion", [call.id for call in calls])
    missing -= {row["id"] for row in store.rows(stage_sql("in_batches"))} if missing else set()
    return [call for call in calls if call.id in missing]


def _row(
    stage: str,
    endpoint: Endpoint,
    count: int,
    like: Sequence[Call],
    render: Callable[[Call], Prompt],
    store: Store | None,
    basis: str,
) -> Estimate:
    """The row of a stage: `count` calls that are `like` these."""
    usage = store.rows(stage_sql("usage_so_far"), purpose=stage, model=endpoint.model)[0] if store else {"calls": 0}
    if usage["calls"]:
        read, written = usage["prompt_tokens"], usage["completion_tokens"]
        basis_tokens = f"tokens as in {usage['calls']} calls before"
    else:
        looked_at = like[:PROMPTS_LOOKED_AT]
        lengths = [_characters(render(call)) for call in looked_at]
        read = sum(lengths) / max(1, len(lengths)) / CHARACTERS_A_TOKEN
        written = looked_at[0].sampling.max_tokens if looked_at else 0
        basis_tokens = "texts at their longest"
    read, written = round(count * read), round(count * written)
    return Estimate(
        stage=stage,
        endpoint=endpoint.name,
        model=endpoint.model,
        calls=count,
        prompt_tokens=read,
        completion_tokens=written,
        usd=endpoint.price.cost(prompt=read, cached=0, completion=written) if endpoint.price else None,
        basis="; ".join(part for part in (basis, basis_tokens) if part) if count else "nothing pending",
    )


def _characters(prompt: Prompt) -> int:
    return len(prompt.text or "") + sum(len(message["content"]) for message in prompt.messages)
