"""No text makes the grader or a parser raise: replies are stored facts, and one that raised would end every command.

What is called here are the rules without the guards around them, so that a guard hides no fault.
"""

import random
import time

import pytest
from answer_fuzzer import fuzz_formula, fuzz_text

from lema_local.answers import authors, exact
from lema_local.answers.grading import Grader, Verdict
from lema_local.answers.reasoning import without_reasoning
from lema_local.corrections.checks import check, stray
from lema_local.corrections.parsing import parse_correction, rejection_of
from lema_local.corrections.rationales import solution_steps, split_steps
from lema_local.problems.boxes import boxed_reference
from lema_local.records.types import AnswerKind

KINDS: tuple[AnswerKind, ...] = ("number", "latex", "choice")


def _read_and_compare(rng: random.Random) -> None:
    kind = rng.choice(KINDS)
    text = fuzz_text(rng)
    reference = fuzz_formula(rng) if rng.random() < 0.7 else text
    for framed in (text, f"The answer is {text}", f"\\boxed{{{text}}}"):
        answer = exact._extract(framed, kind, rng.random() < 0.3)
        exact._compare(answer, reference, kind)
        authors._is_correct(framed, reference, kind)
    exact._compare(fuzz_formula(rng), reference, kind)
    assert exact._compare(None, reference, kind) == (False, "missing")
    own = without_reasoning(text)
    assert own is None or len(own) <= len(text) + 40


def _parse_correction(rng: random.Random) -> None:
    text, question = fuzz_text(rng), fuzz_text(rng)
    mistaken = split_steps(f"Step 1: {fuzz_text(rng)}\nStep 2: {fuzz_text(rng)}")
    parsed = parse_correction(text, mistaken)
    checked = check(
        parsed,
        question=question,
        solution="\n".join(solution_steps(text)),
        reference=fuzz_formula(rng),
        kind=rng.choice(KINDS),
        mistaken=mistaken,
    )
    assert checked is not None
    rejection_of(
        parsed,
        original_steps=len(mistaken),
        finish_reason="stop",
        answer=None,
        is_correct=False,
        stray=stray(parsed, question=question, mistaken=mistaken),
    )
    boxed_reference(question, text)


def test_no_text_makes_a_rule_or_a_parser_raise() -> None:
    _fuzz(17, 20_000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_200_000_texts_make_no_rule_and_no_parser_raise() -> None:
    _fuzz(18, 200_000)


def _fuzz(seed: int, count: int) -> None:
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")  # one text can be had again by its number
        start = time.process_time()
        try:
            _read_and_compare(rng)
            _parse_correction(rng)
        except Exception as error:
            raise AssertionError(f"text {number} of seed {seed}") from error
        assert time.process_time() - start < 2, f"text {number} of seed {seed}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_200_000_pairs_make_the_grader_raise_nothing_and_leave_its_pool_working() -> None:
    # nearly all are decided before algebra; what is left may take its second
    rng = random.Random(19)
    with Grader(workers=2, time_limit_s=0.3) as grader:
        for _ in range(200_000):
            kind = rng.choice(KINDS)
            answer, reference = fuzz_formula(rng), fuzz_formula(rng)
            if exact.compare(answer, reference, kind)[0] is not None or rng.random() < 0.02:
                assert isinstance(grader.grade(answer, reference, kind), Verdict)
        assert grader.grade("y=x(x+1)", "x^2+x=y", "latex").is_correct


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("_compare", lambda: exact.compare("1", "2", "number") == (False, "not decided: failed")),
        ("_extract", lambda: exact.extract_answer("The answer is 1.", "number") is None),
        ("_compare", lambda: Grader().grade("1", "2", "latex") == Verdict(False, "not decided: failed")),
    ],
)
def test_a_fault_of_our_own_rules_costs_one_verdict_and_no_run(
    where: str, call: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AttributeError("'int' object has no attribute 'is_integer'")

    monkeypatch.setattr(exact, where, fail)
    assert call()  # type: ignore[operator]


def test_a_fault_of_the_authors_rules_costs_one_verdict_and_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authors, "_is_correct", lambda *_: 1 / 0)
    assert not authors.is_correct_authors("The answer is 1.", "1", "number")
