r"""One spelling for LaTeX answers.

Here because most answers of MATH differ from their reference in notation only (`\dfrac12` and `\frac{1}{2}`,
`x = 4` and `4`, `18,\!107` and `18107`), which a string comparison settles a thousand times faster than algebra.

    >>> normalise(r"$\left( \dfrac12, 3^\circ \right).$")
    '(\\frac{1}{2},3)'
"""

import re
from fractions import Fraction
from functools import lru_cache

from lema_local.answers import equations
from lema_local.answers.formulas import MAX_ANSWER, boxed

_CHARACTERS = str.maketrans(
    {"−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "÷": r"\div ", "π": r"\pi ", "√": r"\sqrt ", "≤": r"\le "}
    | {"≥": r"\ge ", "≠": r"\ne ", "∞": r"\infty ", "°": r"^\circ ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset "}
    | {"±": r"\pm ", "²": "^2", "³": "^3", "½": r"\frac{1}{2}", "％": "%", "′": "'", "’": "'", "∈": r"\in "}
    | {"θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ", "，": ",", "（": "(", "）": ")"}
    | dict.fromkeys("\xa0\u2009\u202f\t\r\n", " ")
    | dict.fromkeys("\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\x00", "")
)
_UNITS = (  # noqa: SIM905 (a list of seventy lines hides what is in it)
    r"degrees? cm centimet(?:er|re)s? mm m met(?:er|re)s? km kilomet(?:er|re)s? in inch(?:es)? ft feet foot yd yards? "
    r"mi miles? square cubic sq units? s sec seconds? min minutes? hours? hrs? h days? weeks? months? years? dollars? "
    r"cents? percent mph km/h m/s g kg grams? kilograms? lbs? pounds? oz ounces? l ml lit(?:er|re)s? gallons? quarts? "
    r"people students? ways? points? pieces? balls? cards? outcomes? coins? songs? members? books? numbers? integers? "
    r"pairs? boxes solutions? grade per"
).split()
# 'm', 's', 'h', 'g', 'l' alone may be variables: they count as units only inside \text{}
_BARE_UNIT = "|".join(u for u in _UNITS if len(u) > 1 and u not in {"in", "min", "mi", "ml"})
_TRAILING_UNITS = re.compile(
    rf"(?<=[\d}}%)\s])(?:\s*(?:(?<![a-zA-Z\\])(?:{_BARE_UNIT})(?![a-zA-Z])(?:\^\{{?[23]\}}?)?)){{1,4}}\.?\s*$"
)
_TEXT_UNIT = re.compile(
    rf"\\(?:text|mathrm|mbox|textrm|rm|operatorname)\s*\{{[\s~]*(?:(?:{'|'.join(_UNITS)})(?![a-zA-Z])[\s./]*){{1,4}}\}}(?:\^\{{?[23]\}}?)?"
)
_AFTER_NUMBER = re.compile(r"^(\s*-?[\d.,]{1,40})\s*(?:\\text\s?\{[^{}]{1,80}\}|(?:\s+[A-Za-z]{3,20}){1,4})[\s.]*$")
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|texttt|mathrm|mathbf|mathit|mathsf|mathbb|mathcal|mbox|operatorname|bold|boldsymbol|rm|bf)\*?\s*\{([^{}]{0,400})\}"
)
_SPACING = re.compile(
    r"\\(?:left|right|[bB]ig{1,2}[lrm]?|displaystyle|textstyle|limits|nolimits|quad|qquad|thinspace|rm|bf|phantom\{\})(?![a-zA-Z])"
    r"|\\[!,;:> ]|\\(?=$)|~"
)
_SYNONYMS = (
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\dbinom|\\tbinom"), r"\\binom"),
    (re.compile(r"\\leqs?lant|\\leq(?![a-zA-Z])"), r"\\le"),
    (re.compile(r"\\geqs?lant|\\geq(?![a-zA-Z])"), r"\\ge"),
    (re.compile(r"\\neq(?![a-zA-Z])"), r"\\ne"),
    (re.compile(r"\\(?:lbrace|\{)"), r"\\{"),
    (re.compile(r"\\(?:rbrace|\})"), r"\\}"),
    (re.compile(r"\\(?:varnothing|empty)(?![a-zA-Z])"), r"\\emptyset"),
    (re.compile(r"\\(?:mid|vert|lvert|rvert)(?![a-zA-Z])"), "|"),
    (re.compile(r"\\(?:cdot|times)(?![a-zA-Z])"), r"\\cdot "),
    (re.compile(r"\\begin\{(?:[bp]matrix|matrix|array|smallmatrix)\}(?:\{[clr|]{0,20}\})?"), "⟦"),
    (re.compile(r"\\end\{(?:[bp]matrix|matrix|array|smallmatrix)\}"), "⟧"),
)
_DEGREE = re.compile(
    r"\^\s?\{?\s?\\(?:circ|degree)\s?\}?|\\degree(?![a-zA-Z])|(?<=\d)\s?\\text\s?\{\s?degrees?\s?\}|(?<=\d)\s?degrees?\b"
)
_ANGLE_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_FRAC_SHORT = re.compile(r"\\frac\s*(?:\{([^{}]{1,200})\}|([0-9a-zA-Z]))\s*(?:\{([^{}]{1,200})\}|([0-9a-zA-Z]))")
_SQRT_SHORT = re.compile(r"\\sqrt\s*([0-9a-zA-Z])")
_COMMAND_SPACE = re.compile(r"(\\[a-zA-Z]{1,20})\s+(?=[a-zA-Z])")
_BRACKETED = re.compile(r"(?<![\w}\])!^/])\((-?\d{1,30}/\d{1,30})\)(?![\w(^/{!])")
_SLASH = re.compile(r"(?<![\w}.)^_/])(-?)(\d{1,30}|\(\d{1,30}\))\s?/\s?(\d{1,30})(?![\w./^])")
_SCRIPT = re.compile(r"([\^_])\s*([0-9a-zA-Z])")
_GROUPED = re.compile(r"(?<=\d)(?:,\\!|\{,\}|\\,|\\!)(?=\d{3}(?!\d))")
_ASCII_HINT = re.compile(r"\*|sqrt|pi|inf|[<>]=|!=")
_ASCII = (
    (re.compile(r"\*\*(?=[\w({-])"), "^"),
    (re.compile(r"(?<=[\w)}\]])\s?\*\s?(?=[\w(\\])"), r"\\cdot "),
    (re.compile(r"(?<![\\a-zA-Z])sqrt\s?\(([^()]{1,100})\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\\a-zA-Z])sqrt"), r"\\sqrt"),
    # \\sqrt14 is meant as the root of 14
    (re.compile(r"\\sqrt\s?(\[\d{1,2}\])?\s?(\d{2,40}(?:\.\d{1,40})?)"), r"\\sqrt\1{\2}"),
    (re.compile(r"\\sqrt\s?\(([^()]{1,100})\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])"), r"\\pi "),
    (re.compile(r"(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])"), r"\\infty "),
    (re.compile(r"<="), r"\\le "),
    (re.compile(r">="), r"\\ge "),
    (re.compile(r"!="), r"\\ne "),
)
_ONE_GROUP = re.compile(r"([\^_])\{\s*([^{}\s]{1,20})\s*\}")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_ROW_END_CUT = re.compile(r"\\(?=[\d-])")  # references of some harnesses have one backslash between rows
_THOUSANDS_GROUP = re.compile(r"(?<=\{)\d{1,3}(?:,\d{3})+(?=\})")
_BASE_WORD = {
    word: str(n) for n, word in enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 2)
}
_PAIR = re.compile(r"[(\[][^()\[\],]{1,200},[^()\[\],]{1,200}[)\]]")
_PLAIN_VALUE = re.compile(
    r"-?(?:(?:\d{1,3}(?:,\d{3}){1,12}|\d{0,40})(?:\.\d{1,40})?|[\d.]{0,40}\\frac\{-?\d{1,40}\}\{\d{1,40}\})"
)
_NO_NUMBER = re.compile(r"\\(?:cup|cap|pm|overline|le|ge|ne)(?![a-zA-Z])|[<>]|⟦")
_BASE = re.compile(r"^(-?[0-9A-Fa-f.]{1,60})_\{(\d{1,2})\}$")
_IN_BASE = re.compile(  # "664 base 7", "664 \\text{ base } 7", "664_{\\text{base }7}"
    r"^\s*(?:\\text\s?\{)?\s*\(?(-?[0-9A-Fa-f.]{1,60})\)?\s?(?:_\s?)?(?:\{|\\(?:text|mathrm)\s?\{|\s){0,4},?\s?"
    r"(?:in )?base[\s-]{0,3}\}?\s?(\d{1,2}|[a-z]{3,5})[\s}.]{0,4}$"
)
_BASED_GROUP = re.compile(r"^\(([0-9A-F.]{1,60})\)(?=_\{)")
_ORDINAL = re.compile(
    r"(?<=\d)\s?\^\s?\{?\s?\\(?:text|mathrm|textrm|textsuperscript)\s?\{\s?(?:st|nd|rd|th)\s?\}\s?\}?"
)
_MODULO = re.compile(r"\\pmod\s?(?:\{[^{}]{0,40}\}|\d)|\(?\\(?:b?mod)(?![a-z])\s?\{?\s?\w{1,20}\s?\}?\)?")
_REPEATING = re.compile(r"(?<![\d.])(\d{0,12})\.(\d{0,12})\\overline\{(\d{1,12})\}(?!\d)")
_TIME = re.compile(
    r"^(\d{1,2}\s?:\s?\d{2})(?:\s|\\[ ,]|~)*(?:\\(?:text|mathrm|mbox)\s?\{)?\s*([ap])\.?\s?m\.?\s*\}?$", re.IGNORECASE
)
_HALF_OF_DAY = re.compile(r"(?<=:\d\d)[ap]m$")
_ALL_REALS = re.compile(r"(?:(?:all )?(?:real numbers|reals)|all real values|(?:x\\in)?\\mathbb\{?R\}?)", re.IGNORECASE)
_INEQUALITY = re.compile(r"[a-z](<|>|\\le|\\ge)\s?([^<>,=a-z]{1,40}(?:\\[a-z]{3,5}[^<>,=a-z]{0,40})?)")
_WORDS_ONLY = re.compile(r"[a-z' ]{3,60}", re.IGNORECASE)


