r"""The reference answer that a solution gives in its boxes, as MATH's solutions do.

Mostly the last box. In a few solutions of MATH (13 of the 5,000 of its test split) that is not the answer:

    the question asks for all solutions, "separated by commas", and each has a box of its own: the list of them
    a last box that is "also accepted": either of both, written `A \text{ or else } B` (answers/exact.py reads it)
    the question itself uses boxes as signs: what the solution calls the answer, in words

    >>> boxed_reference("Enter all solutions, separated by commas.", r"$x = \boxed{3}$ or $x = \boxed{-1}$")
    '3, -1'
"""

import re

from lema_local.answers.exact import OR_ELSE
from lema_local.answers.latex_notation import normalise

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?=[0-9A-Za-z]))")
_ASKS_FOR_SEVERAL = re.compile(r"separated by (?:a )?comma", re.IGNORECASE)
_ALSO_RIGHT = re.compile(r"\b(?:also|either)\b[^.]{0,40}\b(?:accept|correct)|\baccept", re.IGNORECASE)
_IN_WORDS = re.compile(r"\$([^$]{1,80})\$ is (?:our|the) answer")
_NEARBY = 100  # characters after the last box


def boxed_reference(question: str, solution: str) -> str | None:
    """The reference of a solution; None where it has no box that closes."""
    boxes = _boxes(solution)
    if not boxes:
        return None
    last, end = boxes[-1]
    if "\\boxed" in question and (said := _IN_WORDS.search(solution)):
        return said[1].strip()
    distinct = list({normalise(box): box for box, _ in boxes}.values())
    if len(distinct) > 1 and _ASKS_FOR_SEVERAL.search(question):
        return ", ".join(distinct)
    if len(distinct) == 2 and _ALSO_RIGHT.search(solution[end : end + _NEARBY]):
        return OR_ELSE.join(distinct)
    return last


def last_boxed(solution: str) -> str | None:
    r"""What stands in the last \boxed{...} of a solution, braces matched; MATH also writes \boxed 2 and \fbox{2}."""
    starts = list(_BOXED.finditer(solution))
    return _content(solution, starts[-1].end())[0] if starts else None


def _boxes(solution: str) -> list[tuple[str, int]]:
    """The content of each box that closes and holds anything, and where it ends; none where the last never closes."""
    found = [_content(solution, start.end()) for start in list(_BOXED.finditer(solution))[-12:]]
    if not found or found[-1][0] is None:
        return []
    return [(content, end) for content, end in found if content and not content.startswith("\\phantom")]


def _content(solution: str, begin: int) -> tuple[str | None, int]:
    if solution[begin - 1] != "{":
        return solution[begin : begin + 1], begin + 1
    depth = 1
    for end in range(begin, len(solution)):
        depth += {"{": 1, "}": -1}.get(solution[end], 0) * (solution[end - 1] != "\\")
        if depth == 0:
            return solution[begin:end].strip(), end + 1
    return None, len(solution)
