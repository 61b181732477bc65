"""Which option a statement chooses: its letter, its text, or both; and whether that is the reference's.

The article is no option A, and a letter may stand before, after or without the option's text.

    >>> read_option("a bank, as rivers have them."), read_option("a river bank (D)."), read_option("(C) a library")
    ('a bank, as rivers have them', 'D) a river bank', 'C) a library')
    >>> same_option("D) a river bank", "D"), same_option("a bank", "A"), same_option("D) a river bank", "river bank")
    (True, False, False)
"""

import re

_MAX_TEXT = 200
_HEDGE = r"(?:(?:most |very )?(?:likely|probably)(?: to be)?|definitely|clearly|going to be)[ ,]+"
_LETTER = re.compile(
    rf"[\s:*$_\"'`]*(?:{_HEDGE}){{0,2}}[\"'`]?(?:\\(?:text|mathrm|textbf)\s?\{{\s?)?"
    r"(?P<named>option |choice |letter )?[(\[{]?(?P<letter>[A-Ea-e])(?![\w'’]|-(?!-))"
)
# an article goes before a noun; "A because ..." and "a is right" name the option
_ARTICLE = re.compile(
    r"[aA] (?!(?:because|since|as|is|was|would|for|if|so|due|given|which|who|where|that|and|or|but|in|by|with|on)\b)"
    r"[a-z0-9]"
)
_LABELLED = re.compile(
    r"[(\[](?P<bracketed>[A-E])[)\]]|(?<![\w(])(?P<closed>[A-E])\)"
    r"|(?i:option|choice|letter)\s+\**[\"'(]?(?P<named>[A-E])(?![\w'’])"
)
_DENIED = re.compile(
    r"(?:\bnot|n't|\bthan|\binstead of|\bexcept|\bunlike|\bnor|\bneither)\s+(?:the |option |choice )*$"
)
_AT_THE_END = re.compile(
    r"(?:^|\b(?i:so|thus|hence|therefore|then|that|be|is)[ ,]+|[:,] )\**[\"']?(?P<letter>[A-E])[\"']?\**$"
)
_SENTENCE_END = re.compile(r"[.!?](?=\s+[A-Z]|\s*$)")
# "C or D", "C, D and E"; or a list that ends the line: "(C), (D).", "C/D"
_OR_ANOTHER = re.compile(
    r"[)\]\"'*]*(?:(?:, ?\(?[A-E]\)?)*,? (?:or|and|&) \(?[A-E](?!\w)"
    r"|(?:(?:[,/] ?| )[(\[][A-E][)\]]|[,/] ?[A-E](?!\w))+[\s.)\]\"'*]*$)"
)
_OPTION = re.compile(r"\s*[(\[]?([A-Ea-e])(?:[)\].:]+\s*|\s*$)(.*)", re.DOTALL)
_OPTION_TEXT = re.compile(r"[)\]:]+\s*([^.\n$\\{}*]{1,80})")
_ANYWHERE = re.compile(r"[(\[]([A-E])[)\]]|(?<![\w'’])(?!A [a-z0-9])([A-E])(?![\w'’])")


def read_option(statement: str, *, begins: bool = False) -> str | None:
    """The letter as "C", "C) text" where the text is known, the text where no letter is named; None for nothing.

    `begins`: a sentence begins here ("Answer: A dog"), so that an A may be an article that is written large.
    """
    line = statement.strip().split("\n", 1)[0]
    start = _LETTER.match(line)
    if start and not (start["letter"] in ("aA" if begins else "a") and not start["named"] and _is_article(line, start)):
        if _OR_ANOTHER.match(line, start.end()):
            return _text(line)
        # the option's text is kept: a reference may be given as text alone
        named = _OPTION_TEXT.match(line, start.end())
        return _option(start["letter"], named[1] if named else "")
    sentence_end = _SENTENCE_END.search(line)
    sentence = line[: sentence_end.start()] if sentence_end else line
    labels = [label for label in _LABELLED.finditer(sentence) if not _is_denied(sentence, label.start())]
    letters = {label[label.lastgroup or 0] for label in labels}
    if len(letters) == 1:
        return _option(letters.pop(), sentence[: labels[0].start()])
    if not letters and (last := _AT_THE_END.search(sentence, max(0, len(sentence) - 40))):
        return last["letter"]
    return _text(line)


def last_option(text: str) -> str | None:
    """The last letter that a text names; only for callers that accept an answer without a marker."""
    found = _ANYWHERE.findall(text)
    return found[-1][0] or found[-1][1] if found else None


def same_option(answer: str, reference: str) -> bool:
    """Whether two options are one: by their letters, where both have one, else by their texts."""
    given, wanted = _OPTION.match(answer.strip()), _OPTION.match(reference.strip())
    if given and _OR_ANOTHER.match(answer.strip(), given.end(1)):
        return False
    if given and wanted:
        return given[1].upper() == wanted[1].upper()
    if wanted and wanted[2]:
        return phrase(answer) == phrase(wanted[2])
    if given and given[2]:
        return phrase(given[2]) == phrase(reference)
    return phrase(answer) == phrase(reference)


def phrase(text: str) -> str:
    """Words and figures alone, in lower case."""
    return " ".join(re.sub(r"[^\w\s%/:-]", " ", text[:1_000].lower()).split())


def _is_article(line: str, start: re.Match[str]) -> bool:
    at = start.start("letter")
    return line[at - 1 : at] not in ("(", "[", "{", '"', "`") and _ARTICLE.match(line, at) is not None


def _is_denied(sentence: str, at: int) -> bool:
    return _DENIED.search(sentence, max(0, at - 40), at) is not None


def _option(letter: str, text: str) -> str:
    text = _text(re.sub(r",? ?(?:i\.e\.,?|that is,?|namely|which is|so|hence)?\s*$", "", text)) or ""
    return f"{letter.upper()}) {text}" if text else letter.upper()


def _text(line: str) -> str | None:
    return line.strip(" .*:\"'")[:_MAX_TEXT] or None
