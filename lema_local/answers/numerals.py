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

import re
from functools import lru_cache

from lema_local.answers.number_values import Value, evaluate, is_rounded
from lema_local.answers.number_words import spelled

MAX_SEGMENT = 400  # characters of a statement that are read; an answer is short
_MAX_DIGITS = 400
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)"
)

# Every quantifier below is bounded or runs over one character class, so that each pattern is linear in its input.
_PLAIN = re.compile(r"[A-Za-z0-9 \n.%/'-]*")
_CHARACTERS = str.maketrans(
    {"−": "-", "–": "-", "—": " ; ", "×": "*", "·": "*", "÷": "/", "≈": "=", "£": " ", "€": " ", "¥": " ", "₹": " "}
    | dict.fromkeys("\xa0\u2009\u202f\u2007`\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2069\ufeff\x00", " ")
    | {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "％": "%", "π": r"\pi ", "√": r"\sqrt "}
    | {"²": "^2", "³": "^3", "∛": r"\sqrt[3]"}
)
_LATEX = (
    (re.compile(r"\{,\}|,\\!"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\\(?:text(?:bf|it|rm|normal)?|math(?:rm|bf|it)|boldsymbol|mbox|rm|bf)\b"), " "),
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
_FULL_HOUR = re.compile(r"(?<![\d:])(\d{1,2}):00(?=\s?[ap]\.?m\b)", re.IGNORECASE)  # "7:00 pm" is 7
_AND_PART = re.compile(r"(?<=\d) and (?:(?:a|one) (half|third|quarter)|(three) quarters)\b", re.IGNORECASE)
_PARTS = {"half": " 1/2", "third": " 1/3", "quarter": " 1/4", "three": " 3/4"}
# "6! ways", "3!.", "$4!$"; what ends a sentence or a line is an exclamation: "It is 18! She sells"
_FACTORIAL = re.compile(r"(?<=[\d)])!(?=[.,;]|\s?(?:[$})\]=]|\\|[-+*/^]\s?[\d(\\])|\s[a-z])")
_FACTORIAL_SIGN = "¡"  # in text that was tidied: no sentence ends there
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

# in brackets after a number stands how it came about, "40 (20 + 5 = 25, 25 + 15 = 40)"; without "=" they are a factor
_STATED_END = re.compile(_CLAUSE_END.pattern + r"| \((?=[^()]{0,80}=)")
_REASON = re.compile(r" (?:because|since|where|as|when|if|so|which|after|for)\b")
_OF_ALL = re.compile(r" (?:out of|of the) $")  # before what another number is a part of: "36 of the 40 apples"
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
# a second answer; the connector is a word of its own: "45 for 3 shirts" is one answer
_ALSO = re.compile(r",-?\d|(?:\s?[A-Za-z%]{1,20}){0,3}\s?(?:,|,? ?(?<![A-Za-z])(?:and|or|&|to))\s+-?\d")
_AND_NAMED = re.compile(r"\s?(?:,|,? ?(?:and|or|&))\s+[A-Za-z]\s?=\s?-?\d{1,20}")  # x = 2, y = 5
_CONNECTOR = re.compile(r"\s?(?:,|,? ?(?:and|or|&|to))\s")
_MINUS = re.compile(r"(?<![\d)] )(?<!\w)(?:minus|negative) (?=\d)")
_FUNCTION = (
    r"\\?(?:sqrt|sin|cos|tan|cot|ln|log|exp)(?![a-z])|\\(?:[dt]?frac|binom|pi)(?![a-z])|(?<![a-zA-Z])pi(?![a-zA-Z])"
)
_STARTS_FORMULA = re.compile(rf"-?\s?(?:{_FUNCTION})")
# what makes a number the first digit of a formula: 3 sqrt(2), 3!, 5x, 5n + 2, 3^n; and not 5m, 12 m^2 or 5 x 3; and
# of a decimal that has no end: 0.\overline{3}
_GOES_ON = re.compile(
    rf"\s?(?:{_FUNCTION.replace('(?<![a-zA-Z])', '')})|{_FACTORIAL_SIGN}|\s?i[\s.]*$|[ijnqruvwxyz](?![A-Za-z'’-])"
    rf"|\.?\\overline(?![a-z])|[a-z]\s?[-+]\s?\d|\s?\^\s?[A-Za-z(]|\s?[-+*/]\s?(?:{_FUNCTION}|[b-z](?![A-Za-z]))"
)
_WITHIN_FORMULA = re.compile(rf"(?:{_FUNCTION})(?:\[\d\])?\s?[({{]?\s?$")
_PART_OF = re.compile(
    r"\b(?:half|third|quarter|twice|double|triple|thrice)s?(?: of)?(?: the| his| her| their)? $", re.IGNORECASE
)
_ARITHMETIC = re.compile(r"[\d.+*/() x-]{1,100}")


def read_number(segment: str, *, is_formula: bool = False) -> str | None:
    """The number that a statement gives, written plainly: '1000', '-3', '1/4', '3 1/2', '25%', '2.5 million'.

    A chain of equalities gives its last side; unsolved arithmetic ('12 + 6') and formulas (r'3\\sqrt{2}', '5x', '3!')
    are returned as they stand, and so are two numbers side by side ('5 and 10'): they are no single number. Dates,
    times and ratios are none. `is_formula`: the statement is the content of a box, where ! is no exclamation.
    """
    if simple := _SIMPLE.match(segment):
        return simple[1].replace(",", "")
    text = _tidy(segment)
    if is_formula and text.endswith("!"):
        text = text[:-1] + _FACTORIAL_SIGN
    end = _SENTENCE_END.search(text)
    text = text[: end.start()] if end else text
    lead = _LEAD.match(text)
    start = lead.end() if lead else 0
    head = _NUMERAL.match(text, start)
    is_worked = head is not None and _OPERATOR.match(text, head.end()) is not None
    clause_end = (_REASON if is_worked else _STATED_END).search(text, head.end()) if head else None
    clause = text[: clause_end.start()] if clause_end else text
    if "=" in clause:
        named = _AND_NAMED.match(text, len(clause))
        return text[: named.end()].strip() if named else _last_side(clause)
    if head is None:
        return _formula(text, start) if _STARTS_FORMULA.match(text, start) else _last_of(text) or spelled(text)
    if is_worked:
        return _worked(text, head)
    return _several(text, head) or _stated(text, head)


def _stated(text: str, numeral: re.Match[str]) -> str | None:
    """A numeral written plainly, or the formula or the share that it is a part of, as it stands."""
    before = max(0, numeral.start() - 30)
    if function := _WITHIN_FORMULA.search(text, before, numeral.start()):
        return _formula(text, function.start())
    if part := _PART_OF.search(text, before, numeral.start()):
        return _formula(text, part.start())
    return _formula(text, numeral.start()) if _GOES_ON.match(text, numeral.end()) else _plain(numeral)


def _formula(text: str, start: int) -> str:
    end = _CLAUSE_END.search(text, start)
    return text[start : end.start() if end else len(text)].replace(_FACTORIAL_SIGN, "!").rstrip(" .").strip()[:100]


def _several(text: str, head: re.Match[str]) -> str | None:
    """Two numbers side by side, as they stand: they are no single number."""
    also = _ALSO.match(text, head.end())
    if also is None:
        return None
    rest = _NUMERAL.match(text, also.end() - 1)
    if rest and " and " not in text[head.end() : rest.start()] and _say_the_same(_plain(head), _plain(rest)):
        return _plain(head)
    return text[head.start() : rest.end() if rest else also.end()].strip()


def _say_the_same(one: str | None, other: str | None) -> bool:
    """Whether two numerals give one number in two ways: "3/4, or 0.75"."""
    if one is None or other is None or (first := evaluate(one)) is None or (second := evaluate(other)) is None:
        return False
    return _agree(first, second) or is_rounded(first[0], other) or is_rounded(second[0], one)


def _last_of(text: str) -> str | None:
    """The last number of a sentence that does not start with one; "between 5 and 10" gives both.

    What follows "if", "because" and the like is not the answer, where a number stands before it.
    """
    first = _NUMERAL.search(text)
    reason = _REASON.search(text, first.end()) if first else None
    found = list(_NUMERAL.finditer(text, 0, reason.start() if reason else len(text)))
    if len(found) > 1 and _OF_ALL.search(text, found[-2].end(), found[-1].start()):
        found.pop()
    if len(found) > 1 and _CONNECTOR.fullmatch(text, found[-2].end(), found[-1].start()):
        return _several(text, found[-2]) or text[found[-2].start() : found[-1].end()].strip()
    return _stated(text, found[-1]) if found else None


def last_number(text: str) -> str | None:
    """The last number of a text; only for callers that accept an answer without a marker."""
    text = _tidy(text[-2_000:], limit=2_000)
    found = list(_NUMERAL.finditer(text))
    return _stated(text, found[-1]) if found else None


def same_number(answer: str, reference: str) -> bool | None:
    """Whether two statements have the same exact value; None where the reference is no number.

    A percentage equals both its number and its hundredth (25% is 25 where the question asks for percent, 0.25 where
    it asks for a share), and '2.5 million' equals 2.5 where the question counts in millions. A reference may be a
    rounded decimal (number_values.is_rounded); an answer may not.
    """
    wanted = value_of(reference)
    if wanted is None:
        return None
    given = value_of(answer)
    if given is None:
        return False
    return _agree(given, wanted) or ("." in reference and is_rounded(given[0], reference, answer))


def _agree(given: Value, wanted: Value) -> bool:
    if given[0] == wanted[0]:
        return True
    if (given[1] is None) == (wanted[1] is None):
        return False
    return given[1] == wanted[0] or given[0] == wanted[1]


@lru_cache(maxsize=1 << 15)
def _cached_value(text: str) -> Value | None:
    plain = read_number(text, is_formula=True)
    return None if plain is None else evaluate(plain)


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
        if "!" in text:
            text = _FACTORIAL.sub(_FACTORIAL_SIGN, text)
        text = text.replace("$", "")
        if "^" not in text and "\\" not in text:  # else they hold an exponent or an argument
            text = text.replace("{", " ").replace("}", " ")
        if "," in text:
            text = _THOUSANDS.sub(_join, text)
    if "  " in text:
        text = re.sub(r"[ \t]+", " ", text)
    if "minus" in text or "negative" in text:
        text = _MINUS.sub("-", text)
    if " and " in text:
        text = _AND_PART.sub(lambda part: _PARTS[(part[1] or part[2]).lower()], text)
    if ":00" in text:
        text = _FULL_HOUR.sub(r"\1", text)
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
        start = lead.end() if lead else 0
        head = _NUMERAL.match(side, start)
        if head is None:
            if _STARTS_FORMULA.match(side, start):
                return _formula(side, start)
            continue
        if not _OPERATOR.match(side, head.end()):
            return _several(side, head) or _stated(side, head)
        arithmetic = arithmetic or _worked(side, head)
    return arithmetic


def _worked(text: str, head: re.Match[str]) -> str:
    """Arithmetic that was left unsolved; a power is kept too, so that its base is not taken for the answer."""
    expression = _ARITHMETIC.match(text, head.start())
    start, end = head.start(), expression.end() if expression else head.end()
    if text.startswith("^", end) or text.startswith(" ^", end):
        end = min(len(text), end + 20)
    unopened = text.count(")", start, end) - text.count("(", start, end)
    while unopened > 0 and text[start - 1 : start] == "(":  # "(10 + 8)"
        start, unopened = start - 1, unopened - 1
    return text[start:end].replace(_FACTORIAL_SIGN, "!").strip()
