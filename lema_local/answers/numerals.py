"""The number that a piece of answer text states, and its exact value.

Here so that exact.py can stay about *where* an answer stands. Nothing is ever evaluated as Python: the text is
tidied (LaTeX, currency, thousands separators, markdown), one numeral is read off it, and its value is a Fraction.

    >>> read_number("**$1,250.50** per month")
    '1250.50'
    >>> read_number("20 - 8 - 7 = 5.")
    '5'
    >>> same_number("3 1/2", "3.5"), same_number("5 and 10", "510")
    (True, False)
"""

import ast
import re
from fractions import Fraction
from functools import lru_cache

MAX_SEGMENT = 400  # characters of a statement that are read; an answer is short
_MAX_DIGITS = 400
_SCALES = {"dozen": 12, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)"
)

# Every quantifier below is bounded or runs over one character class, so that each pattern is linear in its input.
_PLAIN = re.compile(r"[A-Za-z0-9 \n.%/'-]*")
_CHARACTERS = str.maketrans(
    {"−": "-", "–": "-", "—": " ; ", "×": "*", "·": "*", "÷": "/", "≈": "=", "£": " ", "€": " ", "¥": " ", "₹": " "}
    | dict.fromkeys("\xa0\u2009\u202f\u2007`\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2069\ufeff\x00", " ")
    | {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "％": "%"}
)
_LATEX = (
    (re.compile(r"\{,\}|,\\!"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|boldsymbol|mbox|rm|bf)\b"), " "),
    (re.compile(r"\\[dtc]?frac\s?(\d)\s?(\d)(?!\d)"), r" \1/\2"),
    (re.compile(r"\\[dtc]?frac\s?\{\s?(-?[\d.,]{1,40})\s?\}\s?\{\s?(-?[\d.,]{1,40})\s?\}"), r" \1/\2"),
    (re.compile(r"\\(?:times|cdot|ast)\b"), "*"),
    (re.compile(r"\\div\b"), "/"),
    (re.compile(r"\\(?:approx|simeq|equiv|implies|Rightarrow|to|rightarrow)\b|=>|->|→|⇒"), "="),
    (re.compile(r"\\(?:left|right|displaystyle|boxed|fbox|quad|qquad|circ|degree)\b|\\[()\[\],;: ]|~"), " "),
)
# stars are emphasis unless they stand between two operands, both spaced or both not: 9**2, 9 * 2, **9**
_EMPHASIS = re.compile(
    r"(?<![\d\s)*])\*{1,3}(?!\*)|(?<!\*)\*{1,3}(?![\d\s(*-])|(?<=\s)\*{2,3}(?=[^\s*])|^\*{1,3}|(?<!\w)_{1,2}|_{1,2}(?!\w)"
)
_DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}(?![\d.])|\d+(?::\d+)+|(?<![A-Za-z])"
    + _MONTH
    + r"\.? \d{1,2}(?:st|nd|rd|th)?\b(?:,? \d{4})?"
    r"|\d{1,2}(?:st|nd|rd|th)? (?:of )?" + _MONTH + r"(?![a-z])"
)
GROUPED = r"\d{1,3}(?:,\d{2,3}){0,6},\d{3}"  # 1,234,567; 12,34,567, as India groups
_THOUSANDS = re.compile(rf"(?<![\d.,]){GROUPED}(?![\d]|,\d)")
_SPACED = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3}){1,6}(?![\d/]|[.,:]?\d| /)")
_SENTENCE_END = re.compile(r"(?<!Rs)[.!?](?=\s|$)|\n| ; ")
_CLAUSE_END = re.compile(r"[,;(](?!\d)| (?:because|since|where|as|when|if|so|which|after|for)\b")

