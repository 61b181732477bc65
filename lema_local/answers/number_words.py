"""Numbers written in words.

>>> spelled("one hundred and five dollars"), spelled("two and a half hours"), spelled("three quarters of it")
('105', '2 1/2', '3/4')
"""

import re

_UP_TO_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_WORDS = {word: value for value, word in enumerate(_UP_TO_TWENTY.split(" "))}
_TENS = "thirty forty fifty sixty seventy eighty ninety".split(" ")  # noqa: SIM905 (one readable line)
_WORDS |= {word: 10 * n for n, word in enumerate(_TENS, start=3)}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
_ORDINALS = "third fourth fifth sixth seventh eighth ninth tenth"
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4, "hundredth": 100, "hundredths": 100}
_PARTS |= {word + plural: n for n, word in enumerate(_ORDINALS.split(), start=3) for plural in ("", "s")}
_BEFORE = {"only", "about", "exactly", "approximately", "a", "an"}


def spelled(text: str) -> str | None:
    """The number that a text begins with, in digits: "105", "2 1/2", "3/4"; None for two of them and for none."""
    words = re.findall(r"[a-z]+", text[:200].lower())[:14]
    total = current = 0
    is_read = False
    for at, word in enumerate(words):
        if (value := _WORDS.get(word)) is not None:
            # "twenty five", "hundred ten", and not "five ten"
            if is_read and current % 100 and not (current % 100 >= 20 and current % 10 == 0 and 0 < value < 10):
                return None
            current, is_read = current + value, True
        elif word in _SCALES and is_read:
            if word == "hundred":
                current *= 100
            else:
                total, current = total + current * _SCALES[word], 0
        elif word in _PARTS and (is_read or word == "half" or words[at - 1 : at] in (["a"], ["an"])):
            return f"{total + current if is_read else 1}/{_PARTS[word]}"
        elif word == "and" and is_read:
            if part := _part(words[at + 1 : at + 3]):
                return f"{total + current} {part}"
        elif is_read or word not in _BEFORE:
            break
    return str(total + current) if is_read else None


def _part(words: list[str]) -> str | None:
    """What follows "two and": "a half", "three quarters"."""
    if len(words) < 2 or words[1] not in _PARTS:
        return None
    count = 1 if words[0] in ("a", "an") else _WORDS.get(words[0])
    return f"{count}/{_PARTS[words[1]]}" if count else None
