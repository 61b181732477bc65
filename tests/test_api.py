"""The Python API: an import that costs nothing, df() of any question, and verbs that work inside a notebook's loop."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from commands import ROOT
from loop_steps import Profile, counts, reason
from scripted_server import Say, ScriptedServer, completion

import lema_local
from lema_local.api import Lema
from lema_local.calls.waiting import wait_for
from lema_local.errors import LedgerError, LemaError, MissingPackageError, StoreError

SAMPLE = str(ROOT / "examples" / "sample.duckdb")


def test_the_import_brings_nothing_else() -> None:
    script = (
        "import sys, lema_local; print([m for m in sys.modules if m.startswith(('lema_local', 'duckdb', 'torch'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['lema_local']"


def test_a_data_frame_holds_what_the_query_answers() -> None:
    lema = lema_local.open(SAMPLE)
    frame = lema.df("pass_at_1")
    asked = lema.df("select count(*) as rows, min(low) as low from pass_at_1")
    assert len(frame) == asked.rows[0]
    assert frame.low.min() == asked.low[0]
    assert str(frame.low.dtype) == "float64"


def test_ids_are_text_and_parameters_are_given_by_name() -> None:
    lema = lema_local.open(SAMPLE)
    (id_,) = lema.df("select id from correction limit 1").id
    assert isinstance(id_, str)
    assert id_ in set(lema.df("lineage", id=id_[:12]).id)
    assert lema.df("select $n + 1 as more", n=4).more[0] == 5


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("self_corection_rate", "did you mean 'self_correction_rate'"),
        ("lineage", "lineage needs"),
        ("drop table problem", "DROP is no SELECT"),
        ("select nothing_such from problem", "nothing_such"),
    ],
)
def test_a_question_that_is_wrong_is_refused_in_one_line(query: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as refused:
        lema_local.open(SAMPLE).df(query)
    assert "\n" not in str(refused.value)


def test_without_pandas_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'lema-local\[notebook\]'"):
        lema_local.open(SAMPLE).df("pass_at_1")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"profile": "laptpo"}, "did you mean 'laptop'"),
        ({"limt": 3}, "No option 'limt' \\(did you mean 'limit'\\?\\)"),
        ({"set": {"sampling.smaples": 4}}, "did you mean 'samples'"),
    ],
)
def test_an_option_that_is_wrong_is_refused_in_one_line(given: dict[str, str], words: str) -> None:
    with pytest.raises(LemaError, match=words):
        lema_local.open(SAMPLE, **given)


def test_opening_and_looking_at_problems_makes_no_file(tmp_path: Path) -> None:
    lema = lema_local.open(str(tmp_path / "new.duckdb"), limit=5)
    assert [len(lema.problems()[split]) for split in ("train", "test", "dev")] == [5, 5, 0]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="No database at"):
        lema.df("pass_at_1")


def test_data_is_made_where_a_loop_runs_and_is_not_bought_again(
    db: Path, server: ScriptedServer, write_profile: Profile, tmp_path: Path
) -> None:
    server.then = reason
    said: list[str] = []
    profile = write_profile()
    lema = Lema(db, str(profile), on_notice=said.append)

    async def cell() -> list[str]:
        return [training_set.arm for training_set in lema.data()]

    assert asyncio.run(cell()) == ["cot", "lema"]
    assert server.calls == 8
    assert any(line.startswith("8 train") for line in said)
    before = counts(db)
    server.stop()
    assert [training_set.arm for training_set in lema.data(offline=True)] == ["cot", "lema"]
    assert counts(db) == before
    with pytest.raises(LedgerError):
        Lema(db, str(profile), set={"sampling.samples": 2}).data(offline=True)
    assert lema.report(tmp_path / "report.html") == [tmp_path / "report.html"]


def test_a_problem_whose_call_failed_is_not_solved_and_missing_until_the_next_call(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.script = [completion("The answer is 1."), Say(400, b"{}")]
    server.then = lambda _: completion("The answer is 1.")
    lema = Lema(db, str(write_profile(concurrency=1)), on_notice=lambda _: None)
    for missing in (1, 0):
        (row,) = lema.evaluate()
        assert (row["n"], row["missing"], row["not_evaluated"]) == (2, missing, [])


def test_ctrl_c_in_a_loop_lets_the_work_keep_what_it_has() -> None:
    kept = threading.Event()

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            kept.set()
            raise

    async def cell() -> None:
        wait_for(work())

    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(cell())
    loop.close()
    assert kept.is_set()
