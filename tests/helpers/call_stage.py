"""A stage of calls against a scripted server: what is wanted, made and stored."""

from typing import Any

from lema_local.calls.endpoint import Prompt, Sampling
from lema_local.records.store import Writer
from lema_local.records.types import Problem
from lema_local.settings.profiles import load_profile
from lema_local.stages.calls import Outcome, complete, pending
from lema_local.stages.run import Run
from lema_local.stages.work import Call

from client_calls import endpoint  # isort: skip

SAMPLING = Sampling(temperature=0.7, max_tokens=16, seed=1)
PROBLEMS = [Problem("fire", "train", f"What is {k} + 1?", str(k + 1)) for k in range(64)]


def run_of(store: Writer, said: list[str]) -> Run:
    """A run with the problems in its store; what it says is in `said`."""
    for problem in PROBLEMS:
        store.add(problem)
    return Run(load_profile("smoke", environment={}), store, said.append)


def stage(run: Run, url: str, problems: int, samples: int = 1, **more: Any) -> Outcome:
    """Ask for what is pending; the prompt is the problem's question."""
    where = endpoint(url, **more)
    wanted = [
        Call(where, "sample", "cot_input.1", SAMPLING, problem.id, sample_index=k)
        for problem in PROBLEMS[:problems]
        for k in range(samples)
    ]
    questions = {problem.id: problem.question for problem in PROBLEMS}

    def render(call: Call) -> Prompt:
        return Prompt(messages=({"role": "user", "content": questions[call.problem_id]},))

    return complete(run, pending(run, wanted), endpoint=where, render=render, accepts=None, label="fire")


def stored(run: Run) -> int:
    """How many completions there are."""
    run.store.merge()
    count: int = run.store.rows("select count(*) as n from completion")[0]["n"]
    return count