def as_latex(answer: str) -> str:
    """Unicode signs and the ASCII notation of programs ('sqrt(3)/2', 'x**2', '<=', 'pi') in LaTeX."""
    text = _GROUPED.sub("", answer.translate(_CHARACTERS)).replace("{ ", "{").replace(" }", "}")
    if not _ASCII_HINT.search(text):
        return text
    for pattern, replacement in _ASCII:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(maxsize=1 << 14)
def normalise(answer: str) -> str:
    """The answer in one spelling, without spaces, units, currency, delimiters and full stop."""
    text = as_latex(answer)
    if "boxed" in text and (inner := boxed(text)) and text.strip(" $.").startswith("\\boxed"):
        text = inner
    text = text.replace("\\$", "").replace("$", "").replace("\\%", "").replace("%", "")
    text = text.replace("\\(", "").replace("\\)", "").replace("\\[", "").replace("\\]", "")
    text = text.replace(",\\!", ",").replace("{,}", ",").replace("\\!", "").strip()
    if ":" in text and (time := _TIME.match(text.rstrip("."))):
        return time[1].replace(" ", "") + time[2].lower() + "m"
    if _ALL_REALS.fullmatch(text.replace("\\text{", "").strip(" }.")):
        return "(-\\infty,\\infty)"
    if "th" in text or "mod" in text or "{st}" in text or "{nd}" in text or "{rd}" in text:
        text = _MODULO.sub("", _ORDINAL.sub("", text))
    if "base" in text:
        text = _IN_BASE.sub(r"\1_{\2}", text)
    for pattern, replacement in _SYNONYMS:
        text = pattern.sub(replacement, text)
    if "circ" in text or "deg" in text:  # a degree counts where a function takes it
        is_taken = _ANGLE_FUNCTION.search(text)
        text = _DEGREE.sub("°" if is_taken else "", text)
    text = text.replace("\\\\", "¶")
    if "⟦" in text:
        text = _ROW_END_CUT.sub("¶", text)
    text = _SPACING.sub(" ", text)
    stripped = _AFTER_NUMBER.sub(r"\1", _TEXT_UNIT.sub(" ", text))
    text = stripped if stripped.strip() else text
    text = _TEXT.sub(r" \1 ", text)
    text = text.strip().rstrip(".,;:").strip().strip("*").strip()
    if text[:1].isdigit() or text[:1] in "-\\(.":
        text = _TRAILING_UNITS.sub("", text)
    text = re.sub(r"\s*(?:,?\s*(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z]))\s*", ",", text)
    if _WORDS_ONLY.fullmatch(text):
        return " ".join(text.lower().split())
    for _ in range(4):
        shorter = _FRAC_SHORT.sub(_full_fraction, text)
        if shorter == text:
            break
        text = shorter
    text = text.replace("\\FRAC", "\\frac")
    if "\\overline" in text:
        text = _REPEATING.sub(_repeating_fraction, text)
    text = _SQRT_SHORT.sub(r"\\sqrt{\1}", text)
    text = text.replace("¶⟧", "⟧")
    text = _ONE_GROUP.sub(r"\1{\2}", _SCRIPT.sub(r"\1{\2}", text))
    # the space of "\tan x" is no decoration
    text = re.sub(r"\s+", "", _COMMAND_SPACE.sub("\\1\x00", text)).replace("\x00", " ")
    text = _BRACKETED.sub(r"\1", text)
    if "{" in text and "," in text:
        text = _THOUSANDS_GROUP.sub(_joined, text)
    text = _SLASH.sub(lambda m: f"{m[1]}\\frac{{{m[2].strip('()')}}}{{{m[3]}}}", text)
    text = re.sub(r"(?<![\d])\.(?=\d)", "0.", text)
    text = re.sub(r"(\d\.\d*?)0+(?!\d)", r"\1", text) if "." in text else text
    text = re.sub(r"(?<=\d)\.(?!\d)", "", text)
    text = re.sub(r"\\cdot(?=\\)|(?<=[\d})])\\cdot(?=[a-zA-Z(])", "", text)
    text = text.replace("+\\infty", "\\infty").replace("+-", "-")
    if "_{" in text:
        for word, digit in _BASE_WORD.items():
            text = text.replace("_{" + word + "}", "_{" + digit + "}")
        text = _BASED_GROUP.sub(r"\1", text)
        text = text.upper() if _BASE.match(text) else text
    return text