_REASON = re.compile(r" (?:because|since|where|as|when|if|so|which|after|for)\b")
_NUMERAL = re.compile(
    r"""(?<![\w.^])(?P<sign>(?<![\d)] )(?<![\d)])[-+]\s?)?(?<![A-Za-z_^])
    (?:(?P<whole>\d{1,18})(?:\ (?:and\ )?|-)(?P<top>\d{1,18})\ ?/\ ?(?P<bottom>\d{1,18})
      |(?P<number>\d+(?:\.\d+)?|\.\d+)
       (?:(?P<exponent>[eE][-+]?\d{1,3})(?!\w)|\ ?[*x]\ ?10\ ?(?:\^|\*\*)\ ?\{?(?P<power>[-+]?\d{1,3})\}?
         |\ ?/\ ?(?P<over>\d+(?:\.\d+)?))?)
    (?!\d|\.\d|[eE][-+]?\d)
    (?:\ ?(?P<percent>%|percent\b)|\ ?(?P<scale>thousand|million|billion|trillion|dozen)\b|(?P<kilo>[kK])(?!\w))?""",
    re.VERBOSE,
)
# what most answers look like; spares them everything below
_SIMPLE = re.compile(r"[ :$]{0,8}(-?(?:\d{1,3}(?:,\d{3}){1,5}|\d{1,15})(?:\.\d{1,9})?)\.?[ \t]{0,8}(?:\n|$)")
_LEAD = re.compile(
    r"[\s:=*_\"'({\[]*(?:(?:about|approximately|around|exactly|only|roughly|just|over|a total of|US|USD|Rs\.?)\s+"
    r"|[A-Za-z]\s?=\s?)?\(?"
)
_OPERATOR = re.compile(r"\s?(?:\*\*|[-+*/^]|x(?=[ \d]))\s?[\d(.{]")
_ALSO = re.compile(r",-?\d|(?:\s?[A-Za-z%]{1,20}){0,3}\s?(?:,|,? ?(?:and|or|&|to))\s+-?\d")
_AND_NAMED = re.compile(r"\s?(?:,|,? ?(?:and|or|&))\s+[A-Za-z]\s?=\s?-?\d{1,20}")  # x = 2, y = 5
_CONNECTOR = re.compile(r"\s?(?:,|,? ?(?:and|or|&|to))\s")
_MINUS = re.compile(r"(?<![\d)] )(?<!\w)(?:minus|negative) (?=\d)")
_ARITHMETIC = re.compile(r"[\d.+*/() x-]{1,100}")
_UP_TO_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_WORDS = {word: value for value, word in enumerate(_UP_TO_TWENTY.split(" "))}
_TENS = "thirty forty fifty sixty seventy eighty ninety".split(" ")  # noqa: SIM905 (one readable line)
_WORDS |= {word: 10 * n for n, word in enumerate(_TENS, start=3)}
_WORD_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
_BEFORE_WORDS = {"only", "about", "exactly", "approximately", "a", "an"}

Value = tuple[Fraction | int, Fraction | int | None]


def read_number(segment: str) -> str | None:
    """The number that a statement gives, written plainly: '1000', '-3', '1/4', '3 1/2', '25%', '2.5 million'.

    A chain of equalities gives its last side, unsolved arithmetic is returned as it stands ('12 + 6'), and two numbers
    side by side ('5 and 10') are returned together, since they are no single number. Dates, times and ratios are none.
    """
    if simple := _SIMPLE.match(segment):
        return simple[1].replace(",", "")
    text = _tidy(segment)
    end = _SENTENCE_END.search(text)
    text = text[: end.start()] if end else text
    lead = _LEAD.match(text)
    head = _NUMERAL.match(text, lead.end() if lead else 0)
    is_worked = head is not None and _OPERATOR.match(text, head.end()) is not None
    clause_end = (_REASON if is_worked else _CLAUSE_END).search(text, head.end()) if head else None
    clause = text[: clause_end.start()] if clause_end else text
    if "=" in clause:
        named = _AND_NAMED.match(text, len(clause))
        return text[: named.end()].strip() if named else _last_side(clause)
    if head is None:
        return _last_of(text) or _spelled(text)
    if is_worked:
        return _worked(text, head)
    return _several(text, head) or _plain(head)


