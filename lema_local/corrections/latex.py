r"""Sums that are written in LaTeX, in the plain signs that arithmetic.py reads.

    >>> plain_sums(r"She has $3 \times 4 = \frac{24}{2}$ of them.")
    'She has  ; 3 * 4 = (24/2) ;  of them.'

A formula with an equal sign is read alone, between two stops: numbers before and after it are no part of its sum. One
with variables, powers, roots or mixed numbers is not read at all, because a sum read wrongly would call a right step
wrong. Pure; patterns are linear.
"""

import re

_GROUPS = re.compile(r"(?<=\d)(?:,\\!|\{,\})\s?(?=\d{3}(?!\d))")  # 28,\!672
_ESCAPED = r"\\[^()\[\]]"
# money is none: $5 \times 3 = $15, 5$ * 3 = 15$; nor is what another formula begins in
_FORMULA = re.compile(
    rf"(?<![\\\d])\$\$?((?:[^$\\]|{_ESCAPED})*)\$\$?(?!\$| ?\.?\d)"
    r"|(?<!\\)\\\(((?:[^\\]|\\[^()])*)\\\)"
    r"|(?<!\\)\\\[((?:[^\\]|\\[^\[\]])*)\\\]"
)
_WORDS = re.compile(r"\\(?:text|mbox)\{([^{}]{0,60})\}")
_SIGNS = (
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "*"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    # after a digit it is a mixed number
    (re.compile(r"(?<!\d)(?<!\d )\\[dt]?frac\s?\{(-?\d{1,15})\}\s?\{(\d{1,15})\}"), r"(\1/\2)"),
    (re.compile(r" ?\\left(?![A-Za-z])"), ""),  # no space: what stands before it is multiplied
    (re.compile(r"\\right(?![A-Za-z])"), ""),
    (re.compile(r"\\[,;:! ]|\\[()\[\]]"), " "),
    (re.compile(r"\\([%$])"), r"\1"),
)
_SPACE_TIMES = re.compile(r"(?<=[\d)]) +(?=\()")  # in a formula 24 (1 + 3) is a product
_UNREADABLE = re.compile(r"[^\W\d_]|[\^_{}|\\!]")


def plain_sums(text: str) -> str:
    """A step with LaTeX's sums in plain signs; one without a formula or a command as it is."""
    if "\\" not in text:
        return _FORMULA.sub(_alone, text) if text.count("$") > 1 else text
    return _plain(_FORMULA.sub(_alone, _GROUPS.sub(",", text))).replace("$", " ")


def _alone(formula: re.Match[str]) -> str:
    body = formula[1] or formula[2] or formula[3] or ""
    if "=" not in body:
        return f" {body} "  # a number, or a variable: a word of its sentence
    if _UNREADABLE.search(_plain(_WORDS.sub(" ", body))):
        # still an equation for who looks for the answer, and no sum
        return f" ; {body.replace('=', '≈')} ; "
    return f" ; {_SPACE_TIMES.sub('', _plain(body))} ; "


def _plain(text: str) -> str:
    text = _WORDS.sub(r"\1", text)
    for pattern, replacement in _SIGNS:
        text = pattern.sub(replacement, text)
    return text