def _repeating_fraction(match: re.Match[str]) -> str:
    """0.1\\overline{6} is (16 - 1) / 90."""
    whole, fixed, period = match.groups()
    scale = 10 ** len(fixed)
    nines = 10 ** len(period) - 1
    value = Fraction(int((whole or "0") + fixed), scale) + Fraction(int(period), scale * nines)
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}" if value.denominator > 1 else str(value)


def _full_fraction(match: re.Match[str]) -> str:
    top = match[1] if match[1] is not None else match[2]
    bottom = match[3] if match[3] is not None else match[4]
    sign = ""
    if top.strip().startswith("-") and not re.search(r"[-+]", top.strip()[1:]):
        sign, top = "-", top.strip()[1:]
    if re.fullmatch(r"\s*-\s*\d{1,40}\s*", bottom):
        sign, bottom = "" if sign else "-", bottom.strip()[1:]
    # FRAC: done, and so that the next pass sees only what is still short
    return f"{sign}\\FRAC{{{top.strip()}}}{{{bottom.strip()}}}"


def same_notation(answer: str, reference: str) -> bool:
    """Whether two answers are one in notation: spacing, units, `x =`, thousands separators and base marks aside."""
    if len(answer) > MAX_ANSWER or len(reference) > MAX_ANSWER:
        return answer.strip() == reference.strip()
    left, right = normalise(answer), normalise(reference)
    if not left or not right:
        return False
    if left == right or (left.lower() == right.lower() and is_words(right)):
        return True
    if _HALF_OF_DAY.search(left) is None or _HALF_OF_DAY.search(right) is None:
        left, right = _HALF_OF_DAY.sub("", left), _HALF_OF_DAY.sub("", right)
        if left == right:
            return True
    if left[0] not in "([" and _THOUSANDS.sub(_joined, left) == _THOUSANDS.sub(_joined, right):
        return True
    stated = equations.values(left, right)
    if stated[0] == stated[1]:
        return True
    if ("\\cup" in left) != ("\\cup" in right) and _as_union(left) == _as_union(right):
        return True
    # the question names the base
    return any(
        base is not None and other == base[1]
        for base, other in ((_BASE.match(right), left), (_BASE.match(left), right))
    )