def _several(text: str, head: re.Match[str]) -> str | None:
    """Two numbers side by side, as they stand: they are no single number."""
    also = _ALSO.match(text, head.end())
    if also is None:
        return None
    rest = _NUMERAL.match(text, also.end() - 1)
    return text[head.start() : rest.end() if rest else also.end()].strip()


def _last_of(text: str) -> str | None:
    """The last number of a sentence that does not start with one; "between 5 and 10" gives both.

    What follows "if", "because" and the like is not the answer, where a number stands before it.
    """
    first = _NUMERAL.search(text)
    reason = _REASON.search(text, first.end()) if first else None
    found = list(_NUMERAL.finditer(text, 0, reason.start() if reason else len(text)))
    if len(found) > 1 and _CONNECTOR.fullmatch(text, found[-2].end(), found[-1].start()):
        return text[found[-2].start() : found[-1].end()].strip()
    return _plain(found[-1]) if found else None


def last_number(text: str) -> str | None:
    """The last number of a text; only for callers that accept an answer without a marker."""
    found = list(_NUMERAL.finditer(_tidy(text[-2_000:], limit=2_000)))
    return _plain(found[-1]) if found else None


def same_number(answer: str, reference: str) -> bool | None:
    """Whether two statements have the same exact value; None where the reference is no number.

    A percentage equals both its number and its hundredth (25% is 25 where the question asks for percent, 0.25 where
    it asks for a share), and '2.5 million' equals 2.5 where the question counts in millions.
    """
    wanted = value_of(reference)
    if wanted is None:
        return None
    given = value_of(answer)
    if given is None:
        return False
    if given[0] == wanted[0]:
        return True
    if (given[1] is None) == (wanted[1] is None):
        return False
    return given[1] == wanted[0] or given[0] == wanted[1]


@lru_cache(maxsize=1 << 15)
def _cached_value(text: str) -> Value | None:
    plain = read_number(text)
    return None if plain is None else _evaluate_plain(plain)


def value_of(text: str) -> Value | None:
    """The exact value, and the other reading of a percentage or of a scaled number; None: no single number."""
    if len(text) > MAX_SEGMENT:
        return None
    if text.isascii() and text.isdigit():
        return int(text), None
    return _cached_value(text)


def _tidy(segment: str, *, limit: int = MAX_SEGMENT) -> str:
    text = segment[:limit]
    if not _PLAIN.fullmatch(text):
        text = text.translate(_CHARACTERS)
        if "\\" in text or "{" in text or "=>" in text or "->" in text or "~" in text:
            for pattern, replacement in _LATEX:
                text = pattern.sub(replacement, text)
        if "*" in text or "_" in text:
            text = _EMPHASIS.sub("", text)
        text = text.replace("$", "").replace("{", " ").replace("}", " ") if "^" not in text else text.replace("$", "")
        if "," in text:
            text = _THOUSANDS.sub(_join, text)
    if "  " in text:
        text = re.sub(r"[ \t]+", " ", text)
    if "minus" in text or "negative" in text:
        text = _MINUS.sub("-", text)
    text = _DATE.sub("§", text)
    return _SPACED.sub(_join, text) if " " in text else text


def _join(match: re.Match[str]) -> str:
    return match[0].replace(",", "").replace(" ", "")


def _plain(match: re.Match[str]) -> str | None:
    group = match.groupdict()
    sign = "-" if (group["sign"] or "").startswith("-") else ""
    tail = "%" if group["percent"] else f" {group['scale'] or 'thousand'}" if group["scale"] or group["kilo"] else ""
    if group["whole"]:
        return f"{sign}{group['whole']} {group['top']}/{group['bottom']}{tail}"
    number = str(group["number"])
    if len(number) > _MAX_DIGITS - 20:
        return None
    power = group["exponent"] or (f"e{group['power']}" if group["power"] else "")
    return f"{sign}{number}{power}{'/' + group['over'] if group['over'] else ''}{tail}"


