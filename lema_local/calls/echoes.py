"""Keys that a server sends back: taken out of whatever is kept or shown. Pure.

    scrub = scrubber("sk-1f2e3d")
    scrub('{"id": "sk\\u002D1f2e3d"}')       # '{"id": "[key]"}'

JSON can spell each letter of a key in several ways, and a JSON text within a JSON text more than once over; so the
pattern takes each letter as itself or as any of its escapes, and what would be the key when it is decoded is found
before it is. A key of fewer than eight characters is none: servers that want no key are given EMPTY, test or x, which
models write too.
"""

import re
from collections.abc import Callable

NO_KEY = "none"  # what an endpoint without a key sends
SHORTEST_KEY = 8  # characters
INSTEAD = "[key]"
_SHORT = frozenset('"\\/')  # of the printable letters, those that have an escape of two letters


def scrubber(key: str) -> Callable[[str], str]:
    """A function that takes a key out of a text, whatever way JSON spells it."""
    if len(key) < SHORTEST_KEY:
        return lambda text: text
    pattern = re.compile("".join(map(_spellings, key)))
    escape = "\\u" if _SHORT.isdisjoint(key) else "\\"  # without it the key can only stand there as it is

    def scrub(text: str) -> str:
        return pattern.sub(INSTEAD, text) if escape in text else text.replace(key, INSTEAD)

    return scrub


def _spellings(letter: str) -> str:
    """A pattern of the ways in which JSON can spell a letter, escaped up to eight times over."""
    plain, code = re.escape(letter), f"{ord(letter):04x}"
    digits = "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in code)
    escaped = rf"\\{{1,8}}u{digits}"
    return rf"(?:{plain}|\\{{1,8}}{plain}|{escaped})" if letter in _SHORT else rf"(?:{plain}|{escaped})"
