"""The review server ended at any moment: a grade that it has taken is there, once."""

import http.client
import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import duckdb
import pytest
from forked_lema import ForkedLema, how_many
from review_records import fill

from lema_local.records.store import Store
from lema_local.review.desk import settle


class Page:
    """What a browser sends for a reviewer."""

    def __init__(self, said: Path, reviewer: str) -> None:
        self._path = f"/api/as/{reviewer}"
        deadline = time.monotonic() + 60
        while not (address := said.read_text().partition("http://")[2]).endswith("\n"):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        parts = urlsplit("http://" + address.strip())
        self._host, token = parts.netloc, parts.query.removeprefix("token=")
        self._headers = {
            "cookie": f"lema_review_{parts.port}={token}",
            "origin": f"http://{self._host}",
            "content-type": "application/json",
        }
        self._connection = http.client.HTTPConnection(self._host, timeout=20)
        self._connection.connect()

    def ask(self, body: dict[str, str] | None = None) -> dict[str, object]:
        content = None if body is None else json.dumps(body)
        self._connection.request("GET" if body is None else "POST", self._path, content, self._headers)
        answer = self._connection.getresponse()
        found: dict[str, object] = json.loads(answer.read())
        assert answer.status == 200, found
        return found

    def close(self) -> None:
        self._connection.close()


def grade_until_the_server_is_gone(page: Page, taken: set[str]) -> None:
    try:
        correction = page.ask()["item"]["id"]  # type: ignore[index]
        while True:
            event = str(uuid4())
            page.ask({"id": event, "event": "grade", "correction": correction, "grade": "good"})
            taken.add(event)
    except (OSError, http.client.HTTPException):
        page.close()


@pytest.mark.parametrize("kills", [2, pytest.param(how_many(200), marks=[pytest.mark.slow, pytest.mark.timeout(7200)])])
def test_a_killed_review_server_loses_and_doubles_no_grade_that_it_took(
    db: Path, forked: ForkedLema, kills: int
) -> None:
    fill(db)
    moments, taken = random.Random(11), set[str]()
    for part in range(kills):  # a reviewer each: what one has graded is not shown again
        (db.parent / "said").write_text("")
        pid = forked.start("review", "--db", db, "--port", "0", cwd=db.parent)
        page = Page(db.parent / "said", f"ada-{part}")
        threading.Timer(moments.uniform(0.01, 0.2), os.kill, (pid, signal.SIGKILL)).start()
        grade_until_the_server_is_gone(page, taken)
        assert forked.wait() == -signal.SIGKILL
    assert settle(Store(db))
    rows = Store(db).rows("select id, count(*) as n from review group by all")
    assert taken <= {row["id"] for row in rows}
    assert {row["n"] for row in rows} == {1}
    assert len(rows) <= len(taken) + kills  # the one in flight may have been taken
    print(f"{kills} kills of the review server; {len(taken)} grades taken, none lost or doubled")


def test_grades_that_another_process_keeps_out_of_the_database_are_said_to_wait(db: Path, forked: ForkedLema) -> None:
    fill(db)
    (db.parent / "said").write_text("")
    pid = forked.start("review", "--db", db, "--port", "0", cwd=db.parent)
    page = Page(db.parent / "said", "ada")
    with duckdb.connect(str(db)):
        item = page.ask()["item"]
        page.ask({"id": str(uuid4()), "event": "grade", "correction": item["id"], "grade": "good"})  # type: ignore[index]
        page.close()
        os.kill(pid, signal.SIGINT)
        assert forked.wait() == 0
    said = (db.parent / "said").read_text().splitlines()[-1]
    assert f"grades wait on disk, in {db}.reviews" in said
    assert "lema review summary" in said
    code, said = forked.run("review", "summary", "--db", db, cwd=db.parent)
    assert (code, "ada" in said) == (0, True)
    assert Store(db).rows("select reviewer, grade from review") == [{"reviewer": "ada", "grade": "good"}]
