r"""Where the formulas of an answer stand in a text: boxes, math delimiters, sentences.

>>> boxed(r"so \boxed{\frac{1}{2}}."), boxed(r"the solutions are $\boxed{-2}$ and $\boxed{1}$")
('\\frac{1}{2}', '-2, 1')
"""

import re

MAX_ANSWER = 4_000  # characters; a longer "answer" is a text, and is compared as it stands

_ANSWER_LABEL = re.compile(r"^\\text(?:bf)?\s?\{[^{}]{0,20}answer[^{}]{0,5}\}\s*:?\s*", re.IGNORECASE)
_CONNECTOR = re.compile(
    r"(?:[\s$,;.]|\\text\s?\{\s?(?:and|or)\s?\}|\band\b|\bor\b|\\(?:quad|,|\(|\))|[a-z]\s?=\s?){0,12}", re.IGNORECASE
)
_MATH = re.compile(
    r"\$\$([^$]{1,2000})\$\$|(?<!\\)\$((?:[^$\\]|\\.){1,2000})\$|\\\((.{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]", re.DOTALL
)
# what stands between boxes that make one list; a comma or a word must be among it
_LIST_GAP = re.compile(
    r"(?:[\s$.&*]|(?P<joined>[,;]|\\text\s?\{\s?,?\s?(?:and|or)\s?\}|\band\b|\bor\b)|\\q?quad|\\[,;() \[\]\\]"
    r"|\\?[a-z](?:_\w)?\s?=\s?){1,24}"
)
_IS = re.compile(r"\b(?:is|are|equals)\s*:?\s*$")
_SENTENCE_END = re.compile(r"[.!?](?=\s+[A-Z]|\s*$|\*)|\n\s*\n")


def boxed(text: str) -> str | None:
    r"""The content of the last \boxed{} or \fbox{} that holds anything; of several that make one list, the list.

    The last opening whose braces close within MAX_ANSWER characters counts; `\boxed 5` is read as 5.
    """
    found: list[str] = []
    end = begun = len(text)
    for _ in range(20):
        start = max(text.rfind("\\boxed", 0, end), text.rfind("\\fbox", 0, end))
        if start < 0:
            break
        content, after = _braced(text, start)
        if found:
            gap = _LIST_GAP.fullmatch(text, after, begun) if content and 0 <= begun - after <= 80 else None
            if gap is None or gap["joined"] is None:
                break
        if content:
            begun = start
            if content not in found:
                found.insert(0, content)
        end = start
    return ", ".join(found) or None


def _braced(text: str, start: int) -> tuple[str, int]:
    """The group that follows a \\boxed at `start`, and where it ends; empty where it does not close."""
    at = start + (6 if text.startswith("\\boxed", start) else 5)
    while at < len(text) and text[at] in " \n":
        at += 1
    if not text.startswith("{", at):
        bare = re.compile(r"-?[0-9a-zA-Z.]{1,40}").match(text, at)
        return (bare[0].rstrip("."), bare.end()) if bare and at > start + 6 else ("", at)
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, at, min(len(text), at + MAX_ANSWER)):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return text[at + 1 : match.start()].strip(), match.end()
    return "", at


def statement(segment: str) -> str | None:
    """The mathematical expression that a statement gives: its formulas where it has any, else its words."""
    text = segment.strip().lstrip(":= \n*_").strip()
    if text.startswith(("is ", "is:")):
        text = text[3:].lstrip()
    matches: list[str] = []
    end, is_sentence = 0, False
    for match in _MATH.finditer(text):
        gap = text[end : match.start()]
        if not end:
            is_sentence = len(gap.split()) > 1 and not _IS.search(gap)
        if matches and not _CONNECTOR.fullmatch(gap):
            if not is_sentence or not _IS.search(gap) or _SENTENCE_END.search(gap):
                break
            matches, is_sentence = [], False  # "the value of $x$ is $5$"
        if not matches and _SENTENCE_END.search(gap):
            break
        matches.append(_ANSWER_LABEL.sub("", next(g for g in match.groups() if g is not None).strip()))
        end = match.end()
    if matches:
        return ", ".join(matches) + ("%" if text[end : end + 1] == "%" else "")
    line_end = _SENTENCE_END.search(text)
    text = (text[: line_end.start()] if line_end else text).split("\n", 1)[0]
    text = text.strip().strip("*").rstrip(".").strip()
    return text or None


def last_formula(text: str) -> str | None:
    """The last formula between math delimiters, in the last 4,000 characters."""
    found = list(_MATH.finditer(text[-MAX_ANSWER:]))
    return next(g for g in found[-1].groups() if g is not None).strip() if found else None
