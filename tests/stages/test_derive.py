"""Deriving: every completion is graded once, however the table is cut into stretches."""

from pathlib import Path

import pytest
from facts import completion, problem

from lema_local.records.store import Writer
from lema_local.stages import derive as stage
from lema_local.stages.derive import Flip, derive, rederive


@pytest.mark.parametrize("stretch", [1, 3, 100])
def test_stretches_grade_every_completion_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stretch: int) -> None:
    monkeypatch.setattr(stage, "_STRETCH", stretch)
    p = problem()  # its answer is 1
    with Writer(tmp_path / "a.duckdb") as store:
        store.add(p)
        for n in range(7):
            purpose = "evaluate" if n % 2 else "sample"
            store.add(completion(p, n, purpose=purpose, text=f"Step 1: Count. The answer is {n}."))
        assert (derive(store, "sample"), derive(store, "evaluate")) == (4, 3)
        assert (derive(store, "sample"), derive(store, "evaluate")) == (0, 0)
        store.add(completion(p, 7, purpose="sample"))
        assert derive(store, "sample") == 1
        answers = store.rows("select answer, is_correct from rationale order by id")
        assert [(row["answer"], row["is_correct"]) for row in answers] == [
            ("0", False),
            ("2", False),
            ("4", False),
            ("6", False),
            ("1", True),
        ]
        assert rederive(store) == [Flip("rationale", 5, 0, 0), Flip("correction", 0, 0, 0), Flip("evaluation", 3, 0, 0)]


def test_a_grade_of_an_older_grader_is_put_right_and_counted(tmp_path: Path) -> None:
    p = problem()
    with Writer(tmp_path / "a.duckdb") as store:
        store.add(p)
        for n in range(4):
            store.add(completion(p, n, purpose="sample", text=f"The answer is {n}."))
        derive(store, "sample")
        with store.connect(write=True) as connection:
            connection.execute("update rationale set is_correct = not is_correct where answer in ('0', '1')")
        assert rederive(store)[0] == Flip("rationale", 4, 1, 1, changed=2)
        assert store.rows("select answer from rationale where is_correct") == [{"answer": "1"}]


def test_what_an_older_lema_kept_of_bad_ends_is_no_whole_mistake_any_more(tmp_path: Path) -> None:
    p = problem()
    ends = {"stop": False, "eos_token": False, None: False, "length": True, "MAX_TOKENS": True, "abort": True}
    with Writer(tmp_path / "a.duckdb") as store:
        store.add(p)
        for n, end in enumerate(ends):
            store.add(completion(p, n, purpose="sample", text="Step 1: Count. The answer is 7.", finish_reason=end))
        derive(store, "sample")
        with store.connect(write=True) as connection:  # as it was derived when only `length` was known
            connection.execute(
                "update rationale set is_cut = id in (select id from completion where finish_reason = 'length')"
            )
        assert len(store.rows("from mistake")) == 5
        rederive(store)
        rows = store.rows("select finish_reason, is_cut from rationale join completion using (id)")
        assert {row["finish_reason"]: row["is_cut"] for row in rows} == ends
        assert len(store.rows("from mistake")) == 3
