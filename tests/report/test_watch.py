"""The watched report: guarded, read-only, follows a run, lets no text of a model act; in a browser it keeps up."""

import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import facts
import pytest
import review_records
from browser import chromium, open_page
from commands import lema, lema_command
from starlette.testclient import TestClient
from waiting import wait_until

from lema_local.records.store import Store, Writer
from lema_local.records.types import Completion, Problem, TrainingMetric
from lema_local.report.live import polyline
from lema_local.report.watch import Watch
from lema_local.report.watch_app import watch_app

TOKEN = "secret-of-this-run"
HOST = "http://127.0.0.1:8651"
REPLY = "Incorrect Step: Step 2. Explanation: It subtracts. Correct Solution: Step 2: 1 + 1 = 2. The answer is 2."


def no_notice(message: str) -> None:
    raise AssertionError(message)


def add_reply(store: Writer, number: int, question: str, text: str = REPLY) -> Completion:
    """A mistake and the reply of a corrector that has just come, not graded yet."""
    problem = Problem("d", "train", question, "2")
    asked = facts.completion(problem, 5_000 + number, purpose="sample", template="sample_number.1", text="Step 1: 1.")
    reply = facts.completion(
        problem, 6_000 + number, purpose="correct", model="gpt-4", rationale_id=asked.id, text=text, cost_usd=0.25,
        created_at=datetime.now(UTC),
    )  # fmt: skip
    for fact in (problem, asked, reply):
        store.add(fact)
    return reply


def metric(step: int, loss: float) -> TrainingMetric:
    return TrainingMetric(
        review_records.an_id(77), step, "tiny", "lema", "d", 3, loss, 1e-4, 1.0, 120.0, 1.0, step * 100, step * 8,
        datetime.now(UTC),
    )  # fmt: skip


@pytest.fixture
def filled(db: Path) -> Path:
    review_records.fill(db)
    return db


def client_of(db: Path) -> TestClient:
    watch = Watch(Store(db, own_views=True), title="Does it help?", seed=1, profile=None, on_notice=no_notice)
    client = TestClient(watch_app(watch, token=TOKEN), base_url=HOST)
    assert client.get("/").status_code == 403
    client.get("/", params={"token": TOKEN})
    return client


def test_only_this_machine_with_the_token_may_read_and_nobody_may_write(filled: Path) -> None:
    before = filled.read_bytes()
    client = client_of(filled)
    assert client.get("/").status_code == client.get("/live").status_code == client.get("/live.js").status_code == 200
    assert TOKEN not in client.get("/").text
    for path in ("/", "/live", "/live.js"):
        assert client.get(path, headers={"host": "evil.example"}).status_code == 421
        assert client.post(path, json={}).status_code == 403
        assert client.post(path, json={}, headers={"origin": HOST}).status_code == 405
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    stranger = TestClient(client.app, base_url=HOST)
    for path in ("/", "/live", "/live.js", "/?token=guess"):
        assert stranger.get(path).status_code == 403
    assert filled.read_bytes() == before


def test_the_page_shows_new_records_and_replies_that_are_not_graded_yet(filled: Path) -> None:
    client = client_of(filled)
    assert "50 replies, 0 of them in the last minute" in client.get("/").text
    with Writer(filled) as store:  # never read meanwhile: a process has a file open for reading or for writing
        add_reply(store, 1, "How many <b>pears</b>?")
        for step, loss in ((1, 2.5), (2, 1.25)):
            store.add(metric(step, loss))
    wait_until(lambda: "pears" in client.get("/live").text)
    text = " ".join(re.sub(r"<[^>]*>", " ", client.get("/live").text).split())
    assert "Loss from 2.500 to 1.250 over 2 steps" in client.get("/live").text
    assert "Nobody is writing the database. 52 replies, 1 of them in the last minute, 0 failed calls" in text
    assert "0.25 US dollars, 51 replies without a price." in text
    assert "corrections gpt-4, d 1" in text
    assert "training steps tiny, d, lema, seed 3 2" in text
    assert "ungraded How many &lt;b&gt;pears&lt;/b&gt;?" in text
    assert "blamed" not in text.partition("pears")[2].partition("Mistake by")[0]
    assert "It subtracts." in text  # the reply is read before it is graded


def test_hostile_text_is_inert_in_the_live_part_too(db: Path) -> None:
    review_records.fill(db, hostile=True)
    with Writer(db) as store:
        add_reply(store, 1, "<!-- live --> <script>window.owned = 1</script>", review_records.HOSTILE[0])
    client = client_of(db)
    text = client.get("/live").text
    assert "window.owned" in text
    assert not re.findall(r"<(?:script|img|style|a href=.javascript)", text)
    assert client.get("/").text.count('id="live"') == 1
    assert not re.search("[\x00-\x08\x1b\u009b]", text)


def test_a_database_that_goes_away_leaves_what_was_there_before(filled: Path) -> None:
    client = client_of(filled)
    filled.rename(filled.with_name("elsewhere"))
    wait_until(lambda: "This is what was there before" in client.get("/live").text)
    assert client.get("/live").text.count('class="sample"') == 25


def test_a_loss_that_is_no_number_is_left_out_of_the_curve() -> None:
    assert polyline([(0, 2.0), (1, float("nan")), (2, 1.0)]) == "2.0,2.0 238.0,30.0"
    assert polyline([]) == ""


def test_a_missing_database_is_one_line(tmp_path: Path) -> None:
    done = lema("report", "--watch", "--db", tmp_path / "none.duckdb", "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"[^\n]*No database at [^\n]*\n", done.stderr)


@pytest.fixture
def served(filled: Path) -> Iterator[tuple[Path, str, "subprocess.Popen[str]"]]:
    command = lema_command("report", "--watch", "--db", filled, "--port", "0")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield filled, process.stdout.readline().strip(), process
    if process.poll() is None:
        process.kill()
        process.communicate()


def test_in_a_browser_samples_come_by_themselves_and_are_gone_through_by_keyboard(
    served: tuple[Path, str, "subprocess.Popen[str]"],
) -> None:
    db, address, process = served
    with chromium() as browser, open_page(browser, address, width=390) as tab:
        page: Any = tab.page
        page.locator("#live-count", has_text="25 of 25").wait_for()
        assert "token" not in page.url
        with Writer(db) as store:
            add_reply(store, 1, "How many pears?")
            page.locator("#live-samples summary", has_text="How many pears?").wait_for(timeout=60_000)
            assert "is writing the database. 52 replies, 1 of them in the last minute" in page.inner_text(
                "#live-numbers"
            )
        page.keyboard.press("j")
        assert "pears" in page.inner_text("#live-samples details[open]")
        page.keyboard.press("j")
        opened = page.locator("#live-samples details[open]")
        assert opened.count() == 1
        assert "bakery" in opened.inner_text()
        page.keyboard.press("k")
        assert "pears" in opened.inner_text()
        page.select_option("#live-outcome", "rejected")
        assert page.inner_text("#live-count") == "1 of 26"
        assert page.locator("#live-samples details.sample:visible").count() == 1
        assert not tab.scrolls_sideways()
        page.locator("#live-newer").wait_for(timeout=60_000)  # the report itself was rendered anew
        assert tab.errors == []
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert err.splitlines()[-1].endswith("The same as a file: lema report")