def _as_union(normalised: str) -> str:
    """`x<0,x>2` as (-\\infty,0)\\cup(2,\\infty)."""
    sides = [_INEQUALITY.fullmatch(side) for side in normalised.split(",")]
    if len(sides) != 2 or sides[0] is None or sides[1] is None:
        return normalised
    intervals = []
    for side in sorted((s for s in sides if s), key=lambda side: side[1] in {">", "\\ge"}):
        sign, bound = side[1], side[2].strip()
        if sign in {"<", "\\le"}:
            intervals.append(f"(-\\infty,{bound}" + (")" if sign == "<" else "]"))
        else:
            intervals.append(("(" if sign == ">" else "[") + f"{bound},\\infty)")
    return "\\cup".join(intervals)


def is_other_sort(left: str, right: str) -> bool:
    """Whether two normalised answers cannot be one thing: a number and a union, numerals of two bases, an equation and
    a value, an interval and a list."""
    if equations.is_unsolved(left, right):
        return True
    for one, other in ((left, right), (right, left)):
        # an interval or a point is no list of two values
        if _PAIR.fullmatch(one) and other[:1] not in {"(", "[", "\\"} and "," in other:
            return True
        if one.startswith("\\{") and other[:1] in {"(", "["} and "\\cup" not in other and "," in one:
            return True
        if ":" in one or _BASE.match(one):
            return bool(_PLAIN_VALUE.fullmatch(other) or _BASE.match(other)) or ":" in other
        if _NO_NUMBER.search(one) and _PLAIN_VALUE.fullmatch(other):
            return True
    return False


def is_words(normalised: str) -> bool:
    """Whether a normalised answer is words ('parabola', 'june 20', '(b)'): nothing for algebra."""
    return bool(re.fullmatch(r"[a-z' ]{3,60}|\(?[A-Z]\)?|[A-Za-z]{4,}[\w,.' -]*", normalised))


def _joined(match: re.Match[str]) -> str:
    return match[0].replace(",", "")
