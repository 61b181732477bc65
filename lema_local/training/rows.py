"""From (prompt, output) texts to token ids with loss on the output alone, every row looked at before the first step.

A row is `BOS prompt output EOS`; the labels are -100 up to the output's first token:

    input_ids  [1, 10180, 5482, ..., 30, 198,  17872, 216, 33, ..., 2]
    labels     [-100, -100, ...,      -100,    17872, 216, 33, ..., 2]

Of a chat student the prompt is a question in its chat frame (settings/chat.py), whose special tokens are read as such,
and the row ends with the frame's token for the end of a turn in the place of EOS.

The prompt's ids are those of the prompt tokenised alone, because that is what the model reads at evaluation. Rows that
are too long are left out and counted (lint.py), or cut where the settings say so and the text can bear it (cutting.py).
A bare cut at a number of tokens would lose the EOS of an output, and teach the model not to stop, or the
`Incorrect Step:` of a prompt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lema_local.errors import TrainingError
from lema_local.settings.chat import ChatFrame
from lema_local.training.base import BaseModel, gguf_tokenizer, refuse_missing
from lema_local.training.cutting import Fits, cut_source, cut_target, is_correction
from lema_local.training.failures import UNREADABLE, cannot_load
from lema_local.training.lint import Kind, Lint, Reason, Tally
from lema_local.training.packages import require
from lema_local.training.quiet import quiet

_EDGE_TOKENS = 8  # of an output, decoded to see that the loss begins with its first text
_CHUNK = 4096  # texts tokenised at a time: what a tokenizer returns for one is 30 times its ids

Ids = list[int]
Pair = tuple[Ids, Ids]


@dataclass(frozen=True, slots=True)
class Row:
    """One tokenised example: `prompt_tokens` ids (BOS included) without loss, the rest with."""

    input_ids: tuple[int, ...]
    prompt_tokens: int


def load_tokenizer(base: BaseModel, *, cache: Path) -> Any:
    """The base model's tokenizer without its weights, of a GGUF too. Raises TrainingError where it does not load."""
    transformers = require("transformers")
    refuse_missing(base)
    place = base.hub_id or str(base.path)
    if base.gguf_path is not None:
        place = str(gguf_tokenizer(base.gguf_path, cache=cache))
    try:
        with quiet():
            return transformers.AutoTokenizer.from_pretrained(place)
    except UNREADABLE as error:
        raise TrainingError(cannot_load(base, error)) from error


def tokenize(
    examples: Sequence[tuple[str, str]],
    tokenizer: Any,
    *,
    bos_text: str,
    frame: ChatFrame | None = None,
    source_max_length: int,
    target_max_length: int,
    truncate: bool = False,
) -> tuple[list[Row], Lint]:
    """Rows of the examples (prompt, output) that can train, in their order, and what became of the others.

    A prompt begins with one BOS at most: the token `bos_text` ("<|im_start|>") where the tokenizer adds none by itself,
    else the one it adds (Llama 2), or none where the model has none (Qwen; bos_text ""). The source's length counts no
    BOS, the target's counts the EOS. Raises TrainingError where the tokenizer has no such token, no EOS, or two BOS, or
    does not know the end of a turn in `frame` as one token.
    """
    texts = _Texts(tokenizer, bos_text, frame)
    tally = Tally()
    trained: list[tuple[int, Row]] = []
    longest_source = longest_target = 0
    for place, (example, (source, target)) in enumerate(zip(examples, texts.encode_pairs(examples), strict=True)):
        kind = texts.kind(example)
        longest_source, longest_target = max(longest_source, len(source)), max(longest_target, len(target) + 1)
        is_long = len(source) > source_max_length, len(target) + 1 > target_max_length
        fault = texts.fault(example, source, target)
        if fault is not None:
            tally.add(fault, kind, place, len(target) + 1)
            continue
        pair: Pair | None = source, target
        if any(is_long):
            pair = texts.cut(example, source_max_length, target_max_length) if truncate else None
            if is_long[0]:
                tally.add("source too long" if pair is None else "source cut", kind, place, len(source))
            if is_long[1] and not (is_long[0] and pair is None):  # one left out is counted once
                tally.add("target too long" if pair is None else "target cut", kind, place, len(target) + 1)
        if pair is not None:
            trained.append((place, Row((*texts.bos, *pair[0], *pair[1], texts.eos), len(texts.bos) + len(pair[0]))))
    begins = texts.begins(row.input_ids[row.prompt_tokens : -1][:_EDGE_TOKENS] for _, row in trained)
    rows = []
    for (place, row), text in zip(trained, begins, strict=True):
        if examples[place][1].lstrip().startswith(text):
            rows.append(row)
        else:
            tally.add("blurred edge", texts.kind(examples[place]), place, len(row.input_ids) - row.prompt_tokens)
    lint = Lint(
        examples=len(examples),
        rows=len(rows),
        longest_source=longest_source,
        longest_target=longest_target,
        findings=tally.findings(),
    )
    return rows, lint


