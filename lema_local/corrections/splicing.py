"""The steps of a corrected solution, spliced onto the steps that are kept, so that both read as one solution.

Correctors repeat kept steps, count from 1 again, write "2." for "Step 2:", or write no labels at all. Where step 3
is the wrong one:

    Step 1: (kept step 1)                              Step 3: 9 + 4 = 13.
    Step 2: (kept step 2)            becomes           Step 4: The answer is 13.
    Step 3: 9 + 4 = 13.
    Step 4: The answer is 13.

What is no plain case stays as it was written: checks.py says that it does not go on from the kept steps. Pure.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from lema_local.corrections.arithmetic import Claim, claims
from lema_local.corrections.latex import plain_sums
from lema_local.corrections.rationales import step_label

MAX_STEPS = 64

_ITEM = re.compile(r"(?:\*\*)?(\d{1,3})[.):](?:\*\*)? +(?=\S)(.*)")
_BULLET = re.compile(r"^[-*•] +(?=\S)")
# states an answer; "to get the final answer, double it:" does not
_ANSWER = re.compile(
    r"\banswers?\b\**(?:,? (?:then|therefore|thus),?| (?:to|for|of|in)\b[^.:=\n]{1,60}?| \([^()\n]{1,40}\))?"
    r"(?:\s(?:is|are|equals|(?:would|should|must|will) be)\b|\s*[:=])"
    r"|\b(?:is|was) the (?:final |correct )?answer\b|####|\\boxed",
    re.IGNORECASE,
)
_SIGNS = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|[-+*/=<>^]")
_ENOUGH = 0.7  # share of common words that makes two steps the same one in other words

Step = tuple[int | None, str]  # the number that stands before it, and its text


def splice(lines: Sequence[str], *, step: int | None, mistaken: Sequence[str] | None) -> str | None:
    """The solution as lines "Step k: ...", or None where no step is left; lines come without `...` and braces.

    `mistaken` None: what is kept is not known, and numbers stay as they are written.
    """
    steps = read_steps(lines)
    if step is not None and step >= 1 and mistaken is not None:
        steps = _counted_on(steps, mistaken[: min(step - 1, MAX_STEPS)], step)
    texts = [f"Step {number}: {text}" if number is not None else text for number, text in steps]
    return "\n".join(texts) or None


def read_steps(lines: Sequence[str]) -> list[Step]:
    """Labelled lines as steps, "2." counting where no line says "Step"; a line without a label goes on with the step
    above, but for what is said after the answer."""
    label_of = step_label if any(step_label(line) for line in lines) else _item
    has_labels = any(label_of(line) for line in lines)
    steps: list[Step] = []
    for line in lines:
        if label := label_of(line):
            steps.append((label[0], label[1]))
        elif not has_labels or (not steps and not line.endswith(":")):  # "Here it is:" leads up to the steps
            steps.append((None, _BULLET.sub("", line, count=1)))
        elif not steps:
            continue
        elif not _ANSWER.search(steps[-1][1]) or _ANSWER.search(line):
            number, text = steps[-1]
            steps[-1] = (number, f"{text} {_BULLET.sub('', line, count=1)}")
    cleaned = [(number, " ".join(text.replace("**", "").split())) for number, text in steps]
    return [one for one in cleaned if any(c.isalnum() for c in one[1])][:MAX_STEPS]


@lru_cache(maxsize=1 << 14)
def sums_of(step: str) -> tuple[Claim, ...]:
    """The sums of a step, in plain signs or in LaTeX."""
    return claims(plain_sums(step))


def same_step(one: str, other: str) -> bool:
    """Whether two steps say the same: the same sums, or none and the same numbers and signs, in much the same words."""
    sums, others = sums_of(one), sums_of(other)
    if len(sums) != len(others) or any(x.key != y.key for x, y in zip(sums, others, strict=True)):
        return False
    if not sums and _SIGNS.findall(one) != _SIGNS.findall(other):  # "3x - 2y = 12" for "3x + 2y = 12"
        return False
    a, b = _words(one), _words(other)
    common = len(set(a) & set(b)) / max(1, len(set(a) | set(b)))
    return common >= _ENOUGH


def _item(line: str) -> tuple[int, str] | None:
    found = _ITEM.match(line)
    return (int(found[1]), found[2]) if found else None


def _repeated(steps: Sequence[Step], kept: Sequence[str]) -> int:
    """How many steps at the beginning repeat kept ones, in their order, whatever they are numbered."""
    at = 0
    for count, (_, text) in enumerate(steps):
        match = next((k for k in range(at, len(kept)) if same_step(text, kept[k])), None)
        if match is None:
            return count
        at = match + 1
    return len(steps)


def _counted_on(steps: Sequence[Step], kept: Sequence[str], step: int) -> list[Step]:
    """The steps numbered from `step` on, where it is plain that they follow the kept ones; gaps between them stay."""
    repeated = _repeated(steps, kept)
    steps = list(steps[repeated:])
    if not steps or steps[0][0] == step:
        return steps
    if all(number is None for number, _ in steps):
        return list(enumerate((text for _, text in steps), step))
    first = steps[0][0]
    # after repeated steps, a label that is the wrong step's counts as the mistake does: a kept step was written anew
    is_numbered = any(number == step for number, _ in steps)
    if first is None or not (not is_numbered if repeated else first == 1 and _goes_on(steps, kept)):
        return steps
    return [(number if number is None else number - first + step, text) for number, text in steps]


def _goes_on(steps: Sequence[Step], kept: Sequence[str]) -> bool:
    """Whether steps counted from 1 go on from the kept ones: the first sum takes what a kept one came to, and none
    combines the same amounts again, which a solution from the start does, be it to put a kept sum right."""
    done = [claim for text in kept for claim in sums_of(text)]
    new = [claim for _, text in steps for claim in sums_of(text)]
    amounts = {claim.key[0] for claim in done}
    return (
        bool(new)
        and any(claim.result in new[0].operands for claim in done)
        and all(claim.key[0] not in amounts for claim in new)
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
