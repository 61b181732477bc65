"""Review without a browser: the sample, the desk, its application, the journal that several processes share."""

import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from commands import ROOT
from review_records import CORRECTORS, LEVELS, REASONERS, an_id, fill, review
from starlette.testclient import TestClient

from lema_local.errors import DataError
from lema_local.records.shared_journal import SharedJournal, shared_path
from lema_local.records.store import Store, Writer
from lema_local.review.app import review_app
from lema_local.review.desk import Desk, RefusedError, settle
from lema_local.review.draw import draw, read_events, read_items
from lema_local.review.sampling import SampleSize, Wish
from lema_local.review.serve import open_desk

TOKEN = "secret-of-this-run"
HOST = "http://127.0.0.1:8650"
WHO = """
select corrector, reasoner, level, count(*) as n
from correction join rationale on rationale.id = rationale_id join problem on problem.id = correction.problem_id
where list_contains($ids, correction.id::varchar) group by all
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    db = tmp_path_factory.mktemp("filled") / "lema.duckdb"
    fill(db)
    return db


@pytest.fixture
def reader(filled: Path, db: Path) -> Store:
    return Store(shutil.copyfile(filled, db))


def grade(grade: str, correction: str, **more: Any) -> dict[str, Any]:
    return {"id": str(uuid4()), "event": "grade", "correction": correction, "grade": grade} | more


def undo() -> dict[str, Any]:
    return {"id": str(uuid4()), "event": "undo"}


def test_a_sample_holds_every_reasoner_corrector_and_level_alike(reader: Store) -> None:
    ids = draw(reader, Wish(size=SampleSize(8)))
    rows = reader.rows(WHO, ids=ids)
    assert {(row["corrector"], row["reasoner"], row["level"]): row["n"] for row in rows} == {
        (c, r, level): 2 for c in CORRECTORS for r in REASONERS for level in LEVELS
    }


def test_the_seed_decides_the_sample(reader: Store) -> None:
    wish = Wish(size=SampleSize(4))
    assert draw(reader, wish) == draw(reader, wish)
    assert draw(reader, wish) != draw(reader, Wish(size=SampleSize(4), seed=2))


def test_only_what_was_kept_is_drawn_unless_rejected_ones_are_asked_for(reader: Store) -> None:
    assert len(draw(reader, Wish(size=SampleSize(100)))) == 24
    assert an_id(2_900) in draw(reader, Wish(size=SampleSize(100), with_rejected=True))


def test_filters_hold_and_a_misspelt_one_is_named(reader: Store) -> None:
    ids = draw(reader, Wish(size=SampleSize(100), correctors=("wizard",), reasoners=("llama",)))
    assert {(row["corrector"], row["reasoner"]) for row in reader.rows(WHO, ids=ids)} == {("wizard", "llama")}
    with pytest.raises(DataError, match="did you mean 'wizard'"):
        draw(reader, Wish(correctors=("wizzard",)))


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(correctors=("gpt-4", "wizzard")), "No corrector 'wizzard' .*did you mean 'wizard'.*--corrector"),
        (Wish(size=SampleSize(50, {"wizzard": 20})), "No corrector 'wizzard' .*did you mean 'wizard'.*--sample"),
        (Wish(reasoners=("llama", "gpt-3,5")), "No reasoner 'gpt-3,5' .*did you mean 'gpt-3.5'.*--reasoner"),
        (Wish(datasets=("bakery", "bakrey")), "No dataset 'bakrey' .*did you mean 'bakery'.*--dataset"),
    ],
    ids=["corrector", "sample", "reasoner", "dataset"],
)
def test_a_misspelt_name_is_named_beside_right_ones_too(reader: Store, wish: Wish, said: str) -> None:
    with pytest.raises(DataError, match=said):
        draw(reader, wish)


def test_a_database_without_corrections_says_what_to_do(store: Writer) -> None:
    with pytest.raises(DataError, match="lema data"):
        draw(Store(store.path), Wish())


def test_what_a_reviewer_sees_names_no_model(reader: Store) -> None:
    desk = open_desk(reader, Wish())
    shown = str(
        [desk.view("ada"), desk.reviewers(), *(item.as_dict() for item in read_items(reader, draw(reader, Wish())))]
    )
    assert not [name for name in (*CORRECTORS, *REASONERS) if name in shown]


def test_a_grade_is_on_disk_before_its_answer_and_in_the_database_after_settling(reader: Store) -> None:
    desk = open_desk(reader, Wish())
    first = desk.view("ada")["item"]["id"]
    after = desk.answer("ada", grade("good", first, note="a little long"))
    assert after["progress"]["graded"] == 1
    assert after["item"]["id"] != first
    assert shared_path(reader.path).read_text().count("\n") == 1
    assert settle(reader)
    assert not shared_path(reader.path).exists()
    (row,) = reader.rows("select * exclude (id, created_at) from review")
    assert row == {"correction_id": first, "reviewer": "ada", "grade": "good", "note": "a little long",
                   "event": "grade", "completion_id": None}  # fmt: skip


def test_a_desk_that_died_is_opened_again_where_it_was(reader: Store) -> None:
    desk = open_desk(reader, Wish())
    for _ in range(3):
        desk.answer("ada", grade("poor", desk.view("ada")["item"]["id"]))
    desk.answer("ada", {"id": str(uuid4()), "event": "skip", "correction": desk.view("ada")["item"]["id"]})
    before = desk.view("ada")  # no settling: the process is gone now
    again = Desk(reader, read_items(reader, draw(reader, Wish())), read_events(reader))
    assert again.view("ada") == before
    assert again.reviewers() == [{"name": "ada", "graded": 3, "total": 24}]


def test_an_event_that_is_sent_twice_counts_once(reader: Store) -> None:
    desk = open_desk(reader, Wish())
    event = grade("poor", desk.view("ada")["item"]["id"])
    assert desk.answer("ada", event) == desk.answer("ada", event)
    desk = open_desk(reader, Wish())
    assert desk.answer("ada", event)["progress"]["graded"] == 1
    assert len(read_events(reader)) == 1


def test_a_grade_that_a_browser_kept_of_an_earlier_sample_is_taken(reader: Store) -> None:
    event = grade("good", open_desk(reader, Wish(correctors=("gpt-4",))).view("ada")["item"]["id"], note="late")
    desk = open_desk(reader, Wish(correctors=("wizard",)))
    shown = desk.view("ada")
    assert desk.answer("ada", event) == desk.answer("ada", event) == shown
    assert [(each.correction_id, each.note) for each in read_events(reader)] == [(event["correction"], "late")]


def test_undo_brings_the_correction_and_its_note_back(reader: Store) -> None:
    desk = open_desk(reader, Wish())
    assert desk.answer("ada", undo())["progress"]["can_undo"] is False
    first = desk.view("ada")["item"]["id"]
    desk.answer("ada", grade("poor", first, note="hasty"))
    back = desk.answer("ada", undo())
    assert (back["item"]["id"], back["item"]["note"], back["progress"]["graded"]) == (first, "hasty", 0)
    settle(reader)
    assert reader.rows("select event, grade from review order by created_at") == [
        {"event": "grade", "grade": "poor"}, {"event": "undo", "grade": None}
    ]  # fmt: skip
    assert open_desk(reader, Wish()).view("ada")["item"]["id"] == first


def test_reviewers_do_not_see_or_undo_each_other(reader: Store) -> None:
    desk = open_desk(reader, Wish())
    desk.answer("ada", grade("poor", desk.view("ada")["item"]["id"]))
    assert desk.view("bo")["progress"]["graded"] == 0
    assert desk.answer("bo", undo())["progress"]["graded"] == 0
    assert desk.view("ada")["progress"]["graded"] == 1


@pytest.mark.parametrize(
    "change",
    [{"grade": "great"}, {"event": "steal"}, {"correction": str(UUID(int=7))}, {"correction": 7}, {"id": "x"},
     {"note": "x" * 5_000}, {"note": ["x"]}],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_an_event_is_refused_and_not_recorded(reader: Store, change: dict[str, Any]) -> None:
    desk = open_desk(reader, Wish())
    with pytest.raises(RefusedError):
        desk.answer("ada", grade("good", desk.view("ada")["item"]["id"]) | change)
    assert read_events(reader) == []


def test_grades_are_taken_while_a_run_writes_the_database_and_are_in_it_at_once(reader: Store) -> None:
    desk = open_desk(reader, Wish())
    with Writer(reader.path) as run:
        desk.answer("ada", grade("good", desk.view("ada")["item"]["id"]))
        assert desk.view("ada")["writer"] is None  # this process is the run, here
        assert not settle(reader)  # it is for the run to merge
        run.merge()
        assert run.rows("select grade from review") == [{"grade": "good"}]


APPENDS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from review_records import review
from lema_local.records.shared_journal import SharedJournal
first = int(sys.argv[3])
for number in range(first, first + 100):
    SharedJournal(Path(sys.argv[2])).append(review(number, number % 24, f"r{first}", "good"))
"""


