"""A folder of weights is what its weights are, whatever else lies beside them; what is broken there is one line."""

import json
from pathlib import Path

import pytest
from needs import needs

from lema_local.errors import ProfileError
from lema_local.examples.tokens import ESTIMATOR, token_counter
from lema_local.settings.chat_templates import frame_of
from lema_local.settings.models import resolve_model

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)
BROKEN = {"a list": "[]", "cut off": '{"bos_token": "<s>", "add_b', "no text": "\x00\ufffd", "deep": "[" * 100_000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("weights")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "cut o"),
        ("tokenizer_config.json", json.dumps({"chat_template": TEMPLATE, "eos_token": "</s>"})),
        ("chat_template.jinja", TEMPLATE),
        ("generation_config.json", "{}"),
    ],
)
def test_a_folder_is_the_same_model_with_and_without_what_it_may_lack(folder: Path, file: str, text: str) -> None:
    without = resolve_model(str(folder)).served_identity
    (folder / file).write_text(text)
    assert resolve_model(str(folder)).served_identity == without


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_configuration_of_a_tokenizer_is_one_line(folder: Path, text: str) -> None:
    (folder / "tokenizer_config.json").write_text(text)
    with pytest.raises(ProfileError, match=r"^[^\n]*tokenizer_config.json is not a JSON object: mend it, or take"):
        resolve_model(str(folder))


@pytest.mark.parametrize("given", [None, ["a"], [{"name": "tool_use", "template": "x"}], 5])
def test_a_folder_without_a_chat_template_that_is_meant_says_what_to_do(folder: Path, given: object) -> None:
    if given is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": given}))
    with pytest.raises(ProfileError, match=r'has no chat template: leave prompt = "chat" out, or take a chat model\.$'):
        frame_of(resolve_model(str(folder)))


@needs("tokenizers")
@pytest.mark.parametrize("text", [None, *BROKEN.values()], ids=["none", *BROKEN])
def test_tokens_are_estimated_where_a_folder_has_no_tokenizer_that_can_be_read(folder: Path, text: str | None) -> None:
    if text is not None:
        (folder / "tokenizer.json").write_text(text)
    assert token_counter(resolve_model(str(folder))) is ESTIMATOR
