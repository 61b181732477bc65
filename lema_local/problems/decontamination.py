"""Train problems that stand in a test set too, word for word or nearly. Pure; GSM8K's 7,473 x 1,319 in seconds.

Four kinds, the first that holds for a pair:

    exact      the same question, but for case, punctuation and spaces                                      score 1
    template   the same question with other numbers: reported apart, since generated sets are made so        score 1
    near       3-grams of words and operators with a Jaccard similarity of 0.6 or more                       Jaccard
    ngram      a run of 13 words in common, as Brown et al. 2020 (GPT-3, appendix C) look for it             see below

    Overlap(train=Problem(...), test=Problem(...), kind="near", score=0.81)

The score of an n-gram overlap is the share of the shorter question's 13-grams that both have. Every candidate pair is
found: an inverted index over n-grams, with the prefix filter of set-similarity joins (Chaudhuri et al. 2006), is exact.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from lema_local.records.types import Problem

OverlapKind = Literal["exact", "template", "near", "ngram"]
KINDS: tuple[OverlapKind, ...] = ("exact", "template", "near", "ngram")
# Same template is not the same problem: other numbers are what gsm-symbolic, and many textbooks, train and test on.
LEFT_OUT: frozenset[OverlapKind] = frozenset({"exact", "near", "ngram"})

RUN = 13  # words
SHINGLE = 3  # words and operators
NEAR = 0.6

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s]|_")
_NO_WORD = frozenset(".,;:!?'\"`$’‘“”…")  # dollars too: of money, and of LaTeX, which some copies write as \( \)


@dataclass(frozen=True, slots=True)
class Overlap:
    """A train and a test problem that are too much alike."""

    train: Problem
    test: Problem
    kind: OverlapKind
    score: float  # 0 to 1


@dataclass(frozen=True, slots=True)
class _Text:
    """A question as it is compared."""

    tokens: tuple[str, ...]  # with operators: x + 1 is not x - 1
    masked: tuple[str, ...]  # tokens, every number as "#"
    shingles: frozenset[str]
    runs: frozenset[str]


def overlaps(train: Sequence[Problem], test: Sequence[Problem]) -> tuple[Overlap, ...]:
    """Every pair that overlaps: strongest kind first, then by score; one Overlap a pair.

    Of a template, which hundreds of test problems may share, a train problem is paired with the first that has other
    numbers. Time grows with the candidates, not with the pairs: about 2 s for GSM8K. Memory: the n-grams of both.
    """
    ours, theirs = [_text(p.question) for p in train], [_text(p.question) for p in test]
    found: dict[tuple[int, int], tuple[OverlapKind, float]] = {}
    for pair in _same(ours, theirs, lambda text: text.tokens):
        found[pair] = ("exact", 1.0)
    paired: set[int] = set()
    for i, j in _same(ours, theirs, lambda text: text.masked):
        if i not in paired and ours[i].tokens != theirs[j].tokens:
            paired.add(i)
            found[i, j] = ("template", 1.0)
    for i, j, score in _near(ours, theirs):
        if ours[i].masked != theirs[j].masked:
            found[i, j] = ("near", score)
    for i, j, score in _sharing_runs(ours, theirs):
        if ours[i].masked != theirs[j].masked:
            found.setdefault((i, j), ("ngram", score))
    ranked = sorted(found.items(), key=lambda item: (KINDS.index(item[1][0]), -item[1][1], item[0]))
    return tuple(Overlap(train[i], test[j], kind, round(score, 4)) for (i, j), (kind, score) in ranked)


def leave_out(
    train: Sequence[Problem], found: Sequence[Overlap], kinds: frozenset[OverlapKind] = LEFT_OUT
) -> tuple[tuple[Problem, ...], dict[OverlapKind, int]]:
    """The train problems without those that overlap in one of `kinds`, and how many went by their strongest kind."""
    why: dict[str, OverlapKind] = {}
    for overlap in found:  # strongest first
        if overlap.kind in kinds:
            why.setdefault(overlap.train.id, overlap.kind)
    kept = tuple(problem for problem in train if problem.id not in why)
    return kept, dict(Counter(why[problem.id] for problem in train if problem.id in why))


def normal(question: str) -> str:
    """A question as it is compared word for word: white space does not count."""
    return " ".join(question.split())


def _text(question: str) -> _Text:
    folded = unicodedata.normalize("NFKC", question).casefold()
    tokens = tuple(token.replace(",", "") for token in _TOKEN.findall(folded) if token not in _NO_WORD)
    words = [token for token in tokens if token[0].isalnum()]
    masked = tuple("#" if token[0].isdigit() else token for token in tokens)
    return _Text(tokens, masked, _grams(tokens, SHINGLE), _grams(words, RUN))


def _grams(words: Sequence[str], size: int) -> frozenset[str]:
    """Runs of `size` words; a shorter text is no run of 13, and one shingle of what it has."""
    if len(words) < size:
        return frozenset([" ".join(words)]) if words and size == SHINGLE else frozenset()
    return frozenset(" ".join(words[k : k + size]) for k in range(len(words) - size + 1))


def _same(ours: list[_Text], theirs: list[_Text], key: Callable[[_Text], tuple[str, ...]]) -> Iterator[tuple[int, int]]:
    index: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for j, text in enumerate(theirs):
        index[key(text)].append(j)
    for i, text in enumerate(ours):
        for j in index.get(key(text), ()):
            yield i, j


def _near(ours: list[_Text], theirs: list[_Text]) -> Iterator[tuple[int, int, float]]:
    """Pairs with Jaccard(shingles) >= NEAR. Two such sets share one of the rarest (1 - NEAR) of either: the prefix."""
    count = Counter(gram for text in theirs for gram in text.shingles)

    def prefix(shingles: frozenset[str]) -> list[str]:
        size = len(shingles) - ceil(NEAR * len(shingles) - 1e-9) + 1
        known = [gram for gram in shingles if gram in count]
        size -= len(shingles) - len(known)  # the rarest of all are those that no test problem has
        return sorted(known, key=lambda gram: (count[gram], gram))[:size] if size > 0 else []

    index: defaultdict[str, list[int]] = defaultdict(list)
    for j, text in enumerate(theirs):
        for gram in prefix(text.shingles):
            index[gram].append(j)
    for i, text in enumerate(ours):
        for j in {j for gram in prefix(text.shingles) for j in index.get(gram, ())}:
            shared = len(text.shingles & theirs[j].shingles)
            score = shared / (len(text.shingles) + len(theirs[j].shingles) - shared)
            if score >= NEAR:
                yield i, j, score


def _sharing_runs(ours: list[_Text], theirs: list[_Text]) -> Iterator[tuple[int, int, float]]:
    index: defaultdict[str, list[int]] = defaultdict(list)
    for j, text in enumerate(theirs):
        for run in text.runs:
            index[run].append(j)
    for i, text in enumerate(ours):
        shared = Counter(j for run in text.runs for j in index.get(run, ()))
        for j, number in shared.items():
            yield i, j, number / min(len(text.runs), len(theirs[j].runs))
