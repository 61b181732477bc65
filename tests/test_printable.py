"""What is shown holds no character that a terminal, a page, a picture or a spreadsheet would act on."""

import json
from typing import Any
from unicodedata import category
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest

from lema_local import printable

EVERY = "".join(map(chr, range(0x110000)))
KEPT = {"\n", "\t"}


def controls(text: str) -> set[str]:
    """Controls and half characters in a text, but for line ends and tabs."""
    return {c for c in set(text) - KEPT if category(c) in ("Cc", "Cs")}


def test_a_page_or_a_picture_gets_only_characters_that_xml_and_utf_8_can_hold() -> None:
    clean = printable.characters(EVERY)
    assert controls(clean) == set()
    assert not any(0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE for c in set(clean))
    assert ElementTree.fromstring(f"<a>{escape(clean)}</a>").text == clean.encode().decode()
    assert len(clean) == len(EVERY)


def test_what_a_page_can_hold_stays_as_it_is_and_the_rest_is_marked() -> None:
    text = "a\tb\n½ שלום 👩‍👩‍👧 \u202e"
    assert printable.characters(text) == text
    assert printable.characters("a\x00b\x9bc\r\nd\re\ufffe") == "a\ufffdb\ufffdc\nd\ne\ufffd"


def test_plain_data_is_cleaned_in_every_name_and_text() -> None:
    given = {"a\x00": ["b\x1b", ("c\x07", 1.5, None, True)], "d": {"e\x9f": "f"}}
    assert printable.all_characters(given) == {
        "a\ufffd": ["b\ufffd", ["c\ufffd", 1.5, None, True]],
        "d": {"e\ufffd": "f"},
    }


def test_a_terminal_gets_what_prints_and_lines_where_they_are_wanted() -> None:
    assert all(c.isprintable() for c in printable.line(EVERY))
    assert all(c.isprintable() or c == "\n" for c in printable.lines(EVERY))
    assert printable.line("a\x1b[2J\nb") == "a [2J b"
    assert printable.lines("a\x1b[2J\nb") == "a [2J\nb"


def test_json_has_escapes_for_what_does_not_print_and_means_the_same() -> None:
    given = {"a\x9b": [EVERY, 1, None], "½": "שלום\n"}
    text = printable.json_text(given)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "½" in text
    assert json.loads(text) == json.loads(json.dumps(given))


@pytest.mark.parametrize(
    "text", ["=1+1", "+1-1", "-1+1", "@SUM(A1)", " =1+1", "\n=1+1", "\t=1+1", "\uff1d1+1", "-x", "=", "+49 30 1-2"]
)
def test_a_cell_that_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert printable.csv_cell(text) == f"'{text}"
    assert printable.csv_cell(text, guard=False) == text


@pytest.mark.parametrize("value", ["-5", "+0.5", "-1,250.5", "-3e-4", "-12%", "a=b", "", "1+1", -5, 0.5, True, None])
def test_numbers_and_other_cells_stay_as_they_are(value: Any) -> None:
    assert printable.csv_cell(value) == value
