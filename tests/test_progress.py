"""Progress speaks where nothing comes: the first replies of a slow model take minutes."""

import io
import threading

import pytest
from waiting import wait_until

from lema_local import progress
from lema_local.progress import Progress


def test_a_silence_is_spoken_of_until_the_work_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_S", 0.05)
    before = threading.active_count()
    said = io.StringIO()
    shown = Progress("correct", 3, stream=said)
    shown.open()
    wait_until(lambda: said.getvalue().count("\n") > 2)
    first = said.getvalue().splitlines()[0]
    assert first.startswith("correct 0/3  ")
    assert first.endswith("  no reply for 0:00")
    shown.step()
    shown.close()
    wait_until(lambda: threading.active_count() == before)
    assert "correct 1/3" in said.getvalue().splitlines()[-1]


def test_replies_that_come_in_time_are_not_spoken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_S", 5.0)
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    said = io.StringIO()
    shown = Progress("correct", 3, stream=said)
    shown.open()
    for _ in range(3):
        shown.step()
    shown.close()
    assert len(said.getvalue().splitlines()) == 4
    assert "no reply" not in said.getvalue()
