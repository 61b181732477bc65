r"""Ans(.): the final answer of a text, and whether it is the reference's. Pure and fast; the one grader of the project.

Everything downstream stands on this module: mistakes, corrections, training data, results. It decides by exact
arithmetic (number), by one spelling (latex) and by letter or text (choice); what needs algebra is left to grading.py.

    >>> extract_answer("Step 2: 9 * 2 = 18 dollars. The answer is $18.\n\nQuestion: Tom has 3", "number")
    '18'
    >>> is_correct("18.00", "18", "number"), is_correct(r"\dfrac12", "1/2", "latex"), is_correct(None, "0", "number")
    (True, True, False)
"""

import re
from collections.abc import Iterator

from lema_local.answers import equations, formulas, latex_notation, latex_values, numerals, options
from lema_local.answers.reasoning import without_reasoning
from lema_local.records.types import AnswerKind

OR_ELSE = r" \text{ or else } "  # between two references of which either is right
_SEGMENT = 2_000  # characters after a marker that are looked at
_TRIES = 8  # occurrences of a marker, from the last, that are tried
_Span = tuple[int, int, int]  # where a marker stands, where its statement starts and ends; a box has -1, -1

_NEW_QUESTION = re.compile(
    r"(?:\n|(?<=[.!?}$]) )[ \t>#*]{0,8}(?:Question|Q)(?P<numbered>[ \t]?\d{1,4})?[ \t]?(?:\*\*)?:"
    r"|\n[ \t>#*]{0,8}(?:Human|User|Instruction|(?P<restated>Problem|Exercise)(?:[ \t]?\d{1,4})?)[ \t]?(?:\*\*)?:"
    r"|<\|im_end\|>|<\|endoftext\|>|<\|eot_id\|>|</s>"
)
_GIVEN = ("nswer is", "####", "\\boxed")
_ANSWER_IS = re.compile(
    # "the answer to the question is", "the answer (in dollars) is", "the answer, then, is", "the answer choice is"
    r"(?i:answer)s?(?: (?i:choice|option))?"
    r"(?:[ \t](?:to|for|of|in)\b[^.:\n=]{1,120}?|[ \t]?\([^()\n]{1,60}\)|,[^.,:\n=]{1,60},)??"
    r"(?: therefore| then| thus)?\**:?\**\s+"
    r"(?i:is|are|(?:would|will|should|must|has to|have to) be|equals)(?![a-z])\s*:?"
    r"(?:\s(?:therefore|then|thus|simply|just|indeed)\b,?)?(?:\s?_{3,}\.?)?"
)
_ANSWER_COLON = re.compile(r"(?i:answer)s?\s?(?:\*{0,2}\s?[:=]|\s?\*\*\s*\n|\s?\}\s?:|\s?\}?\*{0,2}\n)\s?\}?\*{0,2}")
_NESTED = re.compile(  # "the final answer is: ANSWER: 18", "#### Answer: 18"
    r"[\s:*$#]*(?:\\[\[(]\s*)?(?:\\(?:text|textbf|mathrm)\s?\{\s?)?"
    r"(?i:(?:the |final |correct ){0,2}answer)\**\s?(?:is\b|:)\s?:?\s?\}?\**"
)
_FINAL = re.compile(r"(?:final|correct)\s+\**$", re.IGNORECASE)
_FORMULA = re.compile(r"[\d\\^_=$()\[\]+]|(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
_REMARK = re.compile(
    r"(?:correct|right|wrong|incorrect|reasonable|valid|consistent|given|found|obtained|positive|negative)\b",
    re.IGNORECASE,
)
# "This answer is reasonable because ...", "the other answers are incorrect, since ...": gives none. Without a reason it
# may: "the answer is wrong, it is 40", "the answer is correct: 18", and "right" may be a choice.
_JUDGES = re.compile(
    r"[\s:*]*(?:(?:also|indeed|all|both) )?"
    r"(?:correct|right|wrong|incorrect|reasonable|valid|consistent|supported|sensible),? (?:because|since|as)\b",
    re.IGNORECASE,
)
_MANY_PIECES = re.compile(r"(?:\S+\s+){9}")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_LEAD = re.compile(r"^(?:[\s:*$_]|\\[\[(])+")
_HEADING = re.compile(
    r"#{4,}[ \t]*\**(?:\d{1,2}[.):][ \t]+\**[A-Za-z\\]"
    r"|(?i:step|part|case|method|approach|section|option)\b[ \t]*\w{0,3}\**[ \t]*[:.-]"
    r"|[A-Za-z][^\n:]{0,80}:\**[ \t]*(?:\n|$))"
)
_IS_THE_ANSWER = re.compile(r"[^.!?\n]{1,80}(?P<verb> (?:is|was) the (?:final |correct )?\**)$")
_OPTION_IS = re.compile(
    r"(?i:(?:correct|best|right) (?:option|choice)|(?:my|our) (?:selection|choice))\**\s+(?i:is|would be)(?![a-z])\s*:?"
)
_DENIED = re.compile(r"\s*\**not\b(?![^.\n]{1,40}\bbut\b)")
_A_COLON = re.compile(r"(?:^|\n)[ \t>#*]{0,6}A\d{0,3}[ \t]?(?:\*\*)?:")
_LETTER_ALONE = re.compile(r"\(?([A-F])\)?")
_LETTERED = re.compile(
    r"[\s$]*(?:\\(?:text|textbf|mathrm|mathbf)\s?\{\s?)?\(([A-F])\)"
)  # "(C) Plane", "\\textbf{(C)} 5"
_SHORT_NUMBER = re.compile(r"[\s$*£€]*[-+]?[\d.,/%]{1,40}[^\d=]{0,40}$")


def extract_answer(text: str, kind: AnswerKind, *, anywhere: bool = False) -> str | None:
    r"""The final answer that a text gives, or None.

    Looked for after "the answer is", "final answer", `####` and inside `\boxed{}`; the last of them that holds an
    answer counts, because a text that says two things has changed its mind. "A:" and "Answer:" count only where none
    of these stands. Reasoning is not read, and where it never closed there is no answer (reasoning.py); the text ends
    where the model starts a "Question:" of its own.

    Without any marker the answer is None: a run that mines mistakes must not take the last number of an unfinished text
    for an answer. Who compares with a harness that does (most labels of chat models that were asked for no format were
    made so) passes `anywhere`: the last number or formula is then read where there is no marker at all.

    Never raises for what a text holds: replies are stored facts, and one that raised would end every command for good.
    """
    try:
        return _extract(text, kind, anywhere)
    except Exception:  # a fault of ours
        return None


def _extract(text: str, kind: AnswerKind, anywhere: bool) -> str | None:
    own = without_reasoning(text)
    if own is None:
        return None
    text = _before_next_question(own)
    words = None
    for segment, is_box, begins in _statements(text, kind):
        answer = _read(segment, kind, is_box=is_box, begins=begins)
        if answer is None:
            continue
        # "the answer is positive, because ..." beside a box or a formula is a remark
        if kind == "latex" and not is_box and ((remark := _is_remark(answer)) or not _FORMULA.search(answer)):
            words = words or (None if remark else answer)
            continue
        if kind != "latex" and not is_box and _JUDGES.match(segment):
            words = words or answer
            continue
        return answer
    if words is not None:
        return words
    if anywhere:
        if kind == "number":
            return numerals.last_number(text)
        if kind == "latex":
            return formulas.last_formula(text) or numerals.last_number(text)
        return options.last_option(text[-_SEGMENT:])
    return None


def _is_remark(answer: str) -> bool:
    """Whether a statement is a sentence about the answer; a long polynomial is none."""
    if _REMARK.match(answer):
        return True
    return bool(_MANY_PIECES.match(answer)) and len(_WORD.findall(answer[:_SEGMENT])) > 3


def is_correct(answer: str | None, reference: str, kind: AnswerKind) -> bool:
    """Whether an answer is the reference's, by exact and normalised comparison only. A missing answer never is."""
    return compare(answer, reference, kind)[0] is True


def compare(answer: str | None, reference: str, kind: AnswerKind) -> tuple[bool | None, str]:
    """What this module can decide, and by which rule (grading.py lists them). None: only algebra can decide.

    Never raises for what the texts hold: "not decided: failed" is a fault of ours.
    """
    if answer == reference and answer.strip():
        return True, "exact"
    try:
        if OR_ELSE not in reference:
            return _compare(answer, reference, kind)
        found = [_compare(answer, one, kind) for one in alternatives(reference)]
    except Exception:
        return False, "not decided: failed"
    return next((one for one in found if one[0]), next((one for one in found if one[0] is None), found[0]))


def alternatives(reference: str) -> list[str]:
    """The answers of which a reference takes any: mostly one."""
    return reference.split(OR_ELSE) if OR_ELSE in reference else [reference]


def _compare(answer: str | None, reference: str, kind: AnswerKind) -> tuple[bool | None, str]:
    if answer is None or not answer.strip():
        return False, "missing"
    if kind == "number":
        same = numerals.same_number(answer, reference)
        if same is None:
            return options.phrase(answer) == options.phrase(reference), "normalised"
        if not same and not answer.isdigit() and numerals.value_of(answer) is None:
            return latex_values.compare(*map(latex_notation.normalise, (answer, reference))) is True, "evaluated"
        return same, "exact"
    if kind == "choice":
        return options.same_option(answer, reference), "normalised"
    return _compare_latex(answer, reference)


def _before_next_question(text: str) -> str:
    """A reply up to a question that the model made up, or the end of its turn."""
    # ten times as fast as one pattern for all of them
    if (
        ("Q" in text or "Problem" in text or "Exercise" in text)
        or ("<" in text and ("<|" in text or "</s>" in text))
        or "Human" in text
        or "User" in text
        or "Instruction" in text
    ):
        # found once, not for each question: a text may hold thousands of them
        begun = len(text) - len(text.lstrip())
        given = min((at + len(mark) for mark in _GIVEN if (at := text.find(mark)) >= 0), default=len(text))
        for match in _NEW_QUESTION.finditer(text):
            # "Question 6: yes" may list parts of the problem itself, "Problem:" say it again, until an answer is given
            may_list = match["numbered"] or match["restated"]
            if begun < match.start() and (not may_list or given <= match.start()):
                return text[: match.start()]
    return text


def _statements(text: str, kind: AnswerKind) -> Iterator[tuple[str, bool, bool]]:
    """What follows each marker, most trusted first; whether it is the content of a box, and begins a sentence."""
    strong: list[_Span] = []
    weak: list[_Span] = []
    _find_answers(text, strong, weak)
    if (at := _last_result(text)) >= 0:
        strong.append((at, at + 4, at + 4 + _SEGMENT))
    if (at := text.rfind("<answer>")) >= 0:
        end = text.find("</answer>", at)
        strong.append((at, at + 8, end if end >= 0 else at + 8 + _SEGMENT))
    if (box := max(text.rfind("\\boxed"), text.rfind("\\fbox"))) >= 0:
        strong.append((box, -1, -1))
    if kind != "number" and ("option" in text or "choice" in text or "selection" in text):
        strong.extend((m.start(), m.end(), m.end() + _SEGMENT) for m in list(_OPTION_IS.finditer(text))[-_TRIES:])
    if len(strong) > 1:
        strong.sort(reverse=True)
    for _, start, end in strong:
        if start < 0:
            if (content := formulas.boxed(text)) is not None:
                yield content, True, True
        else:
            begins = kind == "choice" and text[max(0, start - 6) : start].rstrip(" *_}")[-1:] in ":\n#"
            yield _unnested(text[start : min(end, start + _SEGMENT)]), False, begins
    if not weak and "A" in text:
        weak.extend((m.start(), m.end(), m.end() + _SEGMENT) for m in list(_A_COLON.finditer(text))[-_TRIES:])
        weak.reverse()
    for _, start, end in weak:
        segment = _unnested(text[start:end].strip())
        line = segment.split("\n", 1)[0]
        # "A: There are 5 trees. Then ..." is reasoning, "A: 18 dollars" is an answer
        if len(line) <= 60 or _SHORT_NUMBER.match(line) or line.startswith(("$", "\\(")):
            yield line, False, True


def _find_answers(text: str, strong: list[_Span], weak: list[_Span]) -> None:
    at = len(text)
    has_capitals = "NSWER" in text
    for _ in range(_TRIES):
        capitals_at = text.rfind("NSWER", 0, at) if has_capitals else -1
        at = max(text.rfind("nswer", 0, at), capitals_at)
        if at < 1:
            return
        if match := _ANSWER_IS.match(text, at - 1):
            if not _DENIED.match(text, match.end()):
                strong.append((at, match.end(), match.end() + _SEGMENT))
        elif match := _ANSWER_COLON.match(text, at - 1):
            is_final = _FINAL.search(text, max(0, at - 12), at - 1)
            (strong if is_final else weak).append((at, match.end(), match.end() + _SEGMENT))
        elif text.find("s the ", max(0, at - 24), at) >= 0 and (
            match := _IS_THE_ANSWER.search(text, max(0, at - 120), at - 1)
        ):
            weak.append((at, match.start(), match.start("verb")))


def _last_result(text: str) -> int:
    """Where the last `####` stands that is no heading ("#### Step 2: Add up", "#### 1. Count"); -1 without one."""
    at = len(text)
    for _ in range(_TRIES):
        at = text.rfind("####", 0, at)
        if at < 0 or not _HEADING.match(text, at):
            return at
    return -1


def _unnested(segment: str) -> str:
    """The statement without a second marker at its start."""
    match = _NESTED.match(segment)
    return segment[match.end() :] if match else segment


def _read(segment: str, kind: AnswerKind, *, is_box: bool, begins: bool) -> str | None:
    if kind == "number":
        if "boxed" in segment and (content := formulas.boxed(segment.split("\n\n", 1)[0])) is not None:
            segment, is_box = content, True
        return numerals.read_number(_LEAD.sub("", segment, count=1), is_formula=is_box)
    if kind == "latex":
        return segment if is_box else formulas.statement(segment)
    return options.read_option(segment, begins=begins)


def _compare_latex(answer: str, reference: str) -> tuple[bool | None, str]:
    if latex_notation.same_notation(answer, reference):
        return True, "normalised"
    wanted, given = latex_notation.normalise(reference), latex_notation.normalise(answer)
    if _is_numeric(wanted) and _is_numeric(given):
        # normalising drops the percent sign, which has a meaning here
        percents = ["%" if "%" in text else "" for text in (answer, reference)]
        same = numerals.same_number(given + percents[0], wanted + percents[1])
        if same is not None and numerals.value_of(given) is not None:
            return same, "exact"
    if (letter := _LETTER_ALONE.fullmatch(wanted)) and (option := _LETTERED.match(answer)):
        return letter[1] == option[1], "normalised"
    if latex_notation.is_words(wanted) or latex_notation.is_words(given):
        # a list of words has no order: "red and blue"
        phrases = [sorted(map(options.phrase, text.split(","))) for text in (given, wanted)]
        return phrases[0] == phrases[1], "normalised"
    given, wanted = equations.values(given, wanted)
    if latex_notation.is_other_sort(given, wanted):
        return False, "normalised"
    same = latex_values.compare(given, wanted)
    if same is not True and latex_values.is_rounding(given, wanted):
        same = True
    return same, "evaluated" if same is not None else ""


def _is_numeric(normalised: str) -> bool:
    """One rational number, and nothing else."""
    return bool(normalised) and bool(
        re.fullmatch(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:\\frac\{-?\d+\}\{-?\d+\})?", normalised)
    )
