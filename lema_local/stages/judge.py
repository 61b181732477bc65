"""Judging: a model grades corrections by the rubric that people grade by. Its replies are completions like any other
(purpose "judge"; `rationale_id` is the correction), and each grade that can be read is an event of reviewing:

    Review(correction_id="77aa...", reviewer="model:gpt-4o", grade="good", note="The step is right ...", ...)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.errors import ProfileError
from lema_local.prompts import render, stop_texts
from lema_local.records.endings import is_whole
from lema_local.records.keys import content_key
from lema_local.records.store import Store
from lema_local.records.types import Review
from lema_local.review.draw import draw, read_items
from lema_local.review.items import Item
from lema_local.review.judging import JUDGE_TEMPLATE, judge_inputs, parse_judgement
from lema_local.review.rubric import JUDGE
from lema_local.review.sampling import Wish
from lema_local.settings.profiles import Profile
from lema_local.stages.calls import complete, pending
from lema_local.stages.engines import open_model
from lema_local.stages.estimate import Estimate, not_there, row_of
from lema_local.stages.run import Experiment, Run
from lema_local.stages.select import wanted_rows
from lema_local.stages.work import Call

ENDPOINT = "judge"


@dataclass(frozen=True, slots=True)
class Judged:
    """How the judging of a sample went."""

    judge: str  # the reviewer's name
    wanted: int
    new: int
    graded: int  # the rest: calls that failed, and replies in which no grade can be read


def judge(run: Run, wish: Wish, *, max_tokens: int) -> Judged:
    """Ask for what is pending of a sample's grades and record them."""
    items, calls = _wanted(run, wish, max_tokens)
    open_calls = pending(run, calls)
    new = 0
    if open_calls:
        with open_model(run, run.resolved(ENDPOINT)) as endpoint:
            new = complete(
                run,
                open_calls,
                endpoint=endpoint,
                render=_prompts(items, endpoint),
                accepts=lambda _, text: parse_judgement(text) is not None,
                label=f"judge by {endpoint.model}",
            ).done
    run.store.merge()
    reviews = _reviews(run.store, calls)
    run.store.derive("review", reviews)
    return Judged(JUDGE + run.resolved(ENDPOINT).endpoint.model, len(calls), new, len(reviews))


def estimate_judging(experiment: Experiment, wish: Wish, *, max_tokens: int) -> Estimate:
    """What is pending of a sample's grades. Calls nothing."""
    items, calls = _wanted(experiment, wish, max_tokens)
    store, endpoint = experiment.store, experiment.resolved(ENDPOINT).endpoint
    left = not_there(store, calls)
    return row_of("judge", endpoint, len(left), left, _prompts(items, endpoint), store, "")


def refuse_without_judge(profile: Profile) -> None:
    """ProfileError that says how to name a judge, where the profile names none."""
    if ENDPOINT not in profile.endpoints:
        raise ProfileError(
            f"Profile {profile.name} has no judge: give --judge-url and --judge-model, or LEMA_JUDGE_BASE_URL and "
            "LEMA_JUDGE_MODEL, or [endpoints.judge]."
        )


def _wanted(experiment: Experiment, wish: Wish, max_tokens: int) -> tuple[dict[str, Item], list[Call]]:
    """The sample, and the completions that its grades are in."""
    refuse_without_judge(experiment.profile)
    store, endpoint = experiment.store, experiment.resolved(ENDPOINT).endpoint
    ids = draw(store, wish)
    items = {item.id: item for item in read_items(store, ids)}
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens, stop=stop_texts(endpoint.api))
    problems = dict(wanted_rows(store, "problems_of_corrections", ids))
    calls = [Call(endpoint, "judge", JUDGE_TEMPLATE, sampling, problems[id_], rationale_id=id_) for id_ in ids]
    return items, calls


def _prompts(items: dict[str, Item], endpoint: Endpoint) -> Callable[[Call], Prompt]:
    def prompt(call: Call) -> Prompt:
        return render(call.template, judge_inputs(items[str(call.rationale_id)]), api=endpoint.api)

    return prompt


def _reviews(store: Store, calls: Sequence[Call]) -> list[Review]:
    found = []
    for id_, correction_id, text, end, model, at in wanted_rows(store, "judge_replies", (call.id for call in calls)):
        judgement = parse_judgement(text) if is_whole(end) else None  # one that was cut off holds no grade
        if judgement is not None:
            key = content_key("review", id_)  # a reply is one event, however often it is read
            reason = judgement.reason or None
            found.append(Review(key, correction_id, JUDGE + model, judgement.grade, reason, at, "grade", id_))
    return found
