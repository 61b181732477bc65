r"""The authors' rules for Ans(.), restated, so that our figures can stand beside the paper's.

Never the grade that a run acts on: it misreads answers in known ways, and those are the point of keeping it.

    >>> is_correct_authors("The answer is 5 and 10.", "510", "number")   # letters dropped, the rest run together
    True
    >>> is_correct_authors("#### 0", "0", "number"), is_correct_authors("**18**", "18", "number")   # missing is 0.0
    (True, False)

Known, from inference_code/utils.py and evaluation.py of microsoft/LEMA (MIT), described and written anew here:
- number: the text after the last "The answer is " (a colon after "is" allowed), up to a "\n\nQ: " or "\n\nQuestion: ";
  £, €, commas and $ go; what follows the last "=" (then the last ">>") counts; ASCII letters go; what follows ":" goes;
  a trailing % goes, a % elsewhere makes it 0; then arithmetic is evaluated; what fails, is empty or missing is 0.0.
- latex: the text after the last "The answer is ", else the last \boxed{}, up to the first "Q:" or "Question:", in a
  notation of their own (no spaces, \frac for tfrac and dfrac, 0.5 as \frac{1}{2}, a/b as \frac{a}{b}; units, degrees,
  % and a short left side of = removed), compared as text. Missing is "", which no reference is.
- the reference goes through the same reading, as the end of the text "The answer is {reference}."

Inferred, because the code at hand does not say, or our interface cannot know:
- SVAMP and ASDiv round both sides to two decimals, GSM8K does not. The data set is unknown here, so we round where the
  reference has a fraction of its own; a whole reference is compared as GSM8K's are.
- choice: the repository's snapshot has the call but not the function. Taken as: the option's letter or text follows the
  marker, compared without case.
- Python's eval is replaced by an evaluator for numbers, + - * / // ** and brackets, bounded in length and in size.
  What their eval would have accepted beside that (comparisons, strings) counts as failed, as does a power too large to
  wait for.
"""

import ast
import re
from functools import lru_cache

from lema_local.records.types import AnswerKind

_MARKER = "The answer is "
_LETTERS = str.maketrans("", "", "abcdefghijklmnopqrstuvwxyz")
_MAX_EXPRESSION = 200  # characters
_MAX_EXPONENT = 1_000


def is_correct_authors(text: str, reference: str, kind: AnswerKind) -> bool:
    """Whether the authors' evaluation would count this text as right. Never raises for what the texts hold."""
    try:
        return _is_correct(text, reference, kind)
    except Exception:  # a fault of ours: the text is a stored fact, and must not end every command
        return False


def _is_correct(text: str, reference: str, kind: AnswerKind) -> bool:
    if kind == "number":
        given, wanted = _read_number(text), _reference_number(reference)
        if not wanted.is_integer():
            return round(given, 2) == round(wanted, 2)
        return given == wanted
    if kind == "latex":
        wanted_text = _reference_notation(reference)
        return bool(wanted_text) and _read_notation(text) == wanted_text
    return _read_choice(text) == reference.strip().lower()


@lru_cache(maxsize=1 << 14)
def _reference_number(reference: str) -> float:
    return _read_number(f"{_MARKER}{reference}.")


@lru_cache(maxsize=1 << 14)
def _reference_notation(reference: str) -> str:
    return _read_notation(f"{_MARKER}{reference}.")


def _statement(text: str) -> str | None:
    """What stands after the last marker, to the end of the text."""
    _, marker, statement = text.replace("The answer is: ", _MARKER).rpartition(_MARKER)
    return statement if marker else None


def _read_number(text: str) -> float:
    for start in ("\n\nQ: ", "\n\nQuestion: "):
        text = text.split(start, 1)[0]
    statement = _statement(text)
    if statement is None:
        return 0.0
    plain = statement.removesuffix(".")
    if plain.isascii() and plain.isdigit() and len(plain) < 16:
        return float(plain)
    for sign in "£€":
        plain = plain.replace(sign, "")
    plain = plain.removesuffix(".").replace(",", "")
    for mark in ("=", ">>"):
        if mark in plain:
            plain = plain.rpartition(mark)[2].strip()
    plain = plain.lower().translate(_LETTERS).partition(":")[0].replace("$", "").replace('"', "")
    if "%" in plain:
        plain = plain.strip()
        if not plain.endswith("%"):
            return 0.0
        plain = plain.removesuffix("%")
    return _value(plain.removesuffix("/").replace(" ", ""))


