"""Prompts: the paper's inputs to the letter, and templates whose text cannot change unseen."""

import hashlib
import re
from importlib.resources import files
from typing import get_args

import pytest

from lema_local.answers.exact import compare, extract_answer
from lema_local.corrections.checks import check, sums_are_true
from lema_local.corrections.parsing import parse_correction
from lema_local.corrections.rationales import split_steps
from lema_local.examples.texts import sampled_output
from lema_local.prompts import (
    ALPACA_TEMPLATE,
    continued,
    correction_input,
    correction_template,
    cot_input,
    evaluation_template,
    in_alpaca,
    render,
    sample_template,
    sampled_steps,
    stop_texts,
    student_input,
    turns,
)
from lema_local.records.types import AnswerKind

# A completion's key has its template's name and version, not its text: a text that changes needs a new version, that
# is a new file and a new line here. Never edit a line.
PARTS = "Own Solution, Incorrect Step, Explanation, Correct Solution:"
LOCKED = {
    "correct.1.txt": "4d0b3db0fc982093aa2cc145283332c4e85b19ed08d15f22fb46aaeb6105af94",
    "correct_choice.1.txt": "68aec28e4b7a06235ac563436b38ec94838f14413b4672253b805a9fb463bd93",
    "correct_latex.1.txt": "8791e18432358f30b16c2c68c5aa88968b97dbeb49ea3bd686e79fa92e7c80c6",
    "correct_number.1.txt": "752ea124ed296a2625d297c42d3565a1c37fad5b5601f08aa89abb3811f09e5c",
    "evolve.1.txt": "af1ccfc8accd3d8df76e5a4a26da9d52602544ebbe155d57c480f1b968010fb2",
    "judge.1.txt": "5fb7019cb3477c20f9add84a0231258046f2f5cd152a5e81ea4cea2b1be2e8e0",
    "sample_cot.1.txt": "9490ac9571d21190adab19152d70d2e313bfdbb8dd8064f15109f152d2134d55",
    "sample_alpaca.1.txt": "b151324cbf617a363c155f2c09eafcc0e0df712371d742376ce365d8dc80509d",
    "sample_choice.1.txt": "3a16aebcb84e3c9bd3d7791480e3d6c7f1e66569b213ec619d3bc191a8937031",
    "sample_latex.1.txt": "82242f2f1de09fbc62238364512d7ed12824e15b90390952c1527119783369d6",
    "sample_number.1.txt": "1dc493979a5824c53a2cb63602accd0fd4b84d0b66e6b7404e941ade968abb63",
}


def test_the_cot_input_is_the_papers_to_the_letter() -> None:
    assert cot_input("What is 1 + 1?") == (
        "Please solve the following math problem.\nQuestion: What is 1 + 1?\nAnswer: Let's think step by step.\n"
    )


def test_the_correction_input_is_the_papers_to_the_letter() -> None:
    assert correction_input("What is 1 + 1?", "Step 1: 1 + 1 = 3.\nStep 2: The answer is 3.") == (
        "For the following math problem, the original solution is incorrect. Please identify the incorrect step, "
        "explain why it is incorrect, and correct the original solution starting from the incorrect step.\n"
        "Question: What is 1 + 1?\nOriginal Solution:\n{\nStep 1: 1 + 1 = 3.\nStep 2: The answer is 3.\n}\n"
        "Incorrect Step:"
    )


@pytest.mark.parametrize("text", ["{question}", "{steps}", "a {x} b", "{{}}", "%s $x \\1"])
def test_inputs_may_hold_what_looks_like_a_placeholder(text: str) -> None:
    assert f"Question: {text}\n" in cot_input(text)
    assert f"Question: {text}\nOriginal Solution:\n{{\n{text}\n}}\n" in correction_input(text, text)
    sent = render("correct_number.1", {"question": text, "steps": text}, api="chat").messages[-1]["content"]
    assert sent == f"Question: {text}\nOriginal Solution:\n{text}\n{PARTS}"


