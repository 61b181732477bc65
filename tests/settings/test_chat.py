"""A chat template as a frame: rendered once, in a sandbox, on any day alike."""

import json
from pathlib import Path
from typing import Any

import pytest
from chat_families import FAMILIES
from needs import needs

from lema_local.errors import ProfileError
from lema_local.settings.chat import ChatFrame, chat_frame
from lema_local.settings.chat_templates import frame_of
from lema_local.settings.models import Model

pytestmark = needs("jinja2")

CHATML, _, LLAMA, GEMMA = (family.template for family in FAMILIES)
TURN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
ASKS = "{% if add_generation_prompt %}<assistant>{% endif %}"


def frame(template: str, **given: Any) -> ChatFrame:
    return chat_frame(template, **{"bos_text": "<s>", "eos_text": "</s>"} | given)


def test_a_frame_is_what_stands_around_a_question_and_ends_the_answer() -> None:
    found = frame(CHATML)
    assert found.around("  How many?\n") == (
        "<|im_start|>system\nYou do sums.<|im_end|>\n<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert found.end == "<|im_end|>"
    assert found.holds(found.around("How many?"))
    assert found.inside(found.around("How many?")) == "How many?"
    assert not found.holds("How many?")
    assert frame(CHATML).id == found.id != frame(CHATML, system="Be brief.").id


def test_a_system_text_takes_the_place_of_the_templates_own() -> None:
    assert frame(CHATML, system="Be brief.").before.startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    with pytest.raises(ProfileError, match=r"take no system text: leave `system` out\): System role not supported"):
        frame(GEMMA, system="Be brief.")


def test_no_day_changes_a_frame() -> None:
    assert "Today Date: 26 Jul 2024" in frame(LLAMA).before


def test_the_bos_that_a_tokenizer_adds_is_left_to_it() -> None:
    assert frame(GEMMA).before == "<s><start_of_turn>user\n"
    assert frame(GEMMA, adds_bos=True).before == "<start_of_turn>user\n"


def test_a_model_that_can_think_answers_at_once() -> None:
    think = "{% if add_generation_prompt and not enable_thinking %}<think></think>{% endif %}"
    assert frame(TURN + ASKS + think).between == "<end><assistant><think></think>"


def test_marks_of_what_an_assistant_writes_render_as_they_stand() -> None:
    marked = TURN.replace("{{ m.content }}<end>", "{% generation %}{{ m.content }}<end>{% endgeneration %}")
    assert frame(marked + ASKS) == frame(TURN + ASKS)


def test_an_answer_that_nothing_closes_ends_with_eos() -> None:
    assert frame("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}").end == "</s>"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}", "is not valid Jinja"),
        ("{{ raise_exception('no\nroles') }}", "cannot be rendered: no roles"),
        ("{{ messages[7].content.x }}", "cannot be rendered"),
        ("{{ messages.append(1) }}" + TURN, "cannot be rendered"),
        ("{{ messages[0].content | upper }}", "does not show each text once and whole"),
        (TURN + TURN, "does not show each text once and whole"),
        ("{% for i in range(90000) %}12345{% endfor %}" + TURN, "makes over 200000 characters"),
        ("a" * 200_001, "has over 200000 characters"),
    ],
)
def test_a_template_that_is_of_no_use_is_refused_in_one_line(template: str, why: str) -> None:
    with pytest.raises(ProfileError, match=why) as caught:
        frame(template)
    assert len(str(caught.value).splitlines()) == 1


def folder(path: Path, **config: Any) -> Model:
    (path / "tokenizer_config.json").write_text(json.dumps({"bos_token": {"content": "<s>"}, **config}))
    return Model(name="tiny", path=path)


def test_a_folders_template_is_its_file_or_its_configurations(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match='tiny has no chat template: leave prompt = "chat" out'):
        frame_of(folder(tmp_path))
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": TURN + ASKS}]
    assert frame_of(folder(tmp_path, chat_template=named)) == frame(TURN + ASKS)
    assert frame_of(folder(tmp_path, chat_template=CHATML)) == frame(CHATML)
    (tmp_path / "chat_template.jinja").write_text(GEMMA)
    assert frame_of(folder(tmp_path, chat_template=CHATML)) == frame(GEMMA)
    assert frame_of(folder(tmp_path, add_bos_token=True)) == frame(GEMMA, adds_bos=True)
    (tmp_path / "chat_template.jinja").write_text("{{")
    with pytest.raises(ProfileError, match="tiny: The chat template is not valid Jinja"):
        frame_of(folder(tmp_path))


def test_what_is_not_here_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(ProfileError, match="is not here: `hf download someone/something`"):
        frame_of(Model(name="something", hub_id="someone/something"))
