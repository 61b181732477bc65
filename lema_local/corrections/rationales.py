"""Reference solutions and model rationales as steps, and steps as training text.

A reference solution comes in the dress of its data set: GSM8K's calculator notes, a markdown list, LaTeX. Training
wants one plain paragraph, correction wants numbered steps, and both must agree on what a step is. A line of GSM8K

    Natalia sold 48/2 = <<48/2=24>>24 clips in May.

becomes the step

    Natalia sold 48 / 2 = 24 clips in May.

Model text passes through split_steps, so its patterns are linear and its input is bounded.
"""

import re
from collections.abc import Sequence

from lema_local.corrections.reply_text import own_text
from lema_local.records.types import Problem

# A reply of 2,048 tokens is under 16,000 characters of prose; the rest of a longer one is noise or an attack.
_MAX_MODEL_CHARACTERS = 40_000

_CALCULATOR_NOTE = re.compile(r"<<[^<>\n]*>>")  # format from openai/grade-school-math
_FIGURE = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)", re.DOTALL)  # MATH draws in Asymptote, which nobody reasons with
_LATEX = re.compile(r"\\[A-Za-z(\[]")
_HEADING = re.compile(r"#{1,6}(?:\s|$)|-{3,}$|\*{3,}$")
_BULLET = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+(?=\S)")
_SPACES = re.compile(r"\s+")
_DOUBLED_STOP = re.compile(r"(?<!\.)\.\.(?!\.)")
_POINT_ZERO = re.compile(r"(?<=\d)\.0(?!\d)")
# A formula may hold its sentence's stop: "so $x = 5.$ Then", "\[x = 5.\]Then". What ends "5!$" is a factorial.
_SENTENCE_END = re.compile(r"(?:[.!?][\"')\]”’]*\s+|[.?](?:\$\s+|\\\)\s+|(?:\$\$|\\\])\s*))(?=[\"'(“‘\[]?[A-Z0-9$€£])")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'])(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|vs|No|Prof|Mt|Fig|Eq|approx|[A-Z]|[A-Za-z]\.[A-Za-z])$"
)
_ENDS_WITH_MARK = re.compile(r"(?:[.!?:;,…][\"')\]”’*]*|[.?:;,…](?:\$\$?|\\[\])]))$")
_ANSWER_SENTENCE = re.compile(
    r"(?:^|(?<=[.!?:;,] )|(?<=[.!?][\"')\]”’$] )|(?<=[.?](?:\$\$|\\[\])]) ))"
    r"The (?:final )?answer is(?:[^.!?]|\.(?=\d)){1,80}[.!?]?$",
    re.IGNORECASE,
)

# A run is a stretch of text that could be arithmetic: digits, operators, brackets, currency, one-letter variables.
_RUN = re.compile(r"(?:[0-9$€£%()+*/=.,×÷ -]|(?<![A-Za-z])[A-Za-z](?![A-Za-z]))+")
_RUN_BREAK = re.compile(r"(?<=[.,]) ")
_UNITS_THEN_EQUALS = re.compile(r"[A-Za-z' ]{0,40}=")
_EQUALS = re.compile(r"(?<![<>!=≤≥])\s*(?<![<>!=])=(?!=)\s*")
_PLUS = re.compile(r"(?<=[\w)%\]])\s*\+\s*(?=[\d$€£(]|\.\d)|(?<=[\d)%\]])\s*\+\s*(?=-[\d$(.])|(?<=\w)\+(?=\w)")
_TIMES = re.compile(r"(?<=[\w)%\]])\s*\*\s*(?=-?(?:[\d$€£(]|\.\d))|(?<=[\w)%\]])\*(?=\w)")
_LEFT, _RIGHT = r"(?:(?<=[\d)%\]])|(?<=(?<![A-Za-z])[A-Za-z]))", r"(?=-?[$€£]?(?:[\d(]|\.\d)|[A-Za-z](?![A-Za-z]))"
_MINUS = re.compile(rf"{_LEFT} ?- ?{_RIGHT}")
_OVER = re.compile(rf"{_LEFT} ?/ ?{_RIGHT}")

_STEP_LINE = re.compile(
    r"[\s>#*_•-]{0,12}(?:correct(?:ed)? )?step[ \t]{1,3}[*_#]{0,3}(\d{1,3})[*_]{0,2}(?: ?\([^()\n]{1,40}\))?[*_]{0,2}"
    r"[ \t]{0,3}[:.)-][ \t*_]{0,6}(.*)",
    re.IGNORECASE,
)
_INLINE_STEP = re.compile(r"(?<=[.!?])[ \t]{1,3}(?=(?:\*\*)?Step \d{1,3}(?:\*\*)?:)")
_NEW_PROBLEM = re.compile(
    r"[\s>#*_-]{0,12}(?:question|problem|original solution|incorrect step|\})(?:[*_]{0,2}:|\s*$)", re.IGNORECASE
)


