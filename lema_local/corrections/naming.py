"""Which step a text calls wrong, and whether it says that none is: sentences of a corrector, outside its headings.

    Step 1 is fine, but Step 2 is wrong: she gives the apples away.      names step 2
    Step 2: Incorrect. The apples must be subtracted.                    names step 2, by a verdict on it
    Step 2: She keeps 42 - 9 = 33 apples.                                names none: it is a step of a solution
    I could not find an error; every step is correct.                    denies that there is one

A step is named only where a sentence calls it wrong, for a corrector that solves the problem anew writes steps too.
Pure; one pass, bounded windows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lema_local.corrections.rationales import step_label

_WRONG = re.compile(
    r"\b(?:incorrect(?:ly)?|wrong(?:ly)?|mistak(?:e|es|en|enly)|errors?|erroneous(?:ly)?|faulty|flaw(?:s|ed)?|invalid"
    r"|false|inaccurate|mis(?:calculat|count|read|interpret|appl)\w*|(?:does not|doesn['’]t) (?:hold|follow)"
    r"|(?:problem|issue) (?:lies|is|occurs|arises|starts|begins) (?:in|with|at)"
    r"|not (?:quite |entirely )?(?:correct|right|true|valid|accurate))\b|n['’]t (?:quite )?(?:correct|right|true)\b"
    r"|[❌✗✘]",
    re.IGNORECASE,
)
# what a step is said to do, right behind its name: "Step 2 should subtract", "step 3 forgets"
_BLAMES = re.compile(
    r"[*_\"')]{0,3} (?:of the (?:original )?solution )?(?:should|fail(?:s|ed)|forg[eo]t\w*|miss(?:es|ed)|ignore[sd]"
    r"|overlook(?:s|ed)|confuse[sd])\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\b(?:no|not|none|nothing|never|without|neither|nor|cannot|free of)\b|n['’]t\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:]|\bbut\b")
_WINDOW = 40  # characters before a word in which a negation is its own
_RIGHT = re.compile(
    r"\b(?:solution|reasoning|steps?|work|everything|all|calculations?|arithmetic|it|they)\b[^.!?]{0,40}?"
    r"\b(?:is|are|was|were|looks?|seems?|appears?)\b(?![^.!?]{0,12}\bnot\b)[^.!?,;]{0,20}?"
    r"\b(?:correct|right|fine|good|accurate|valid|sound|okay)\b"
    r"(?! (?!and\b|so\b|as\b|to me\b|until\b|up\b|except\b|because\b|since\b|here\b|already\b)\w)",  # a right triangle
    re.IGNORECASE,
)
_CONCLUDES = re.compile(r"\b(?:so|thus|hence|therefore|means|original|answer)\b", re.IGNORECASE)
_OPENS = re.compile(r"\W{0,6}(?:(?:in|at|for|with) )?(?:the )?$", re.IGNORECASE)  # what may stand before "step 2, ..."
_IN = re.compile(r"\b(?:in|at|is) (?:the )?[*_]{0,3}$", re.IGNORECASE)
_LABEL = re.compile(r"[*_]{0,2}[:.)] ")
_COMPLAINT = re.compile(
    r"\b(?:should|must|ought|instead|rather|but|however|although|though|forg[eo]t\w*|miss\w*|ignor\w*|overlook\w*|except"
    r"|apart|not)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)
_PARTLY = re.compile(r"\b(?:up to|until|till|before)\b[ *_]{1,3}(?:the )?(?:\w+ )?step\b", re.IGNORECASE)
_OF_THE_STEP = re.compile(r"\b(?:this|the|that) (?:step|solution|original|answer)\b", re.IGNORECASE)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_MENTION = re.compile(
    rf"\bsteps?[ \t*_#(\"'“]{{0,5}}(?:(?P<digits>\d{{1,3}})(?!\d)|(?P<word>{'|'.join(_WORDS)})\b)"
    rf"|\b(?P<ordinal>{'|'.join(_ORDINALS)}|last|final) step\b",
    re.IGNORECASE,
)
_LEAD = r"[\W_]{0,6}(?:(?:this|it|that|here|step|is|was|has|contains|there|an?|the|calculation|arithmetic)\s+){0,5}"
_CALLED_WRONG = re.compile(rf"{_LEAD}(?:{_WRONG.pattern})", re.IGNORECASE)
_CALLED_RIGHT = re.compile(
    rf"{_LEAD}(?:correct|right|fine|okay|good|valid|accurate|no (?:errors?|mistakes?))\b|\W{{0,4}}[✓✔✅]", re.IGNORECASE
)
_NONE = re.compile(
    r"[\W_]{0,6}(?:steps?\s)?(?:none|n/a|no(?!\.? ?\d)|nothing|not applicable|null|there (?:is|are) (?:none|no))\b",
    re.IGNORECASE,
)
_EXCEPT = re.compile(
    r"\b(?:except|apart from|other than|but not)\b(?: for| in)?[ *_]{1,3}(?=(?:the )?(?:\w+ )?step)", re.IGNORECASE
)
_REFERS = re.compile(r"(?:that|this|it|here|which)\b", re.IGNORECASE)  # to what the sentence before named
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!i\.e\.)(?<!e\.g\.)\s+")
_QUOTE = re.compile(r"[\"“'‘]([^\"“”]{8,400})[\"”'’]")
_FILLER = frozenset(
    re.findall(
        r"\w+", "the a an is was in at of to first there contains has occurs lies made this that original solution step"
    )
)
_FEW_WORDS = 4  # fewer say no more than which step
_QUOTED = 0.8  # share of a text's words that a step has, for the text to be that step's words
_MAX_STEPS = 64


@dataclass(frozen=True, slots=True)
class Naming:
    """A step that is called wrong, and the lines from there on."""

    step: int
    said: list[str]


def blamed(lines: Sequence[str], mistaken: Sequence[str]) -> Naming | None:
    """The first step that a sentence, or a verdict on a labelled step, calls wrong."""
    for i, line in enumerate(lines):
        if label := step_label(line):
            if _CALLED_WRONG.match(label[1]):
                return Naming(label[0], [label[1], *lines[i + 1 :]])
            continue  # a step of a solution, whatever words it has
        sentences = _SENTENCE_END.split(line)
        for j, sentence in enumerate(sentences):
            if (step := _blamed_by(sentence, mistaken)) is not None:
                return Naming(step, [" ".join(sentences[j:]), *lines[i + 1 :]])
            if j and (step := _referred_to(sentence, sentences[j - 1], mistaken)) is not None:
                return Naming(step, [" ".join(sentences[j - 1 :]), *lines[i + 1 :]])
    return None


def _referred_to(sentence: str, before: str, mistaken: Sequence[str]) -> int | None:
    """The one step that the sentence before mentions, where this one says: "That is a mistake." """
    mentions = list(_MENTION.finditer(before))
    wrong = _wrong(sentence)
    if len(mentions) != 1 or wrong is None or not _REFERS.match(sentence) or _MENTION.search(sentence):
        return None
    return None if _CONCLUDES.search(sentence, 0, wrong.start()) else _number(mentions[0], mistaken)


def _wrong(sentence: str) -> re.Match[str] | None:
    """The first word that calls something wrong, and is not denied."""
    return next((m for m in _WRONG.finditer(sentence) if not _negation(sentence, m.start())), None)


def _blamed_by(sentence: str, mistaken: Sequence[str]) -> int | None:
    mentions = list(_MENTION.finditer(sentence))
    if (excepted := _EXCEPT.search(sentence)) and _RIGHT.search(sentence):
        return _number(found, mistaken) if (found := _MENTION.search(sentence, excepted.end())) else None
    wrong = _wrong(sentence)
    if wrong is None:
        of_it = next((m for m in mentions if _BLAMES.match(sentence, m.end())), None)
        return _number(of_it, mistaken) if of_it else None
    if not mentions:
        return next((k for q in _QUOTE.findall(sentence) if (k := quoted_step(q, mistaken)) is not None), None)
    start = max((m.end() for m in _CLAUSE.finditer(sentence, 0, wrong.start())), default=0)
    stop = found.start() if (found := _CLAUSE.search(sentence, wrong.end())) else len(sentence)
    before = [m for m in mentions if m.start() < wrong.start()]
    after = [m for m in mentions if m.start() >= wrong.start()]
    if before and before[-1].start() >= start:
        return _number(before[-1], mistaken)
    if after and after[0].start() < stop:
        return _number(after[0], mistaken)
    # in another clause: "In step 2, ...", but no conclusion drawn from a step, and no step of a solution
    if before and _OPENS.match(sentence[: before[0].start()]) and len(before) == 1:
        return None if _CONCLUDES.search(sentence, before[0].end(), wrong.start()) else _number(before[0], mistaken)
    if not after or (_LABEL.match(sentence, after[0].end()) and not _IN.search(sentence[: after[0].start()])):
        return None
    return _number(after[0], mistaken)


def _negation(sentence: str, at: int) -> re.Match[str] | None:
    """The negation of a word: before it, in its clause, and near."""
    start = max(0, at - _WINDOW)
    start = max((m.end() for m in _CLAUSE.finditer(sentence, start, at)), default=start)
    return _NEGATION.search(sentence, start, at)


def _number(mention: re.Match[str], mistaken: Sequence[str]) -> int | None:
    if mention["digits"]:
        return int(mention["digits"])
    if mention["word"]:
        return 1 + _WORDS.index(mention["word"].lower())
    name = mention["ordinal"].lower()
    return 1 + _ORDINALS.index(name) if name in _ORDINALS else len(mistaken) or None


def mentioned(text: str, mistaken: Sequence[str]) -> tuple[int, str] | None:
    """The first step that a text mentions, and what follows."""
    found = _MENTION.search(text)
    number = _number(found, mistaken) if found else None
    return (number, text[found.end() :]) if found and number is not None else None


def quoted_step(text: str, mistaken: Sequence[str]) -> int | None:
    """The one step whose words a text repeats."""
    said = set(words(text))
    if len(said) < _FEW_WORDS:
        return None
    shares = [len(said & set(words(step))) / len(said) for step in mistaken[:_MAX_STEPS]]
    like = [k for k, share in enumerate(shares, start=1) if share >= _QUOTED]
    return like[0] if len(like) == 1 else None


def is_verdict(text: str) -> bool:
    """Whether what stands behind a step's label is a judgement of it."""
    return bool(_CALLED_WRONG.match(text) or _CALLED_RIGHT.match(text))


