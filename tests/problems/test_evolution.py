"""Evolution: how seeds are drawn, what is read of a reply, which answer is believed; and the stage against a server."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import PROBLEMS
from scripted_server import Body, Say, ScriptedServer, chat

from lema_local.problems.evolution import MOST_CHARACTERS, draw_seeds, majority, parse_question
from lema_local.records.store import Writer
from lema_local.records.types import Problem
from lema_local.settings.profiles import EvolutionProfile, load_profile
from lema_local.stages.build import build
from lema_local.stages.correct import correct
from lema_local.stages.estimate import estimate
from lema_local.stages.evolve import evolve, restore
from lema_local.stages.run import Run
from lema_local.stages.sample import augment, sample

Profile = Callable[..., Path]
QUESTION = "A shop has 6 crates of 9 jars and sells 20 jars. How many jars are left?"


def test_draws_weigh_by_occurrence_and_hang_on_the_seed_alone() -> None:
    occurrences = ["a"] * 9 + ["b"]
    draws = draw_seeds(occurrences, 1000, seed=1)
    assert draws == draw_seeds(list(reversed(occurrences)), 1000, seed=1)
    assert draws != draw_seeds(occurrences, 1000, seed=2)
    counts = Counter(draw.problem_id for draw in draws)
    assert 850 < counts["a"] < 950
    assert len(set(draws)) == 1000  # each draw of a seed has an index of its own
    assert draw_seeds([], 5, seed=1) == []


def test_one_correction_more_takes_its_share_of_the_draws_and_moves_no_other() -> None:
    before = [f"problem-{k}" for k in range(40)]
    for more in ("problem-7", "problem-7b"):  # once more, and a new one
        pairs = list(zip(draw_seeds(before, 2000, seed=1), draw_seeds([*before, more], 2000, seed=1), strict=True))
        moved = [now.problem_id for then, now in pairs if then.problem_id != now.problem_id]
        assert set(moved) == {more}
        assert 30 < len(moved) < 70  # 2,000 / 41, give or take three standard deviations


def test_of_fewer_draws_those_of_more_are_the_continuation() -> None:
    occurrences = [f"problem-{k}" for k in range(40)]
    assert draw_seeds(occurrences, 50, seed=1) == draw_seeds(occurrences, 200, seed=1)[:50]


@pytest.mark.parametrize(
    "reply",
    [
        QUESTION,
        f"New Question: {QUESTION}",
        f"**New Question:** {QUESTION}",
        f"Here is one.\n\nThe rewritten problem:\n{QUESTION}\n",
        f"<think>What about crates?</think>\nNew question: {QUESTION}",
        f"<think>{'What about crates? ' * MOST_CHARACTERS}</think>\nNew question: {QUESTION}",
        f"New Question: {QUESTION}\nAnswer: 34",
        f"New Question: {QUESTION}\n\nExplanation: I changed the story.",
        f"New Question: {QUESTION}\nQuestion: Another one with 7 dogs and 3 cats?",
    ],
)
def test_the_question_is_found_in_what_stands_around_it(reply: str) -> None:
    assert parse_question(reply) == QUESTION


@pytest.mark.parametrize(
    "reply",
    [
        *("", "New Question:", "?", "x" * 100_000, "New Question: " + "y " * MOST_CHARACTERS),
        f"<think>Perhaps this one. {QUESTION}",  # cut off before it answered
    ],
)
def test_what_is_no_question_is_none(reply: str) -> None:
    assert parse_question(reply) is None


def test_the_majority_is_the_first_answer_that_another_equals() -> None:
    assert majority(["12", "15", "12.0"], "number") == 0
    assert majority(["15", "12", "12.0"], "number") == 1
    assert majority(["1", "2", "3"], "number") is None
    assert majority([None, None, "3"], "number") is None
    assert majority([r"\frac12", "0.5", "2"], "latex") == 0


_BOXES = re.compile(r"has (\d+) boxes of (\d+) pens and gives (\d+) pens")
_CRATES = re.compile(r"has (\d+) crates of (\d+) jars and sells (\d+) jars")


def answer(body: Body) -> Say:
    """A reasoner that is always wrong on boxes and right on crates, a corrector that is right, an evolver that makes
    crates of boxes; it cannot agree with itself on crates of 4."""
    asked = body["messages"][-1]["content"]
    if body["model"] == "scripted-evolver" and not _CRATES.search(asked):
        a, b, c = map(int, _BOXES.findall(asked)[-1])
        return chat(f"New Question: A shop has {a + 1} crates of {b} jars and sells {c} jars. How many jars are left?")
    found, noun = _CRATES.findall(asked), "jars"
    if not found:
        found, noun = _BOXES.findall(asked), "pens"
    a, b, c = map(int, found[-1])
    right = a * b - c
    if body["model"] == "scripted-corrector":
        fix = f"Step 2: So {a * b} - {c} = {right} {noun} are left. The answer is {right}."
        return chat(f"Step 2.\nExplanation: {noun} that go are taken off.\nCorrect Solution:\n...\n{fix}")
    wrong = body["model"] == "scripted" or (a == 4 and body.get("seed", 1))
    result = a * b + c + (body.get("seed", 0) if a == 4 else 0) if wrong else right
    return chat(f"Step 1: There are {a} * {b} = {a * b} {noun}.\nStep 2: So {result} are left. The answer is {result}.")


@pytest.fixture
def profile(write_profile: Profile, server: ScriptedServer) -> Path:
    server.then = answer
    path = write_profile(correctors=("corrector",))
    evolver = f'[endpoints.evolver]\nbase_url = "{server.base_url}"\nmodel = "scripted-evolver"\n'
    path.write_text(path.read_text().replace("[sampling]", f"{evolver}[evolution]\nquestions = 6\n[sampling]"))
    return path


def run_of(store: Writer, profile: Path, **evolution: Any) -> Run:
    loaded = load_profile(str(profile), environment={})
    evolved = replace(loaded.evolution, **evolution)
    run = Run(replace(loaded, evolution=evolved), store)
    restore(run)
    return run


def test_new_problems_come_from_corrected_ones_with_the_answer_of_the_majority(
    store: Writer, profile: Path, server: ScriptedServer
) -> None:
    run = run_of(store, profile)
    said: list[str] = []
    run.notice = said.append
    base = {problem.id: problem for problem in run.problems.train}
    sample(run)
    correct(run)
    evolve(run)
    new = [problem for problem in run.problems.train if problem.source is not None]
    assert new
    for problem in new:
        a, b, c = map(int, _CRATES.findall(problem.question)[0])
        assert problem.answer == str(a * b - c)
        assert problem.source in base
        assert problem.split == "train"
        assert problem.solution is not None
        assert a != 4
    assert any(line.startswith(f"{len(new)} problems evolved") for line in said)
    asked = [body for body in server.requests if body["model"] == "scripted-evolver"]
    calls = server.calls
    # nothing is asked twice, and a run that begins anew has the same problems
    assert evolve(run).done == 0
    assert len(asked) == sum(body["model"] == "scripted-evolver" for body in server.requests)
    assert server.calls == calls
    assert {p.id for p in run_of(store, profile).problems.train} == {p.id for p in run.problems.train}
    # then mistakes and corrections on the new questions, and an arm of their data
    sample(run)
    correct(run)
    built = build(run, ("lema", "evolved"))
    assert built[1].training_set.correction_examples > 0
    assert {example.problem_id for example in built[1].examples} >= {problem.id for problem in new}


def test_a_dry_run_counts_questions_and_answers_that_are_to_come(store: Writer, profile: Path) -> None:
    run = run_of(store, profile)

    def left() -> dict[str, int]:
        return {row.stage: row.calls for row in estimate(run)}

    assert (left()["evolve"], left()["answer"]) == (6, 18)
    sample(run)
    correct(run)
    evolve(run)
    after = left()
    assert (after["evolve"], after["answer"]) == (0, 0)
    assert after["sample"] == sum(problem.source is not None for problem in run.problems.train)


def test_evolution_changes_no_other_arm(store: Writer, profile: Path, server: ScriptedServer) -> None:
    augmenter = f'[endpoints.augmenter]\nbase_url = "{server.base_url}"\nmodel = "scripted-augmenter"\n'
    target = "[build]\naugment_target = 5\n"
    profile.write_text(profile.read_text().replace("[sampling]", f"{augmenter}{target}[sampling]"))
    plain = run_of(store, profile, questions=0)
    for stage in (sample, correct, augment):
        stage(plain)
    before = build(plain, ("cot", "lema"))
    run = run_of(store, profile)
    for stage in (evolve, sample, correct, augment):
        stage(run)
    *after, evolved = build(run, ("cot", "lema", "evolved"))
    assert [built.training_set.id for built in after] == [built.training_set.id for built in before]
    books = json.loads(evolved.training_set.manifest)
    assert books["augmentation"] == json.loads(before[0].training_set.manifest)["augmentation"]
    assert 0 < books["augmentation_evolved"]["sampled"] <= 5


def test_a_seed_with_other_numbers_is_no_new_question_even_where_many_problems_share_its_words(
    store: Writer, profile: Path, server: ScriptedServer
) -> None:
    problems = profile.parent / "same_words.jsonl"
    problems.write_text(re.sub(r'"question": "\w+ has', '"question": "Ana has', PROBLEMS.read_text()))
    profile.write_text(profile.read_text().replace(str(PROBLEMS), str(problems)))

    def other_numbers(body: Body) -> Say:
        a, b, c = map(int, _BOXES.findall(body["messages"][-1]["content"])[-1])
        return chat(
            f"New Question: Ana has {a + 50} boxes of {b} pens and gives {c} pens away. How many pens are left?"
        )

    server.then = other_numbers
    run = run_of(store, profile, seeds="all", questions=8)
    said: list[str] = []
    run.notice = said.append
    evolve(run)
    drawn = len({body["messages"][-1]["content"] for body in server.requests})
    assert drawn > 2
    assert said == [f"0 problems evolved; left out: asked twice {8 - drawn}, copy of its seed {drawn}"]


@pytest.mark.parametrize(
    "reply",
    [
        "New Question: Let $h(x) = 3x - 5$. For which value of $x$ is $h(x) = 16$?",
        "New Question: A museum asks $30 of a visitor and a third of that of a student. A group of 5 visitors and 8 "
        "students also rents one audio guide for $9. How much does the group pay in all?",
    ],
)
def test_a_worked_example_of_the_prompt_is_no_new_question(
    store: Writer, profile: Path, server: ScriptedServer, reply: str
) -> None:
    server.then = lambda body: chat(reply)
    run = run_of(store, profile, seeds="all", questions=1)
    said: list[str] = []
    run.notice = said.append
    evolve(run)
    assert said == ["0 problems evolved; left out: copy of a worked example 1"]


@pytest.mark.parametrize("split", ["dev", "also"])
def test_a_copy_of_a_problem_that_is_evaluated_is_no_new_question(
    store: Writer, profile: Path, server: ScriptedServer, split: str
) -> None:
    server.then = lambda body: chat(f"New Question: {QUESTION}")
    if split == "also":
        other = profile.parent / "other.jsonl"
        other.write_text(json.dumps({"question": QUESTION, "answer": "34"}) + "\n")
        profile.write_text(f'{profile.read_text()}\n[[evaluation.also]]\ndataset = "other"\npath = "{other}"\n')
    run = run_of(store, profile, seeds="all", questions=1)
    if split == "dev":
        run.problems = replace(run.problems, dev=(Problem("tiny", "dev", QUESTION, "34"),))
    said: list[str] = []
    run.notice = said.append
    evolve(run)
    assert said == ["0 problems evolved; left out: copy of an evaluated problem 1"]


def test_general_evolution_draws_from_all_questions(store: Writer, profile: Path) -> None:
    run = run_of(store, profile, seeds="all", questions=40)
    evolve(run)
    seeds = {problem.source for problem in run.problems.train if problem.source}
    assert len(seeds) > 4


def test_without_corrections_there_is_nothing_to_evolve_from(store: Writer, profile: Path) -> None:
    run = run_of(store, profile)
    assert evolve(run).done == 0


def test_without_questions_nothing_is_evolved(store: Writer, profile: Path, server: ScriptedServer) -> None:
    run = run_of(store, profile, questions=EvolutionProfile().questions)
    evolve(run)
    assert server.calls == 0
