"""Re-solving: the reasoner sees the kept steps and the corrected one, never the answer."""

import pytest

from lema_local.answers.exact import extract_answer
from lema_local.corrections.parsing import parse_correction
from lema_local.corrections.resolving import steps_to_resume, whole_solution
from lema_local.prompts import continued

MISTAKEN = ["Nadia picks 3 * 14 = 42 apples.", "She keeps 42 + 9 = 51 apples. The answer is 51."]
GIVEN = ["Nadia picks 3 * 14 = 42 apples.", "She keeps 42 - 9 = 33 apples."]


def reply(solution: str, step: int = 2) -> str:
    return f"Step {step}.\nExplanation: e\nCorrect Solution:\n{solution}"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (reply("Step 2: She keeps 42 - 9 = 33 apples. The answer is 33."), GIVEN),
        (reply("Step 2: She keeps 42 - 9 = 33 apples.\nStep 3: Done. The answer is 33."), GIVEN),
        (reply("Step 2: The answer is 33."), None),
        (reply("Step 3: 42 - 9 = 33. The answer is 33."), None),
        (reply("Step 2: 33", step=3), None),
        ("Step 2.", None),
        ("", None),
    ],
    ids=["one step", "first of two", "only an answer", "a gap", "no such step", "no solution", "nothing"],
)
def test_the_reasoner_goes_on_from_the_corrected_step(text: str, steps: list[str] | None) -> None:
    assert steps_to_resume(parse_correction(text, MISTAKEN), MISTAKEN) == steps


def test_raw_text_begins_the_reply_with_the_steps() -> None:
    prompt = continued("sample_number.1", {"question": "Why?"}, GIVEN, api="completions")
    assert prompt.prefill == f"Step 1: {GIVEN[0]}\nStep 2: {GIVEN[1]}\nStep 3:"
    assert prompt.text is not None
    assert prompt.text.endswith(f"Question: Why?\nAnswer:\n{prompt.prefill}")
    whole = f"{prompt.prefill} The answer is 33."
    assert whole_solution(GIVEN, whole) == whole


def test_chat_shows_the_steps_below_the_question_and_the_reply_is_joined_to_them() -> None:
    prompt = continued("sample_number.1", {"question": "Why?"}, GIVEN, api="chat")
    assert prompt.text is None
    assert prompt.messages[-1]["role"] == "user"
    assert "Step 2: She keeps 42 - 9 = 33 apples.\n" in prompt.messages[-1]["content"]
    whole = whole_solution(GIVEN, "Step 3: So 33. The answer is 33.")
    assert whole == f"Step 1: {GIVEN[0]}\nStep 2: {GIVEN[1]}\nStep 3: So 33. The answer is 33."
    assert extract_answer(whole, "number") == "33"
