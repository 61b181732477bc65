"""From (prompt, output) texts to token ids with loss on the output alone, and from rows to padded micro-batches.

A row is `BOS prompt output EOS`; the labels are -100 up to the output's first token:

    input_ids  [1, 10180, 5482, ..., 30, 198,  17872, 216, 33, ..., 2]
    labels     [-100, -100, ...,      -100,    17872, 216, 33, ..., 2]

The prompt's ids are those of the prompt tokenised alone, because that is what the model reads at evaluation. Rows that
are too long are left out and counted, never cut: a cut output has no EOS and teaches the model not to stop, a cut
prompt loses its question or its `Incorrect Step:`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lema_local.errors import TrainingError
from lema_local.training.packages import require

IGNORED = -100  # the label torch's cross entropy passes over


@dataclass(frozen=True, slots=True)
class Row:
    """One tokenised example: `prompt_tokens` ids (BOS included) without loss, the rest with."""

    input_ids: tuple[int, ...]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many rows were not trained on, by reason, and the lengths in tokens of the longest texts met."""

    source_too_long: int
    target_too_long: int
    empty_output: int
    special_token: int  # the text itself spells BOS, EOS or pad: it would end or restart the row
    longest_source: int
    longest_target: int

    @property
    def total(self) -> int:
        return self.source_too_long + self.target_too_long + self.empty_output + self.special_token

    @property
    def message(self) -> str:
        """For people: "5 examples left out: 3 with a source too long (longest 611 tokens), 2 with an empty output"."""
        reasons = (
            (self.source_too_long, f"with a source too long (longest {self.longest_source} tokens)"),
            (self.target_too_long, f"with a target too long (longest {self.longest_target} tokens)"),
            (self.empty_output, "with an empty output"),
            (self.special_token, "that spell a special token"),
        )
        return f"{self.total} examples left out: " + ", ".join(f"{count} {why}" for count, why in reasons if count)


def tokenize(
    examples: Sequence[tuple[str, str]],
    tokenizer: Any,
    *,
    bos_text: str,
    source_max_length: int,
    target_max_length: int,
) -> tuple[list[Row], LeftOut]:
    """Rows of the examples (prompt, output) that fit, in their order, and the count of those left out.

    A prompt begins with one BOS at most: the token `bos_text` ("<|im_start|>") where the tokenizer adds none by itself,
    else the one it adds (Llama 2), or none where the model has none (Qwen; bos_text ""). The source's length counts no
    BOS, the target's counts the EOS. Raises TrainingError where the tokenizer has no such token, no EOS, or two BOS.
    """
    bos = _bos_ids(tokenizer, bos_text)
    eos = tokenizer.eos_token_id
    if eos is None:
        raise TrainingError("The base model's tokenizer has no end-of-sequence token: choose another base model.")
    special = {*bos, eos, tokenizer.bos_token_id, tokenizer.pad_token_id} - {None}
    if not examples:
        return [], LeftOut(0, 0, 0, 0, 0, 0)

    # BOS goes in as an id, not as text: SentencePiece tokenizers with prepend_scheme "first" drop the space before the
    # first word when special text stands in front of it, servers that add BOS themselves do not.
    prompts = tokenizer([prompt for prompt, _ in examples], add_special_tokens=False)["input_ids"]
    outputs = tokenizer([output for _, output in examples], add_special_tokens=False)["input_ids"]
    joined = tokenizer([prompt + output for prompt, output in examples], add_special_tokens=False)["input_ids"]

    rows: list[Row] = []
    source_too_long = target_too_long = empty = spelled = 0
    longest_source = longest_target = 0
    for (_, text), prompt, alone, whole in zip(examples, prompts, outputs, joined, strict=True):
        # The output's ids are what follows the prompt in the whole text. SentencePiece would put a space before an
        # output tokenised alone, which no generation after "\n" begins with; byte-level BPE gives the same ids either
        # way. Only where a token spans the edge (BPE again) is the output tokenised alone, so the prompt stays as is.
        output = whole[len(prompt) :] if whole[: len(prompt)] == prompt else alone
        longest_source = max(longest_source, len(prompt))
        longest_target = max(longest_target, len(output) + 1)
        if not text.strip() or not output:
            empty += 1
        elif special.intersection(prompt) or special.intersection(output):
            spelled += 1
        elif len(prompt) > source_max_length:
            source_too_long += 1
        elif len(output) + 1 > target_max_length:
            target_too_long += 1
        else:
            rows.append(Row((*bos, *prompt, *output, eos), len(bos) + len(prompt)))
    return rows, LeftOut(source_too_long, target_too_long, empty, spelled, longest_source, longest_target)


def _bos_ids(tokenizer: Any, bos_text: str) -> list[int]:
    """The ids before a prompt, as a server has them that sends bos_text + prompt through the same tokenizer."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    with_special = tokenizer("a")["input_ids"]
    added = with_special[: next(i for i in range(len(with_special)) if with_special[i : i + len(plain)] == plain)]
    if bos_text and added:
        raise TrainingError(f"The base model's tokenizer adds a BOS by itself: leave bos_text empty ({bos_text!r}).")
    ids = list(tokenizer(bos_text, add_special_tokens=False)["input_ids"]) if bos_text else list(added)
    if len(ids) != bool(bos_text or added):
        raise TrainingError(
            f"The base model's tokenizer knows no token {bos_text!r}: mend bos_text of the model's entry."
        )
    return ids


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


def _labels(row: Row) -> list[int]:
    """The output's ids in their places. The first token never has a label: in a pack, another example stands before."""
    first = max(row.prompt_tokens, 1)
    return [IGNORED] * first + list(row.input_ids[first:])


def loss_positions(labels: Any) -> Any:
    """The positions, of (sequences, positions), whose logits predict a labelled token in at least one sequence."""
    return (labels[:, 1:] != IGNORED).any(dim=0).nonzero()[:, 0]