class _Texts:
    """A tokenizer as training uses it: ids without special tokens, which are put around them as ids."""

    def __init__(self, tokenizer: Any, bos_text: str, frame: ChatFrame | None) -> None:
        self._tokenizer = tokenizer
        self._frame = frame
        self.bos = _bos_ids(tokenizer, bos_text)
        if tokenizer.eos_token_id is None:
            raise TrainingError("The base model's tokenizer has no end-of-sequence token: choose another base model.")
        self.eos: int = tokenizer.eos_token_id if frame is None else self._end_of_turn(frame)
        marks = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
        unknown = tokenizer.unk_token_id
        # some models pad with the unknown token, or name one that they never need (Qwen: <|endoftext|>)
        ends = {*self.bos, self.eos, tokenizer.bos_token_id}
        self._unknown = frozenset() if unknown is None or unknown in ends else frozenset({unknown})
        self._special = frozenset({*marks, *ends, tokenizer.pad_token_id} - {None} - self._unknown)
        self._framing = [] if frame is None else self._specials(self._encode([frame.around("a")])[0])
        if self.bos and self.bos == self._framing[:1]:
            raise TrainingError("The chat template writes a BOS that the tokenizer adds too: mend its add_bos_token.")

    def _end_of_turn(self, frame: ChatFrame) -> int:
        ids = self._encode([frame.end])[0]
        if len(ids) != 1:
            raise TrainingError(
                f"The chat template ends an answer with {frame.end[:40]!r}, which is no token of the model: a student "
                "would not learn to stop. Take a chat model, or its raw form."
            )
        return ids[0]

    def _specials(self, ids: Ids) -> Ids:
        return [id_ for id_ in ids if id_ in self._special]

    def kind(self, example: tuple[str, str]) -> Kind:
        """What an example's prompt asks for."""
        prompt = example[0] if self._frame is None else self._frame.inside(example[0])
        return "correction" if is_correction(prompt) else "cot"

    def _encode(self, texts: Sequence[str]) -> list[Ids]:
        # BOS goes in as an id, not as text: SentencePiece tokenizers with prepend_scheme "first" drop the space before
        # the first word when special text stands in front of it, servers that add BOS themselves do not.
        found: list[Ids] = []
        for start in range(0, len(texts), _CHUNK):
            chunk = list(texts[start : start + _CHUNK])
            found += self._tokenizer(chunk, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        return found

    def encode_pairs(self, examples: Sequence[tuple[str, str]]) -> list[Pair]:
        """Ids of prompt and output of each example.

        The output's ids are what follows the prompt in the whole text. SentencePiece would put a space before an
        output tokenised alone, which no generation after "\n" begins with; byte-level BPE gives the same ids either
        way. Only where a token spans the edge (BPE again) is the output tokenised alone, so the prompt stays as is.
        """
        prompts = list(dict.fromkeys(prompt for prompt, _ in examples))  # a question has several solutions
        sources = dict(zip(prompts, self._encode(prompts), strict=True))
        wholes = self._encode([prompt + output for prompt, output in examples])
        spanned = [
            place
            for place, ((prompt, _), whole) in enumerate(zip(examples, wholes, strict=True))
            if whole[: len(sources[prompt])] != sources[prompt]
        ]
        alone = dict(zip(spanned, self._encode([examples[place][1] for place in spanned]), strict=True))
        return [
            (sources[prompt], alone[place] if place in alone else wholes[place][len(sources[prompt]) :])
            for place, (prompt, _) in enumerate(examples)
        ]

    def fault(self, example: tuple[str, str], source: Ids, target: Ids) -> Reason | None:
        """What keeps an example from training, whatever its length."""
        if not example[1].strip() or not target:
            return "empty output"
        if self._specials(source) != self._framing or self._specials(target):
            return "special token"
        if not self._unknown.isdisjoint(source) or not self._unknown.isdisjoint(target):
            return "unknown character"
        return None

    def cut(self, example: tuple[str, str], source_max: int, target_max: int) -> Pair | None:
        """An over-long example cut to the lengths, or None where it cannot be."""

        def source_fits(text: str) -> bool:
            return len(self._encode([text])[0]) <= source_max

        def target_fits(text: str) -> bool:
            return len(self.encode_pairs([(example[0], text)])[0][1]) + 1 <= target_max

        prompt: str | None = example[0]
        output: str | None = example[1]
        if not source_fits(example[0]):
            prompt = self._cut_prompt(*example, source_fits)
        if not target_fits(example[1]):
            output = cut_target(example[1], target_fits)
        if prompt is None or output is None:
            return None
        return self.encode_pairs([(prompt, output)])[0]

    def _cut_prompt(self, prompt: str, output: str, fits: Fits) -> str | None:
        frame = self._frame
        if frame is None:
            return cut_source(prompt, output, fits)
        cut = cut_source(frame.inside(prompt), output, lambda text: fits(frame.around(text)))
        return None if cut is None else frame.around(cut)

    def begins(self, outputs: Iterable[tuple[int, ...]]) -> list[str]:
        """The text of each output's first tokens, without a space before it or half a character after it."""
        texts = self._tokenizer.batch_decode([list(ids) for ids in outputs], clean_up_tokenization_spaces=False)
        return [text.rstrip("\ufffd").lstrip() for text in texts]


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