def complains(text: str) -> bool:
    """Whether a text speaks of something that is not as it should be, or of the step as such."""
    if _OF_THE_STEP.search(text):
        return True
    return bool(_wrong(text) or _COMPLAINT.search(text))


def names_none(heading: str) -> bool:
    """Whether the text behind "Incorrect Step:" is "None", or the like."""
    return bool(_NONE.match(heading))


def denies(lines: Sequence[str]) -> bool:
    """Whether any of these lines says that there is no mistake, or that all is right; of labelled ones the verdicts."""
    for line in lines:
        label = step_label(line)
        if label and not is_verdict(label[1]):
            continue
        if label and _CALLED_RIGHT.match(label[1]):
            return True
        for sentence in _SENTENCE_END.split(line):
            if _RIGHT.search(sentence) or any(_negation(sentence, m.start()) for m in _WRONG.finditer(sentence)):
                return True
    return False


def only_denies(text: str) -> bool:
    """Whether an explanation says that nothing is wrong, and nothing else that would be."""
    if not denies([text]):
        return False
    rest, start = [], 0
    for wrong in _WRONG.finditer(text):
        negation = _negation(text, wrong.start())
        if negation is None:
            return False
        rest.append(text[start : negation.start()])
        start = wrong.end()
    return not _PARTLY.search(text) and not _COMPLAINT.search(" ".join([*rest, text[start:]]))


def says_more_than_which(text: str) -> bool:
    """Whether a text says what is wrong, beside which step is."""
    bare = _WRONG.sub(" ", _MENTION.sub(" ", text))
    return len(words(text)) > _FEW_WORDS and len([w for w in words(bare) if w not in _FILLER]) > _FEW_WORDS // 2


def words(text: str) -> list[str]:
    """The words of a text as they are compared."""
    return re.findall(r"\w+", text.lower())
