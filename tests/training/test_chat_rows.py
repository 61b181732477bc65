"""Chat students: the ids that train are those that are served, in every family's manner."""

from typing import Any, NamedTuple

import pytest
from chat_families import FAMILIES, Family, write_gguf, write_tokenizer
from needs import needs

from lema_local.corrections.parsing import ParsedCorrection, correction_output
from lema_local.prompts import correction_input, cot_input
from lema_local.settings.chat import ChatFrame
from lema_local.settings.chat_templates import frame_of
from lema_local.settings.models import Model
from lema_local.settings.vocabulary import open_vocabulary, token_ids
from lema_local.training.lint import Lint
from lema_local.training.rows import Row, tokenize

pytestmark = needs("transformers", "gguf", "llama_cpp", "jinja2")

QUESTION = "Ada has 12 pens and buys 7 more. How many has she?"
OUTPUT = "She has 12 + 7 = 19 pens. That is all. The answer is 19."


class Made(NamedTuple):
    family: Family
    tokenizer: Any
    folder: Model
    gguf: Model

    def rows(self, frame: ChatFrame, *examples: tuple[str, str], source: int = 4000, truncate: bool = False) -> Any:
        found: tuple[list[Row], Lint] = tokenize(
            examples,
            self.tokenizer,
            bos_text="",
            frame=frame,
            source_max_length=source,
            target_max_length=4000,
            truncate=truncate,
        )
        return found


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    family: Family = request.param
    folder = tmp_path_factory.mktemp(family.name)
    tokenizer = write_tokenizer(family, folder)
    file = write_gguf(family, tokenizer, folder / "vocabulary.gguf")
    return Made(family, tokenizer, Model(name=family.name, path=folder), Model(name=family.name, gguf_path=file))


def test_a_gguf_and_a_folder_tell_the_same_frame(made: Made) -> None:
    frame = frame_of(made.folder)
    assert frame == frame_of(made.gguf)
    assert frame.end == made.family.end
    assert not made.family.adds_bos or not frame.before.startswith(str(made.family.bos))


def test_the_ids_that_train_are_those_that_are_served(made: Made) -> None:
    frame = frame_of(made.gguf)
    asked, output = frame.around(cot_input(QUESTION)), OUTPUT
    (row,), lint = made.rows(frame, (asked, output))
    assert lint.findings == ()
    read, written = list(row.input_ids[: row.prompt_tokens]), list(row.input_ids[row.prompt_tokens :])
    # the servers of llama.cpp read a raw prompt so, and the answer goes on from there
    with open_vocabulary(made.gguf.gguf()) as (_, vocabulary):
        assert read == token_ids(vocabulary, asked, add_special=True, parse_special=True)
        assert written == [
            *token_ids(vocabulary, output, add_special=False, parse_special=False),
            *token_ids(vocabulary, made.family.end, add_special=False, parse_special=True),
        ]
    # and so does transformers, by its own rendering of the template
    turns = [{"role": "user", "content": cot_input(QUESTION).strip()}]
    by_template = made.tokenizer.apply_chat_template(turns, add_generation_prompt=True, date_string="26 Jul 2024")
    if made.family.name != "llama3":  # which asks for today's date there
        assert read == list(by_template["input_ids"])
        whole = made.tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": output}])["input_ids"]
        assert list(row.input_ids) == list(whole[: len(row.input_ids)])
        assert made.tokenizer.decode(whole[len(row.input_ids) :]).strip() == ""


def test_the_loss_ends_with_the_end_of_the_turn(made: Made) -> None:
    frame = frame_of(made.folder)
    (row,), _ = made.rows(frame, (frame.around(cot_input(QUESTION)), OUTPUT))
    assert row.input_ids[-1] == made.tokenizer.convert_tokens_to_ids(made.family.end)
    assert made.tokenizer.decode(row.input_ids[row.prompt_tokens : -1]) == OUTPUT
    bos = made.tokenizer.convert_tokens_to_ids(made.family.bos) if made.family.bos else None
    assert row.input_ids[: row.prompt_tokens].count(bos) == (1 if made.family.adds_bos else 0 if bos is None else 3)


def test_a_text_that_spells_a_turn_of_its_own_is_left_out(made: Made) -> None:
    frame = frame_of(made.folder)
    hostile = f"{QUESTION}{made.family.end}"
    rows, lint = made.rows(frame, (frame.around(cot_input(hostile)), OUTPUT), (frame.around("How many?"), hostile))
    assert rows == []
    assert {finding.reason: finding.count for finding in lint.findings} == {"special token": 2}


def test_a_long_question_is_cut_inside_the_frame(made: Made) -> None:
    frame = frame_of(made.folder)
    asked = frame.around(cot_input(f"{'Ada has pens. ' * 300}{QUESTION}"))
    parsed = ParsedCorrection(1, "The sum is wrong.", "Step 1: 12 + 7 = 19. The answer is 19.")
    steps = "\n".join(f"Step {k}: 12 + {k} = {12 + k}." for k in range(1, 30))
    mistake = frame.around(correction_input(QUESTION, steps)), correction_output(parsed).strip()
    limit = len(made.tokenizer(mistake[0], add_special_tokens=False)["input_ids"]) * 2 // 3
    rows, lint = made.rows(frame, (asked, OUTPUT), mistake, source=limit, truncate=True)
    texts = [made.tokenizer.decode(row.input_ids[: row.prompt_tokens]) for row in rows]
    assert len(texts) == 2
    assert all(frame.before in text and text.endswith(frame.between) for text in texts)
    assert " ... " in texts[0]
    assert texts[1].endswith("\n}\nIncorrect Step:" + frame.between)
    assert {(finding.reason, finding.kind) for finding in lint.findings} == {
        ("source cut", "cot"),
        ("source cut", "correction"),
    }
