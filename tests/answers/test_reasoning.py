"""What of a reply is the model's own answer: reasoning that closed is not, and one that never closed leaves none."""

import time

import pytest

from lema_local.answers.exact import extract_answer
from lema_local.answers.reasoning import without_reasoning
from lema_local.corrections.parsing import parse_correction, rejection_of
from lema_local.corrections.rationales import split_steps
from lema_local.corrections.reply_text import own_text

MARKERS = [
    ("<think>", "</think>"),
    ("<Think>", "</Think>"),
    ('<think budget="512">', "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<inner_monologue>", "</inner_monologue>"),
    ("<antThinking>", "</antThinking>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>\n<|begin_of_solution|>"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>commentary<|message|>", "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>"),
    ("analysis", "assistantfinal"),
    ("Here is my thought process:", "Here is my response:"),
    ("<thinking>", "</think>"),  # models mix them
]
OPENINGS = list(dict.fromkeys(opening for opening, _ in MARKERS))
HM = "We add them: 19 + 23, so the answer is 42. But wait,"


@pytest.mark.parametrize(("opening", "closing"), MARKERS, ids=lambda marker: marker[:24])
def test_closed_reasoning_is_not_the_replys_own_part(opening: str, closing: str) -> None:
    reply = f"{opening}{HM}{closing}\n\nStep 1: Half of 42 is 21.\nThe answer is 21."
    for text in (reply, f"\n {reply}"):
        assert (without_reasoning(text) or "").strip() == "Step 1: Half of 42 is 21.\nThe answer is 21."
        assert extract_answer(text, "number") == "21"
        assert split_steps(text) == ["Half of 42 is 21. The answer is 21."]
    assert extract_answer(f"{opening}{HM}{closing}\n\nI cannot tell.", "number") is None


@pytest.mark.parametrize("opening", OPENINGS, ids=lambda marker: marker[:24])
def test_reasoning_that_never_closed_has_no_answer(opening: str) -> None:
    for text in (f"{opening}{HM}", f"{opening}If x were 7, \\boxed{{42}}, (B)? Hmm,"):
        assert without_reasoning(text) is None
        assert own_text(text) is None
        assert split_steps(text) == []
        for kind in ("number", "latex", "choice"):
            assert extract_answer(text, kind, anywhere=True) is None  # type: ignore[arg-type]
        parsed = parse_correction(text)
        rejected = rejection_of(parsed, original_steps=3, finish_reason="stop", answer=None, is_correct=False)
        assert rejected == "cut off"


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("opened by the template.</think>9", "9"),
        ("a <think>b</think> c</think>9", "9"),
        ("9 <think>or 8?</think>", "9"),
        ("<think>8?</think>9<think>sure</think>", "9"),
        ("<think>8?</think>9<think>sure", None),
        ("<think>I write <think> first.</think>9", "9"),
        ("<think><reasoning>42</reasoning>, the answer is 42, but", None),
        ("<think><reflection>42</reflection> no</think>9", "9"),
        ("9<|end|>", "9"),
        ("Is 3 < 4 or 4 > 3? a<b, <<3+4=7>>7", "Is 3 < 4 or 4 > 3? a<b, <<3+4=7>>7"),
        ("I think that <b>9</b> is right.", "I think that <b>9</b> is right."),
        ("analysis of the sum: 9", "analysis of the sum: 9"),
        ("Here is my solution: 9", "Here is my solution: 9"),
        ("", ""),
    ],
)
def test_what_is_left_of_a_reply(text: str, own: str | None) -> None:
    left = without_reasoning(text)
    assert (left and left.strip().removesuffix("<|end|>")) == own


@pytest.mark.parametrize("piece", ["<think>", "</think>", "<think ", "<|channel|>", "analysis", "<", "[THINK]"])
def test_many_markers_take_no_time(piece: str) -> None:
    start = time.perf_counter()
    without_reasoning(piece * (1_000_000 // len(piece)))
    assert time.perf_counter() - start < 2