def test_a_template_that_changes_takes_a_new_version() -> None:
    found = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files("lema_local").joinpath("templates").iterdir()
        if file.name.endswith(".txt")
    }
    assert found == LOCKED


def test_the_alpaca_input_is_the_model_cards_to_the_letter() -> None:
    head = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    asked = render("sample_alpaca.1", {"question": "What is {1} + 1?"}, api="completions")
    assert asked.text == f"{head}\n\n### Instruction:\nWhat is {{1}} + 1?\n\n### Response: Let's think step by step."
    assert asked.prefill == ""


@pytest.mark.parametrize("name", [name.removesuffix(".txt") for name in LOCKED if not re.search("alpaca|cot", name)])
def test_a_template_has_worked_examples_in_turns(name: str) -> None:
    roles = [role for role, _ in turns(name)]
    assert roles[0] == "system"
    assert roles[1:] == [("user", "assistant")[k % 2] for k in range(len(roles) - 1)]
    assert roles.count("user") >= 4
    assert sum("{question}" in text for _, text in turns(name)) == 1


def test_what_learned_cot_outputs_labels_no_steps_and_ends_the_last_with_its_answer() -> None:
    text = "He has 18 - 7.5 = 10.5 pies. Together, they have 18 + 9 = 37 pies. The answer is 37."
    steps = ["He has 18 - 7.5 = 10.5 pies.", "Together, they have 18 + 9 = 37 pies. The answer is 37."]
    assert sampled_steps(text, "sample_cot.1") == steps
    assert sampled_steps(f"Step 1: {steps[0]}\nStep 2: {steps[1]}", "sample_cot.1") == steps
    assert sampled_steps(text, "sample_number.1") == []


def test_the_cot_template_is_the_very_input_that_the_student_is_trained_with() -> None:
    assert render(sample_template("number", "cot"), {"question": "1 + {1}?"}, api="completions").text == cot_input(
        "1 + {1}?"
    )


KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_corrector_sees_four_worked_examples_that_are_true(kind: AnswerKind) -> None:
    """Each example is itself a correction that would be kept: read, spliced, with no false sum and another answer."""
    shown = turns(correction_template(kind))[1:-1]
    assert [role for role, _ in shown] == ["user", "assistant"] * 4
    for (_, asked), (_, reply) in zip(shown[::2], shown[1::2], strict=True):
        mistaken = split_steps(asked.partition("Original Solution:\n")[2].partition("\nOwn Solution, ")[0])
        parsed = parse_correction(reply, mistaken)
        answer = extract_answer(parsed.correct_solution or "", kind)
        assert answer is not None
        assert compare(extract_answer(mistaken[-1], kind), answer, kind)[0] is False
        found = check(parsed, question=asked, solution=None, reference=answer, kind=kind, mistaken=mistaken)
        assert (found.step_exists, found.continues, found.explains) == (True, True, True)
        assert found.arithmetic is not False
        assert found.arithmetic or kind != "number"
        assert not parsed.explanation or "own solution" not in parsed.explanation.lower()


def test_the_corrector_has_wrong_steps_first_last_and_between() -> None:
    for kind in KINDS:
        replies = [parse_correction(text) for role, text in turns(correction_template(kind)) if role == "assistant"]
        assert len({reply.incorrect_step for reply in replies}) > 1
        assert 1 in {reply.incorrect_step for reply in replies}


@pytest.mark.parametrize("kind", KINDS)
def test_the_reasoner_sees_worked_examples_that_are_true(kind: AnswerKind) -> None:
    replies = [text for role, text in turns(sample_template(kind))[:-1] if role == "assistant"]
    assert len(replies) >= 3
    for reply in replies:
        steps = split_steps(reply)
        assert len(steps) >= 2
        assert extract_answer(reply, kind) is not None
        assert sums_are_true([(k, step) for k, step in enumerate(steps, 1)]) is not False


