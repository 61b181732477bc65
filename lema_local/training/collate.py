"""From token rows to padded micro-batches, with loss on the output and its EOS alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lema_local.training.packages import require
from lema_local.training.rows import Row

IGNORED = -100  # the label torch's cross entropy passes over


@dataclass(frozen=True, slots=True)
class Collator:
    """A micro-batch of packs: sequences of one example each, or of several laid end to end (training/packing.py).

    Sequences are padded on the right to the longest; `is_flat` lays them all end to end instead, without padding, which
    is how flash attention takes packs. Labels come from positions, not from ids: pad may equal EOS. No attention mask
    is given: padding stands after all that could see it, and of packed examples the position ids, which begin anew
    with each (padding counts as one), say which tokens see each other. Without packs that leaves plain causal
    attention, for which there are faster kernels than for any mask.
    """

    pad_id: int
    is_flat: bool = False

    def __call__(self, packs: Sequence[Mapping[str, Sequence[Row]]]) -> dict[str, Any]:
        """input_ids, labels, and position_ids where packed, of shape (sequences, longest), int64; logits_to_keep.

        `logits_to_keep` (int64) has the positions whose logits the loss needs: those of the prompts are not computed,
        which saves a tenth of the time and half of the logits' memory.
        """
        torch = require("torch")
        sequences = [pack["rows"] for pack in packs]
        if self.is_flat:
            sequences = [[row for rows in sequences for row in rows]]
        longest = max(sum(len(row.input_ids) for row in rows) for rows in sequences)
        ids, labels, positions = [], [], []
        for rows in sequences:
            padding = longest - sum(len(row.input_ids) for row in rows)
            ids.append([id_ for row in rows for id_ in row.input_ids] + [self.pad_id] * padding)
            labels.append([label for row in rows for label in _labels(row)] + [IGNORED] * padding)
            lengths = [*(len(row.input_ids) for row in rows), padding]
            positions.append([position for length in lengths for position in range(length)])
        batch = {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}
        if any(len(rows) > 1 for rows in sequences):
            batch["position_ids"] = torch.tensor(positions)
        return {**batch, "logits_to_keep": loss_positions(batch["labels"])}


@dataclass(frozen=True, slots=True)
class StepCollator:
    """One process's share of a step, in micro-batches of rows (packing.share_step), for a loop that takes it whole."""

    collate: Collator

    def __call__(self, shares: Sequence[Mapping[str, Sequence[Sequence[Row]]]]) -> dict[str, Any]:
        """micro_batches; labels (1, labels of all), of which the Trainer counts those of the global batch."""
        torch = require("torch")
        (share,) = shares
        batches = [self.collate([{"rows": (row,)} for row in rows]) for rows in share["micro_batches"]]
        return {"micro_batches": batches, "labels": torch.cat([batch["labels"].flatten() for batch in batches])[None]}


def _labels(row: Row) -> list[int]:
    """The output's ids in their places. The first token never has a label: in a pack, another example stands before."""
    first = max(row.prompt_tokens, 1)
    return [IGNORED] * first + list(row.input_ids[first:])


def loss_positions(labels: Any) -> Any:
    """The positions, of (sequences, positions), whose logits predict a labelled token in at least one sequence."""
    return (labels[:, 1:] != IGNORED).any(dim=0).nonzero()[:, 0]
