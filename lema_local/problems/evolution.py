"""Evolution: which questions are evolved, what an evolver's reply holds, and which of its answers is believed. Pure.

Correction-centric evolution (arXiv 2310.20689 v4) draws its seed questions from those that occur in the corrections, so
that moderately hard ones weigh more; general evolution draws from all questions. Three answers, the majority is kept:

    draw_seeds(["p1", "p1", "p2"], 4, seed=1)                   # [Draw("p1", 0), Draw("p2", 0), Draw("p1", 1), ...]
    parse_question("New Question: Ann has 3 cats ...?")         # "Ann has 3 cats ...?"
    majority(["12", "12.0", "15"], "number")                    # 0: the index of the first answer of the majority
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lema_local.answers.exact import is_correct
from lema_local.corrections.reply_text import own_text
from lema_local.records.types import AnswerKind

MOST_CHARACTERS = 2_000  # of a question; longer ones are essays, or worse
LEAST_CHARACTERS = 20

_LABEL = re.compile(
    r"^[ \t>#*_\"-]{0,10}(?:(?:the )?(?:new|rewritten|evolved)[ \t]{1,3})?(?:question|problem)"
    r"[*_]{0,2}[ \t]?:[*_]{0,2}",
    re.IGNORECASE | re.MULTILINE,
)
_AFTER = re.compile(
    r"^[ \t>#*_-]{0,10}(?:answer|solution|explanation|original question|note|step 1|let's)\b",
    re.IGNORECASE | re.MULTILINE,
)
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Draw:
    """A seed question, drawn for the `index`th time."""

    problem_id: str
    index: int


def draw_seeds(occurrences: Sequence[str], count: int, *, seed: int) -> list[Draw]:
    """`count` draws with replacement, whatever the order of the ids; one that occurs twice is twice as likely.

    For each draw every occurrence throws a number, and the least wins; an id's throws are a stream of its own. So an id
    more takes its share of the draws and leaves the others as they were: their questions are paid for.
    """
    import numpy as np

    ids = sorted(Counter(occurrences).items())
    least, winners = np.ones(count), np.zeros(count, dtype=int)
    for place, (problem_id, times) in enumerate(ids):
        key = int.from_bytes(hashlib.sha256(f"{seed}:{problem_id}".encode()).digest()[:16])
        thrown = (np.random.Philox(key=key).random_raw(count) >> 11) * 2.0**-53  # in [0, 1), the same on any machine
        if times > 1:
            thrown = -np.expm1(np.log1p(-thrown) / times)  # as the least of so many is distributed
        winners[thrown < least] = place
        least = np.minimum(least, thrown)
    drawn: Counter[str] = Counter()
    draws = []
    for place in winners if ids else ():
        problem_id, _ = ids[place]
        draws.append(Draw(problem_id, drawn[problem_id]))
        drawn[problem_id] += 1
    return draws


def parse_question(text: str) -> str | None:
    """The new question in an evolver's reply, or None. Model output: bounded, nothing of it is trusted."""
    own = own_text(text)
    if own is None:
        return None
    text = own[: 4 * MOST_CHARACTERS]  # cut last: reasoning may be long
    label = _LABEL.search(text)
    text = text[label.end() :] if label else text
    other = _LABEL.search(text)
    text = text[: other.start()] if other else text
    after = _AFTER.search(text)
    text = text[: after.start()] if after else text
    question = _SPACES.sub(" ", text).strip(' *_#"')
    return question if LEAST_CHARACTERS <= len(question) <= MOST_CHARACTERS else None


def majority(answers: Sequence[str | None], kind: AnswerKind) -> int | None:
    """The index of the first of the answers that most others equal; None where no two agree. A missing answer agrees
    with none."""
    best, most = None, 1
    for k, answer in enumerate(answers):
        if answer is None:
            continue
        agreeing = sum(other is not None and is_correct(other, answer, kind) for other in answers)
        if agreeing > most:
            best, most = k, agreeing
    return best