def test_chat_ends_with_the_question_and_has_no_prefill() -> None:
    prompt = render("sample_number.1", {"question": "Why?"}, api="chat")
    assert prompt.messages[-1] == {"role": "user", "content": "Question: Why?\nAnswer:"}
    assert (prompt.text, prompt.prefill) == (None, "")


def test_raw_text_ends_with_the_beginning_of_the_reply() -> None:
    prompt = render("sample_number.1", {"question": "Why?"}, api="completions")
    assert prompt.prefill == "Step 1:"
    assert prompt.text is not None
    assert prompt.text.endswith("The answer is 51.\n\nQuestion: Why?\nAnswer:\nStep 1:")
    assert prompt.messages == ()


def test_raw_correction_ends_with_the_parts_that_are_wanted() -> None:
    prompt = render(correction_template("number"), {"question": "Why?", "steps": "Step 1: x"}, api="completions")
    assert prompt.text is not None
    assert prompt.text.endswith("\n\nQuestion: Why?\nOriginal Solution:\nStep 1: x\n" + PARTS + "\n")
    assert prompt.prefill == ""


def test_raw_completions_stop_at_a_question_of_their_own() -> None:
    assert stop_texts("completions") == ("\nQuestion:",)
    assert stop_texts("chat") == ()


def test_a_template_filled_with_the_wrong_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no \{stepps\}"):
        render("correct_number.1", {"stepps": "x"}, api="chat")


META = (
    "James buys 5 packs of 4 pounds each, so he buys 5 * 4 = 20 pounds.\nThe price is $5.50 per pound, so he pays "
    "20 * $5.50 = $110.\n#### 110\nThe answer is: 110"
)


def test_an_alpaca_style_rationale_has_steps_though_it_labels_none() -> None:
    steps = sampled_steps(META, ALPACA_TEMPLATE)
    assert steps[:2] == [
        "James buys 5 packs of 4 pounds each, so he buys 5 * 4 = 20 pounds.",
        "The price is $5.50 per pound, so he pays 20 * $5.50 = $110.",
    ]
    assert sampled_output(steps, "110").endswith("= $110. The answer is 110.")
    listed = "Let us count:\n1. **May**: she sold \\( 48 / 2 = 24 \\) clips.\n\n### Instruction:\nAnother one?"
    assert sampled_steps(listed, ALPACA_TEMPLATE) == ["Let us count: May: she sold \\( 48 / 2 = 24 \\) clips."]
    assert sampled_steps("Step 1: One.\nStep 2: Two.", ALPACA_TEMPLATE) == ["One.", "Two."]
    assert sampled_steps(META, "sample_number.1") == []  # few-shot: the wrong format


def test_an_alpaca_style_reply_is_continued_on_a_line_of_its_own() -> None:
    prompt = continued(ALPACA_TEMPLATE, {"question": "Why?"}, ["One."], api="completions")
    assert prompt.text is not None
    assert prompt.text.endswith("Let's think step by step.\nStep 1: One.\nStep 2:")


ALPACA_HEAD = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n"
)


def test_a_model_tuned_with_the_alpaca_style_input_trains_and_is_asked_by_it() -> None:
    question = "What is {question} + 1?"
    asked = f"{ALPACA_HEAD}{question}\n\n### Response: Let's think step by step."
    assert student_input(question, evaluation_template("alpaca")) == asked
    assert in_alpaca("cot", cot_input(question), "The answer is 2.") == (asked, " The answer is 2.")
    assert student_input(question, evaluation_template("cot")) == cot_input(question)


def test_a_correction_in_the_alpaca_style_ends_where_the_answer_begins() -> None:
    paper = correction_input("What is 1 + 1?", "Step 1: {steps}\nIncorrect Step: 1 + 1 = 3.")
    prompt, output = in_alpaca("correction", paper, " Step 1.\nExplanation: no.")
    assert prompt == (
        f"{ALPACA_HEAD}{paper.removesuffix(chr(10) + 'Incorrect Step:')}\n\n### Response: Incorrect Step:"
    )
    assert output == " Step 1.\nExplanation: no."