def _last_side(clause: str) -> str | None:
    """The last side of a chain of equalities that is a plain number, else the last that is arithmetic."""
    arithmetic = None
    for side in reversed(clause.split("=")):
        lead = _LEAD.match(side)
        head = _NUMERAL.match(side, lead.end() if lead else 0)
        if head is None:
            continue
        if not _OPERATOR.match(side, head.end()):
            return _several(side, head) or _plain(head)
        arithmetic = arithmetic or _worked(side, head)
    return arithmetic


def _worked(text: str, head: re.Match[str]) -> str:
    """Arithmetic that was left unsolved; a power is kept too, so that its base is not taken for the answer."""
    expression = _ARITHMETIC.match(text, head.start())
    end = expression.end() if expression else head.end()
    if text.startswith("^", end) or text.startswith(" ^", end):
        end = min(len(text), end + 20)
    return text[head.start() : end].strip()


def _spelled(text: str) -> str | None:
    """A number written in words ('twenty-five', 'one hundred and five', 'two and a half'); None for two of them."""
    total = current = 0
    is_read = False
    words = re.findall(r"[a-z]+", text[:200].lower())[:14]
    for at, word in enumerate(words):
        if (value := _WORDS.get(word)) is not None:
            # "twenty five", "hundred ten", and not "five ten"
            if is_read and current % 100 and not (current % 100 >= 20 and current % 10 == 0 and 0 < value < 10):
                return None
            current, is_read = current + value, True
        elif word in _WORD_SCALES and is_read:
            if word == "hundred":
                current *= 100
            else:
                total, current = total + current * _WORD_SCALES[word], 0
        elif word == "and" and is_read:
            if words[at + 1 : at + 3] == ["a", "half"]:
                return f"{total + current} 1/2"
        elif is_read or word not in _BEFORE_WORDS:
            break
    return str(total + current) if is_read else None


def _evaluate_plain(plain: str) -> Value | None:
    body, _, scale = plain.partition(" ") if plain[-1:] in {"n", "d"} else (plain, "", "")
    percent = body.endswith("%")
    body = body.rstrip("%")
    try:
        if " " in body and "/" in body and re.fullmatch(r"-?\d+ \d+/\d+", body):
            whole, part = body.split(" ")
            value = abs(Fraction(whole)) + Fraction(part)
            value = -value if body.startswith("-") else value
        elif re.fullmatch(r"-?[\d.]+(?:e[-+]?\d+)?", body, re.IGNORECASE):
            value = Fraction(body)
        elif re.fullmatch(r"-?[\d.]+/[\d.]+", body):
            top, bottom = body.split("/")
            value = Fraction(top) / Fraction(bottom)
        else:
            return _arithmetic_value(body)
    except (ValueError, ZeroDivisionError):
        return None
    if percent:
        return value, value / 100
    return (value * _SCALES[scale], value) if scale in _SCALES else (value, None)


def _arithmetic_value(expression: str) -> Value | None:
    """Exact value of + - * / and brackets over numerals; None for anything else, powers included."""
    if len(expression) > 100 or not _ARITHMETIC.fullmatch(expression) or "**" in expression:
        return None
    try:
        return _fold(
            ast.parse(expression.replace("x", "*").strip(), mode="eval").body, expression.replace("x", "*").strip()
        ), None
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _fold(node: ast.expr, source: str) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        # the literal's own digits: 0.1 as a float is not a tenth
        return Fraction(ast.get_source_segment(source, node) or "")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _fold(node.operand, source)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _fold(node.left, source), _fold(node.right, source)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Div):
            return left / right
    raise ValueError("not arithmetic")
