"""Rows with loss on the output alone, left out rather than cut; padding; the loss; the order of the data."""

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_model import tiny_tokenizer

from lema_local.errors import TrainingError
from lema_local.training.collate import IGNORED, Collator, LeftOut, Row, loss_positions, tokenize
from lema_local.training.loop import output_loss
from lema_local.training.order import data_order

PROMPT = "Question: 12 + 7?\nAnswer:\n"
OUTPUT = "Step 1: 12 + 7 = 19. The answer is 19."


def llama_tokenizer() -> Any:
    """SentencePiece's manners, as Llama 2 has them: a space before every text, and a BOS that the tokenizer adds."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = [
        "<unk>",
        "<s>",
        "</s>",
        "\u2581",
        *"abcdefghijklmnopqrstuvwxyzASQ0123456789+=.?:\n",
        "\u2581A",
        "\u2581S",
    ]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(vocabulary)},
            merges=[("\u2581", "A"), ("\u2581", "S")],
            unk_token="<unk>",
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="first")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


TOKENIZERS = pytest.mark.parametrize(
    ("make", "bos_text"), [(tiny_tokenizer, "<bos>"), (llama_tokenizer, "")], ids=["bpe", "sentencepiece"]
)


def rows_of(
    tokenizer: Any, examples: list[tuple[str, str]], bos_text: str, source: int = 99, target: int = 99
) -> tuple[list[Row], LeftOut]:
    return tokenize(examples, tokenizer, bos_text=bos_text, source_max_length=source, target_max_length=target)


@TOKENIZERS
@pytest.mark.parametrize("edge", ["\n", ":"], ids=["after-newline", "after-colon"])
def test_the_prompt_is_tokenised_as_at_evaluation(make: Any, bos_text: str, edge: str) -> None:
    tokenizer = make()
    prompt, output = "Question: 12\nAnswer" + edge, (" " if edge == ":" else "") + "Step 1: 19."
    (row,), _ = rows_of(tokenizer, [(prompt, output)], bos_text)
    assert list(row.input_ids[: row.prompt_tokens]) == tokenizer(bos_text + prompt)["input_ids"]
    assert row.input_ids.count(tokenizer.bos_token_id) == 1
    assert row.input_ids[0] == tokenizer.bos_token_id
    assert row.input_ids.count(tokenizer.eos_token_id) == 1
    assert row.input_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(row.input_ids[1:-1]) == prompt + output


def test_an_output_after_a_newline_begins_with_no_extra_space() -> None:
    tokenizer = llama_tokenizer()
    (row,), _ = rows_of(tokenizer, [("Answer:\n", "Step 1")], "")
    assert tokenizer.convert_ids_to_tokens(row.input_ids[row.prompt_tokens]) == "S"


def test_a_model_without_bos_gets_none() -> None:
    (row,), _ = rows_of(tiny_tokenizer(), [(PROMPT, OUTPUT)], "")
    assert tiny_tokenizer().bos_token_id not in row.input_ids


@pytest.mark.parametrize(
    ("make", "bos_text"),
    [(tiny_tokenizer, "<no such token>"), (llama_tokenizer, "<s>")],
    ids=["unknown-token", "two-bos"],
)
def test_a_wrong_bos_is_refused(make: Any, bos_text: str) -> None:
    with pytest.raises(TrainingError, match="bos_text"):
        rows_of(make(), [(PROMPT, OUTPUT)], bos_text)


def test_rows_that_do_not_fit_are_left_out_whole_and_counted() -> None:
    tokenizer = tiny_tokenizer()
    source, target = len(tokenizer(PROMPT)["input_ids"]), len(tokenizer(OUTPUT)["input_ids"]) + 1  # EOS
    examples = [
        (PROMPT, OUTPUT),
        (PROMPT + "x", OUTPUT),
        (PROMPT, OUTPUT + "x"),
        (PROMPT, " "),
        (PROMPT, "19 <eos> 19"),
        ("<bos>", OUTPUT),
    ]
    rows, left_out = rows_of(tokenizer, examples, "<bos>", source, target)
    assert [len(row.input_ids) for row in rows] == [1 + source + target]
    counts = (left_out.source_too_long, left_out.target_too_long, left_out.empty_output, left_out.special_token)
    assert counts == (1, 1, 1, 2)
    assert left_out.total == 5
    assert left_out.message.startswith(f"5 examples left out: 1 with a source too long (longest {source + 1} tokens), ")


LONG, SHORT = Row((1, 5, 6, 7, 2), 3), Row((1, 5, 2), 2)


def test_labels_are_the_output_and_its_eos_also_where_pad_is_eos() -> None:
    batch = Collator(pad_id=2)([{"rows": (LONG,)}, {"rows": (SHORT,)}])
    assert batch["input_ids"].tolist() == [[1, 5, 6, 7, 2], [1, 5, 2, 2, 2]]
    assert batch["labels"].tolist() == [[-100, -100, -100, 7, 2], [-100, -100, 2, -100, -100]]
    assert batch["logits_to_keep"].tolist() == [1, 2, 3]  # from the shorter prompt's last token on
    assert set(batch) == {"input_ids", "labels", "logits_to_keep"}  # plain causal attention needs no more


def test_packed_examples_begin_anew_and_padding_is_one_more() -> None:
    batch = Collator(pad_id=0)([{"rows": (LONG, SHORT)}, {"rows": (SHORT, SHORT)}])
    assert batch["input_ids"].tolist() == [[1, 5, 6, 7, 2, 1, 5, 2], [1, 5, 2, 1, 5, 2, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2], [0, 1, 2, 0, 1, 2, 0, 1]]
    assert batch["labels"][1].tolist() == [-100, -100, 2, -100, -100, 2, -100, -100]


def test_for_flash_attention_packs_are_one_sequence_without_padding() -> None:
    batch = Collator(pad_id=0, is_flat=True)([{"rows": (LONG, SHORT)}, {"rows": (SHORT,)}])
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2]]
    assert batch["logits_to_keep"].tolist() == [2, 3, 6, 9]


def test_no_example_predicts_the_first_token_of_the_next() -> None:
    batch = Collator(pad_id=0)([{"rows": (Row((5, 6), 1), Row((7, 8), 0))}])
    assert batch["labels"].tolist() == [[-100, 6, -100, 8]]


def test_the_loss_is_the_mean_over_output_tokens() -> None:
    import torch
    from transformers.modeling_outputs import CausalLMOutput

    torch.manual_seed(0)
    logits = torch.randn(2, 5, 11)
    labels = torch.tensor([[IGNORED, IGNORED, IGNORED, 7, 2], [IGNORED, IGNORED, 2, IGNORED, IGNORED]])
    log_p = logits.log_softmax(-1)
    by_hand = -(log_p[0, 2, 7] + log_p[0, 3, 2] + log_p[1, 1, 2])
    outputs = CausalLMOutput(logits=logits[:, loss_positions(labels)])
    assert output_loss(outputs, labels).item() == pytest.approx(by_hand.item() / 3, abs=1e-6)
    assert output_loss(outputs, labels, num_items_in_batch=12).item() == pytest.approx(by_hand.item() / 12, abs=1e-6)


@pytest.mark.parametrize("group", [True, False], ids=["grouped", "shuffled"])
def test_each_epoch_holds_every_row_once(group: bool) -> None:
    order = data_order([3 * n % 17 for n in range(24)], seed=3, batch=4, steps=12, group_by_length=group)
    assert sorted(order[:24]) == list(range(24)) == sorted(order[24:])
    assert order[:24] != order[24:]


@pytest.mark.parametrize("group", [True, False], ids=["grouped", "shuffled"])
def test_a_longer_order_begins_with_the_shorter(group: bool) -> None:
    lengths = [7 * n % 23 for n in range(30)]
    orders = [data_order(lengths, seed=3, batch=4, steps=steps, group_by_length=group) for steps in (5, 50)]
    assert orders[1][:20] == orders[0]


def test_grouping_by_length_saves_padding() -> None:
    lengths = [7 * n % 101 for n in range(160)]

    def padded(group: bool) -> int:
        order = data_order(lengths, seed=3, batch=4, steps=40, group_by_length=group)
        batches = [[lengths[row] for row in order[start : start + 4]] for start in range(0, 160, 4)]
        return sum(4 * max(batch) for batch in batches)

    assert padded(True) < 0.85 * padded(False)


def test_fewer_rows_than_a_batch_are_repeated() -> None:
    assert sorted(data_order([5, 6], seed=1, batch=4, steps=2, group_by_length=True)) == [0, 0, 0, 0, 1, 1, 1, 1]