@lru_cache(maxsize=1 << 14)
def _value(expression: str) -> float:
    """The value of what is left, or 0.0."""
    try:
        if any(operator in expression for operator in "+-*/"):
            return float(_evaluate(expression))
        return float(expression[:2_000])
    except (ValueError, ArithmeticError, SyntaxError, RecursionError, MemoryError):
        return 0.0


def _evaluate(expression: str) -> int | float:
    """Arithmetic, as Python reads it; ValueError for anything else."""
    # tried before parsing: the parser warns about odd strings, and its own limits are wide
    expression = expression.strip()
    if len(expression) > _MAX_EXPRESSION or not re.fullmatch(r"[\d.+*/()\s-]+", expression, re.ASCII):
        raise ValueError("not arithmetic")
    return _fold(ast.parse(expression, mode="eval").body)


def _fold(node: ast.expr) -> int | float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp):
        value = _fold(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if not isinstance(node, ast.BinOp):
        raise ValueError("not arithmetic")
    left, right = _fold(node.left), _fold(node.right)
    match node.op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return left // right
        case ast.Pow():
            if abs(right) > _MAX_EXPONENT or (isinstance(left, int) and left.bit_length() * abs(right) > 100_000):
                raise ValueError("too large")
            power = left**right
            if isinstance(power, int | float):
                return power
    raise ValueError("not arithmetic")


def _read_notation(text: str) -> str:
    for start in ("Q:", "Question:"):
        if start in text:
            text = text.split(start, 1)[0].strip()
    statement = _statement(text)
    if statement is None:
        answer = _last_box(text)
    else:
        answer = statement.strip().removesuffix(".").replace("$", "").strip()
        if "boxed{" in answer:
            answer = _last_box(answer)
    return "" if len(answer) > 10_000 else _notation(answer)


def _last_box(text: str) -> str:
    """The content of the last box; nothing for fbox, for `\\boxed 5` and for braces that do not close."""
    start = text.rfind("\\boxed")
    if start < 0 or not text.startswith("\\boxed{", start):
        return ""
    depth = 0
    for match in re.finditer(r"[{}]", text[start:]):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return text[start + len("\\boxed{") : start + match.start()]
    return ""


def _notation(answer: str) -> str:
    """Their spelling of an answer; "" where it would have failed."""
    answer = answer.replace("\n", "").replace("\\!", "").replace("\\\\", "\\")
    for name in ("tfrac", "dfrac"):
        answer = answer.replace(name, "frac")
    for dropped in ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$"):
        answer = answer.replace(dropped, "")
    if "\\text{ " in answer:
        if answer.count("\\text{ ") > 1:
            return ""
        answer = answer.partition("\\text{ ")[0]
    answer = answer.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if answer.startswith("."):
        answer = "0" + answer
    if answer.count("=") == 1 and answer.index("=") <= 2:
        answer = answer.partition("=")[2]
    if answer.endswith("\\sqrt") or "\\sqrt\\sqrt" in answer:
        return ""
    answer = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", answer, flags=re.DOTALL).replace(" ", "")
    if answer.endswith("\\frac") or "\\frac\\frac" in answer:
        return ""
    answer = re.sub(r"\\frac([^{\\])(?:([^{\\])|(?=\{))", _braced_fraction, answer)
    if answer == "0.5":
        return "\\frac{1}{2}"
    slash = re.fullmatch(r"(-?(?:0|[1-9]\d{0,4000}))/(-?(?:0|[1-9]\d{0,4000}))", answer, re.ASCII)
    return f"\\frac{{{slash[1]}}}{{{slash[2]}}}" if slash else answer


def _braced_fraction(match: re.Match[str]) -> str:
    return f"\\frac{{{match[1]}}}" + (f"{{{match[2]}}}" if match[2] is not None else "")


def _read_choice(text: str) -> str:
    statement = _statement(text)
    if statement is None:
        return ""
    return statement.split("\n", 1)[0].strip().removesuffix(".").strip().strip("()").lower()
