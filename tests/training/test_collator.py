"""Rows padded or packed with labels by position, the loss, and the order of the data."""

import pytest
from needs import needs

from lema_local.training.collate import IGNORED, Collator, loss_positions
from lema_local.training.loss import output_loss
from lema_local.training.order import data_order
from lema_local.training.rows import Row

pytestmark = needs("torch", "transformers")

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