def solution_steps(solution: str) -> list[str]:
    """The sentences of a reference solution, clean: one step each, in order.

    Calculator notes, the `####` line, headings, bullets, emphasis and blank lines go; plain arithmetic gets spaces
    around its operators. LaTeX keeps its own spacing, and its line ends count as spaces: a formula may
    span lines.
    """
    if _LATEX.search(solution):
        return _sentences(_SPACES.sub(" ", _FIGURE.sub(" ", solution)).strip())
    steps: list[str] = []
    opened: list[str] = []  # "Each pile has 10 coins, so he has:" belongs to the line below it
    for line in _CALCULATOR_NOTE.sub("", solution).splitlines():
        text = line.strip().replace("**", "")
        if not text or _HEADING.match(text):
            continue
        item = _BULLET.sub("", text, count=1)
        if text.endswith(":") and (item != text or "step by step" in text.lower()):
            continue  # "1. Amounts bought:" is a heading without number signs
        opened.append(item)
        if not item.endswith((":", ",", ";")):
            steps += _clean_sentences(" ".join(opened))
            opened = []
    return [*steps, *_clean_sentences(" ".join(opened))]


def gold_output(problem: Problem) -> str | None:
    """The CoT training text of a problem's reference solution; None where there is no solution.

    One paragraph that ends "The answer is {answer}.", by the rule that LeMa uses for GSM8K's gold rationales.
    """
    steps = solution_steps(problem.solution or "")
    if not steps:
        return None
    final = f"The answer is {answer_text(problem)}."
    # The solution may say it already, in its own spelling; and nothing may run on into the final sentence.
    paragraph = _ANSWER_SENTENCE.sub("", join_steps(steps)).rstrip(" ,;:")
    return join_steps([paragraph, final])


def answer_text(problem: Problem) -> str:
    """The reference answer as training text says it: commas leave a number."""
    return problem.answer.replace(",", "") if problem.kind == "number" else problem.answer


def split_steps(text: str) -> list[str]:
    """The bodies of a rationale written as "Step 1: ...", "Step 2: ..."; [] where no step can be read.

    Markdown around the label is tolerated, lines without a label belong to the step above. Reading stops at the first
    number that does not follow, at an empty step, and where the model starts a new question.
    """
    bodies: list[list[str]] = []
    own = (own_text(text) or "")[:_MAX_MODEL_CHARACTERS]
    for line in lines_of_steps(own).splitlines():
        label = step_label(line)
        if label is None:
            if bodies and _NEW_PROBLEM.match(line):
                break
            if bodies and line.strip():
                bodies[-1].append(line.strip())
            continue
        if label[0] != len(bodies) + 1:
            break
        bodies.append([label[1]])
    steps: list[str] = []
    for body in bodies:
        step = _SPACES.sub(" ", " ".join(body)).replace("**", "").strip()
        if not any(character.isalnum() for character in step):
            break
        steps.append(step)
    return steps


def lines_of_steps(text: str) -> str:
    """A text with each "Step k:" that follows a sentence on a line of its own."""
    if " Step " in text or "\tStep " in text or "**Step " in text:  # the pattern takes as long as all the rest
        text = _INLINE_STEP.sub("\n", text)
    return text


def step_label(line: str) -> tuple[int, str] | None:
    """(2, "9 * 2 = 18") for a line like "**Step 2:** 9 * 2 = 18", None for one without a label."""
    label = _STEP_LINE.match(line)
    return (int(label[1]), label[2].strip()) if label else None


def number_steps(steps: Sequence[str], *, first: int = 1) -> str:
    """Steps as lines "Step 1: ...", "Step 2: ...", the form that corrections and few-shot rationales use."""
    return "\n".join(f"Step {k}: {_SPACES.sub(' ', step).strip()}" for k, step in enumerate(steps, start=first))


def join_steps(steps: list[str]) -> str:
    """Steps as one paragraph, each closed by a full stop unless it has a mark of its own: the form of a CoT output."""
    texts = [_SPACES.sub(" ", step).strip() for step in steps]
    return " ".join(text if _ENDS_WITH_MARK.search(text) else f"{text}." for text in texts if text)


def _clean_sentences(text: str) -> list[str]:
    return _sentences(_space_operators(_POINT_ZERO.sub("", _DOUBLED_STOP.sub(".", text))))


def _sentences(text: str) -> list[str]:
    """Split after . ! ? where a new sentence plainly starts; abbreviations and initials do not end one."""
    sentences: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        head = text[start : end.start()]
        if text[end.start()] == "." and (_ABBREVIATION.search(head[-12:]) or head.endswith("..") or not head.strip()):
            continue
        sentences.append(text[start : end.end()].strip())
        start = end.end()
    tail = text[start:].strip()
    return [*sentences, tail] if tail else sentences


def _space_operators(text: str) -> str:
    """Spaces around + * = always, around - and / only in an equation.

    "48/2 = 24" is a division; "24/7", "1/2 of it", "5/12/2020", "10-15 minutes" and "and/or" stay as they are.
    """
    text = _EQUALS.sub(" = ", _SPACES.sub(" ", text))  # single spaces first: keeps the patterns below linear
    text = _TIMES.sub(" * ", _PLUS.sub(" + ", text))
    return _SPACES.sub(" ", _RUN.sub(_space_run, text)).strip()


def _space_run(run: re.Match[str]) -> str:
    parts = _RUN_BREAK.split(run[0])
    last = len(parts) - 1
    for i, part in enumerate(parts):
        goes_on = i == last and _UNITS_THEN_EQUALS.match(run.string, run.end())
        if goes_on or any(operator in part for operator in "=+*×÷"):
            parts[i] = _OVER.sub(" / ", _MINUS.sub(" - ", part))
    return " ".join(parts)
