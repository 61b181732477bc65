"""Cutting an over-long text where it still teaches what it should: `training.truncate`. Pure: the caller measures.

    correction source   steps of the mistaken solution go from its end, never the step that the output names; the head,
                        the question and "}\\nIncorrect Step:" stay
    CoT source          words go from the middle of the question ("... "); the instruction and "Answer: ..." stay
    correction target   steps of the correct solution go from its end, at least one stays, and the closing "}"
    CoT target          whole sentences go from its end, at least one stays

What cannot be cut so is not cut at all (None). The end-of-sequence token is no text: it follows whatever is left.
"""

import re
from collections.abc import Callable, Sequence

from lema_local.prompts import ALPACA_TEMPLATE, CORRECTION_INPUT, COT_INPUT, turns

Fits = Callable[[str], bool]

_SOLUTION = "\nOriginal Solution:\n{\n"
_ASKS = CORRECTION_INPUT.rpartition("\n")[2]  # "Incorrect Step:"
_CORRECT, _CLOSE = "\nCorrect Solution:\n{\n", "\n}"
_STEP = re.compile(r"^Step (\d{1,3}):", re.MULTILINE)
_NAMED = re.compile(r" ?Step (\d{1,3})\b")
_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n")
_GAP = " ... "


def is_correction(prompt: str) -> bool:
    """Whether a prompt asks for a correction, by the paper's input or by another: it ends where the first word of one
    is due."""
    return prompt.endswith(_ASKS)


def cut_source(prompt: str, output: str, fits: Fits) -> str | None:
    """The longest cut of `prompt` that fits, or None. `output` says which step of a mistake must stay."""
    if is_correction(prompt):
        return _cut_mistake(prompt, output, fits)
    for template in (COT_INPUT, COT_INPUT.rstrip(), turns(ALPACA_TEMPLATE)[0][1]):  # the second within a chat frame
        head, _, tail = template.partition("{question}")
        if prompt.startswith(head) and prompt.endswith(tail):
            words = prompt.removeprefix(head).removesuffix(tail).split(" ")
            halves = ((words[: kept - kept // 2], words[-(kept // 2) :]) for kept in range(2, len(words)))
            return _longest([f"{head}{' '.join(one)}{_GAP}{' '.join(other)}{tail}" for one, other in halves], fits)
    return None


def cut_target(output: str, fits: Fits) -> str | None:
    """The longest cut of `output` that fits and ends with a whole step or sentence, or None."""
    head, found, solution = output.partition(_CORRECT)
    if found and output.endswith(_CLOSE):
        starts = [match.start() for match in _STEP.finditer(solution)]
        return _longest([f"{head}{_CORRECT}{solution[:start].rstrip()}{_CLOSE}" for start in starts[1:]], fits)
    ends = [match.end() for match in _SENTENCE_END.finditer(output)]
    return _longest([text for end in ends if (text := output[:end].rstrip()) and text != output.rstrip()], fits)


def _cut_mistake(prompt: str, output: str, fits: Fits) -> str | None:
    head, _, rest = prompt.partition(_SOLUTION)
    steps, close, tail = rest.rpartition(_CLOSE)
    named = _NAMED.match(output)
    if named is None or not close:
        return None
    starts = [match.start() for match in _STEP.finditer(steps) if int(match[1]) > int(named[1])]
    return _longest([f"{head}{_SOLUTION}{steps[:start].rstrip()}{close}{tail}" for start in starts], fits)


def _longest(candidates: Sequence[str], fits: Fits) -> str | None:
    """The last candidate that fits; they grow, so it is found by halving."""
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        if fits(candidates[middle]):
            low = middle + 1
        else:
            high = middle
    return candidates[low - 1] if low else None