def test_processes_add_to_one_journal_while_it_is_merged_and_nothing_is_lost(reader: Store) -> None:
    command = [sys.executable, "-c", APPENDS, str(ROOT / "tests" / "helpers"), str(shared_path(reader.path))]
    workers = [subprocess.Popen([*command, str(first)]) for first in (0, 1_000, 2_000)]
    with Writer(reader.path) as run:
        while any(worker.poll() is None for worker in workers):
            run.merge()
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert reader.rows("select count(*) as n from review") == [{"n": 300}]


def test_a_line_that_a_crash_tore_spoils_no_other(reader: Store) -> None:
    path = shared_path(reader.path)
    SharedJournal(path).append(review(1, 1, "ada", "good"))
    with path.open("ab") as file:
        file.write(b'{"table": "review", "row": ["torn')
    assert len(read_events(reader)) == 1
    SharedJournal(path).append(review(2, 2, "ada", "poor"))
    settle(reader)
    assert Counter(event.grade for event in read_events(reader)) == {"good": 1, "poor": 1}


# ---- the application


@pytest.fixture
def client(reader: Store) -> Iterator[TestClient]:
    app = review_app(open_desk(reader, Wish()), token=TOKEN, reviewer="ada lovelace")
    with TestClient(app, base_url=HOST, follow_redirects=False) as client:
        yield client


