"""A key that a server sends back, in whatever spelling JSON allows, is taken out."""

import json
import time

import pytest

from lema_local.calls.echoes import NO_KEY, scrubber

KEY = 'sk-1f/x"Q\\7'  # with every kind of letter that JSON can spell in several ways
SPELLINGS = {
    "as it is": KEY,
    "as JSON": json.dumps(KEY),
    "a slash escaped": json.dumps(KEY).replace("/", "\\/"),
    "one letter by number": json.dumps(KEY).replace("s", "\\u0073"),
    "all letters by number": '"' + "".join(f"\\u{ord(letter):04x}" for letter in KEY) + '"',
    "numbers in capitals": '"' + "".join(f"\\u{ord(letter):04X}" for letter in KEY) + '"',
    "JSON within JSON": json.dumps(json.dumps({"error": KEY}).replace("s", "\\u0073")),
    "three deep": json.dumps(json.dumps(json.dumps(KEY))),
}


@pytest.mark.parametrize("said", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_of_a_key_is_taken_out(said: str) -> None:
    found = scrubber(KEY)(f'{{"a": [{said}, 1]}}')
    assert "[key]" in found
    while "\\" in found:  # whoever decodes it finds nothing either
        found = found.replace('\\"', '"').replace("\\\\", "\\")
        assert KEY not in found


def test_what_is_no_key_stays() -> None:
    text = '{"text": "sk-1f \\u0073k\\n \\u2028"}'
    assert scrubber(KEY)(text) == text
    assert scrubber(NO_KEY)("none of them") == "none of them"


@pytest.mark.parametrize("key", ["EMPTY", "test", "x", "1234567"])
def test_a_word_that_servers_without_keys_are_given_is_no_key(key: str) -> None:
    text = f'{{"text": "{key} and \\u0078"}}'
    assert scrubber(key)(text) == text


def test_a_key_of_eight_characters_is_one() -> None:
    assert scrubber("12345678")("12345678") == "[key]"


def test_a_body_of_escapes_takes_no_longer_than_its_length() -> None:
    scrub, began = scrubber("sk-canary"), time.process_time()
    scrub("\\" * 1_000_000 + "\\u0073" * 200_000 + "sk-canar" * 100_000)
    assert time.process_time() - began < 3
