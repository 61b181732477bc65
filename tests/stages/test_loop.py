"""The loop from problems to training sets: a scripted server samples (and corrects), the real oracle corrects the rest.

What is asserted is what a user pays for: which calls are made, and that none is made twice.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from commands import PROBLEMS
from loop_steps import NUMBERS, Profile, amounts, counts, data, opened, put_right, reason, reason_and_correct, rows
from scripted_server import Body, Say, ScriptedServer, chat

from lema_local.errors import EndpointError
from lema_local.records.keys import content_key
from lema_local.records.store import Writer
from lema_local.records.types import Batch
from lema_local.settings.profiles import load_profile
from lema_local.stages.batch_work import work_of
from lema_local.stages.build import build
from lema_local.stages.correct import correct, kept_corrections, mistakes
from lema_local.stages.derive import rederive
from lema_local.stages.estimate import estimate
from lema_local.stages.evaluate import targets
from lema_local.stages.hand_in import record
from lema_local.stages.run import Run
from lema_local.stages.sample import sample

pytestmark = pytest.mark.usefixtures("quick_oracle")


def test_mistakes_are_corrected_and_become_examples(db: Path, server: ScriptedServer, write_profile: Profile) -> None:
    server.then = reason
    cot, lema_ = data(db, write_profile())
    found = rows(db, "select question, is_correct, is_cut from rationale join problem on problem.id = problem_id")
    assert len(found) == server.calls == 8
    wrong = [row for row in found if not row["is_correct"] and not row["is_cut"]]
    assert wrong
    assert all(int(NUMBERS.findall(row["question"])[0][0]) % 2 for row in wrong)
    kept = rows(db, "select corrector, is_reference_derived, rejected_because, incorrect_step from correction")
    derived = {
        "corrector": "oracle",
        "is_reference_derived": True,
        "rejected_because": None,
        "incorrect_step": 2,
    }
    assert kept == [derived] * len(wrong)
    right = sum(row["is_correct"] for row in found)
    assert (cot.training_set.cot_examples, cot.training_set.correction_examples) == (8 + right, 0)
    assert (lema_.training_set.cot_examples, lema_.training_set.correction_examples) == (8 + right, len(wrong))
    text = next(example for example in lema_.examples if example.kind == "correction")
    assert text.prompt.endswith("\n}\nIncorrect Step:")
    assert text.output.startswith(" Step 2.\nExplanation: ")
    assert "\nCorrect Solution:\n{\n...\nStep 2: " in text.output


def test_rerun_makes_no_calls_and_gives_the_same_training_sets(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason_and_correct
    profile = write_profile(correctors=("corrector", "oracle"), samples=2)
    first = [built.training_set for built in data(db, profile)]
    calls, before = server.calls, counts(db)
    server.stop()  # a call that is made now cannot succeed
    assert [built.training_set for built in data(db, profile)] == first
    assert server.calls == calls
    assert counts(db) == before
    assert rows(db, "select count(*) as n from training_set") == [{"n": 2}]


def test_another_machine_gives_the_same_training_sets(
    tmp_path: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason
    profile = write_profile()
    one, other = (data(tmp_path / name / "lema.duckdb", profile) for name in ("one", "other"))
    assert [built.training_set.id for built in one] == [built.training_set.id for built in other]


def test_a_cascade_sends_on_only_what_was_not_corrected(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason_and_correct
    data(db, write_profile(correctors=("corrector", "oracle")))
    wrong = len(rows(db, "from mistake"))
    by = "select corrector, count(*) as n, count(*) filter (rejected_because is null) as kept from correction"
    found = {row["corrector"]: (row["n"], row["kept"]) for row in rows(db, f"{by} group by all")}
    sent, kept = found["scripted-corrector"]
    assert sent == wrong == sum(body["model"] == "scripted-corrector" for body in server.requests)
    assert 0 < kept < sent
    assert found["oracle"] == (sent - kept, sent - kept)
    refused = "select distinct rejected_because as why from correction where corrector = 'scripted-corrector'"
    assert {row["why"] for row in rows(db, refused)} == {None, "called correct"}


def test_a_mistake_whose_call_failed_stays_with_its_corrector(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason
    with opened(db, write_profile(correctors=("corrector", "oracle"))) as run:
        sample(run)
        fails = amounts({"messages": [{"content": mistakes(run)[0]["question"]}]})
        server.then = lambda body: Say(400, b"no") if amounts(body) == fails else reason_and_put_right(body)
        assert correct(run).failed == 1
        given = len(mistakes(run))
        assert counted_by_corrector(db) == {"scripted-corrector": given - 1}  # the oracle was asked for nothing
        assert len(kept_corrections(run)) == given - 1
        server.then = reason_and_put_right
        assert correct(run).done == 1
        assert len(kept_corrections(run)) == given
    assert counted_by_corrector(db) == {"scripted-corrector": given}


def test_a_correction_that_is_paid_for_trains_though_a_call_before_it_is_to_come(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason_and_put_right
    with opened(db, write_profile(correctors=("oracle",))) as run:
        sample(run)
        correct(run)
        made = kept_corrections(run)
    with opened(db, write_profile(correctors=("corrector", "oracle"))) as run:
        assert made
        assert kept_corrections(run) == made


def test_a_mistake_that_is_in_a_batch_is_handed_to_no_other_corrector(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason_and_correct
    with opened(db, write_profile(correctors=("corrector", "oracle"))) as run:
        sample(run)
        work = work_of(run, "correct")
        ids = [call.id for call in work.pending]
        assert (work.endpoint.name, len(ids)) == ("corrector", len(mistakes(run)))
        batch = Batch(content_key("b"), "b", "corrector", server.base_url, "correct", len(ids), datetime.now(UTC))
        record(run, batch, ids)
        run.store.merge()
        assert work_of(run, "correct").pending == ()
        assert correct(run).done == 0
        left = {row.endpoint: (row.calls, row.basis) for row in estimate(run) if row.stage == "correct"}
    assert left["corrector"][0] == 0
    assert left["oracle"][0] == len(ids)  # as many as it may come to
    assert "at most: the correctors before correct none" in left["oracle"][1]


def test_a_mistake_that_a_corrector_cannot_be_asked_about_goes_on_to_the_next(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason_and_put_right
    profile = write_profile(correctors=("oracle", "corrector"))
    unsolved = db.parent / "unsolved.jsonl"
    problems = [json.loads(line) for line in PROBLEMS.read_text().splitlines()]
    unsolved.write_text("\n".join(json.dumps(row | {"solution": None}) for row in problems))
    profile.write_text(profile.read_text().replace(str(PROBLEMS), str(unsolved)))
    with opened(db, profile) as run:
        sample(run)
        correct(run)
        given = len(mistakes(run))
    assert counted_by_corrector(db) == {"scripted-corrector": given}


def test_no_corrector_is_asked_about_a_mistake_without_steps(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = lambda body: chat("It is 1,000. The answer is 1,000.")
    said: list[str] = []
    with opened(db, write_profile(correctors=("corrector", "oracle"))) as run:
        run.notice = said.append
        sample(run)
        sampled = server.calls
        correct(run)
    assert server.calls == sampled == 8
    assert "8 mistakes have no steps that can be read: no corrector is asked about them." in said
    assert counted_by_corrector(db) == {}


def reason_and_put_right(body: Body) -> Say:
    """The corrector puts every mistake right."""
    return reason(body) if body["model"] == "scripted" else put_right(body)


def counted_by_corrector(db: Path) -> dict[str, int]:
    """How many replies there are of each corrector."""
    found = rows(db, "select model, count(*) as n from completion where purpose = 'correct' group by all")
    return {row["model"]: row["n"] for row in found}


def test_a_rationale_cut_off_is_no_mistake_and_no_training_text(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = lambda body: chat("Step 1: 3 * 5 = 15. The answer is 15.", finish_reason="length")
    with opened(db, write_profile()) as run:
        sample(run)
        assert mistakes(run) == []
        assert correct(run).done == 0
        (cot,) = build(run, ("cot",))
    assert rows(db, "select count(*) as n from rationale where is_cut") == [{"n": 8}]
    assert cot.training_set.cot_examples == 8  # the gold ones alone


def test_an_arm_that_is_not_trained_is_named_when_it_is_evaluated(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason
    profile = write_profile()
    served = f'[endpoints.student]\nbase_url = "{server.base_url}"\nmodel = "scripted"'
    here = '[endpoints.student]\nrecipe = "llama_cpp"\nmodel = "smollm2-135m-instruct"'
    settings = "\n[training]\nmax_steps = 4\nsave_steps = 2\n"
    assert served in profile.read_text()
    profile.write_text(profile.read_text().replace(served, here) + settings)
    notices: list[str] = []
    with Writer(db) as store:
        run = Run(load_profile(str(profile), environment={}), store, notices.append)
        sample(run)
        correct(run)
        notices.clear()
        assert [target.label for target in targets(run)] == ["base"]
    expected = (
        "step 2, 4 of this profile and data is not trained yet: `lema train` with the same options, then this again."
    )
    assert notices == [f"cot: {expected}", f"lema: {expected}"]


def test_more_samples_ask_only_for_the_new_ones(db: Path, server: ScriptedServer, write_profile: Profile) -> None:
    server.then = reason
    with opened(db, write_profile()) as run:
        sample(run)
    with opened(db, write_profile(samples=3)) as run:
        assert sample(run).done == 16
    assert server.calls == 24
    assert sorted({body["seed"] for body in server.requests}) == [1, 2, 3]


def test_a_failed_call_stays_pending_and_is_made_again(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = lambda body: Say(400, b"too long") if amounts(body)[0] % 2 else reason(body)
    with opened(db, write_profile()) as run:
        first = sample(run)
        assert (first.done + first.failed, first.failed > 0) == (8, True)
        server.then = reason
        again = sample(run)
    assert (again.done, again.failed) == (first.failed, 0)
    (failed,) = rows(db, "from failed_calls")
    assert (failed["error"], failed["status"], failed["attempts"]) == ("HTTP 400", 400, first.failed)


def test_when_every_call_fails_the_run_stops(db: Path, server: ScriptedServer, write_profile: Profile) -> None:
    server.then = lambda _: Say(400, b"no")
    with pytest.raises(EndpointError, match="All 8 calls to reasoner failed"), opened(db, write_profile()) as run:
        sample(run)


def test_rederiving_what_has_not_changed_flips_nothing(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason_and_correct
    data(db, write_profile(correctors=("corrector", "oracle")))
    tables = [rows(db, f"from {table} order by id") for table in ("rationale", "correction", "evaluation")]
    calls = server.calls
    with Writer(db) as store:
        flips = rederive(store)
    assert [(flip.became_correct, flip.became_wrong, flip.changed) for flip in flips] == [(0, 0, 0)] * 3
    assert [rows(db, f"from {table} order by id") for table in ("rationale", "correction", "evaluation")] == tables
    assert server.calls == calls