def enter(client: TestClient) -> None:
    answer = client.get("/", params={"token": TOKEN})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/as/ada%20lovelace"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


OWN = {"origin": HOST}


def test_nothing_is_served_without_the_token(client: TestClient) -> None:
    paths = ("/", "/as/ada", "/api/reviewers", "/api/as/ada", "/review.js", "/theme.css", "/nowhere", "/?token=guess")
    assert {client.get(path).status_code for path in paths} == {403}
    assert client.post("/api/as/ada", json={}, headers=OWN).status_code == 403
    assert client.get("/api/reviewers", params={"token": TOKEN}).status_code == 403  # it opens the page, nothing else


def test_the_token_becomes_a_cookie_that_opens_the_page(client: TestClient) -> None:
    enter(client)
    assert "<script" in client.get("/as/ada").text
    assert client.get("/api/as/ada").json()["progress"]["total"] == 24
    assert TOKEN not in client.get("/as/ada").text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8650", "127.0.0.1.evil.example", "", "[::1", "0.0.0.0"])
def test_a_name_that_was_rebound_to_this_machine_is_refused(client: TestClient, host: str) -> None:
    enter(client)
    assert client.get("/api/as/ada", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8650", "localhost:9000", "LOCALHOST"])
def test_the_machine_itself_is_let_in_by_its_names_and_through_a_tunnel(client: TestClient, host: str) -> None:
    enter(client)
    assert client.get("/api/as/ada", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "null"}, {"origin": "http://127.0.0.1:9999"}, {"origin": "https://evil.example"},
     OWN | {"content-type": "text/plain"}, OWN | {"sec-fetch-site": "same-site"}],
    ids=str,
)  # fmt: skip
def test_another_page_cannot_grade_in_a_reviewers_name(
    client: TestClient, reader: Store, headers: dict[str, str]
) -> None:
    enter(client)
    body = grade("poor", client.get("/api/as/ada").json()["item"]["id"])
    assert client.post("/api/as/ada", json=body, headers=headers).status_code == 403
    assert read_events(reader) == []
    assert client.post("/api/as/ada", json=body, headers=OWN).json()["progress"]["graded"] == 1


def test_every_answer_forbids_inline_scripts_framing_and_other_hosts(client: TestClient) -> None:
    enter(client)
    for path in ("/", "/as/ada", "/api/as/ada", "/review.js", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 400), (b"[]", 400), (b"[" * 60_000, 400), (b'"' + b"x" * 70_000 + b'"', 413), (b"\xff", 400)],
    ids=["half", "list", "deep", "long", "not UTF-8"],
)
def test_a_body_that_is_no_event_is_refused_in_words(client: TestClient, content: bytes, status: int) -> None:
    enter(client)
    headers = OWN | {"content-type": "application/json"}
    answer = client.post("/api/as/ada", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_a_name_that_is_none_is_refused_in_words(client: TestClient) -> None:
    enter(client)
    assert client.get("/api/as/model:x").status_code == 400
    assert "judge" in client.get("/api/as/model:x").json()["error"]


def test_two_reviewers_at_once_lose_nothing(reader: Store) -> None:
    desk = open_desk(reader, Wish())

    def work(name: str) -> None:
        while (item := desk.view(name)["item"]) is not None:
            desk.answer(name, grade("good", item["id"]))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("ada", "bo", "cy")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settle(reader)
    assert reader.rows("select count(*) as n, count(distinct created_at) as times from review") == [
        {"n": 72, "times": 72}
    ]


def test_an_item_order_tells_nothing_of_the_corrector(reader: Store) -> None:
    writers = {row["id"]: row["corrector"] for row in reader.rows("select id, corrector from correction")}
    order = [writers[id_] for id_ in draw(reader, Wish())]
    assert sum(a != b for a, b in pairwise(order)) > 5
