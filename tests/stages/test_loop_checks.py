"""The loop with corrections that are checked beyond their answer, and with what else [correction] can ask for."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from commands import lema
from loop_steps import Profile, amounts, data, opened, put_right, reason, reason_and_correct, rows
from scripted_server import Body, Say, ScriptedServer, chat

from lema_local.errors import DataError, EndpointError, ProfileError
from lema_local.records.store import Writer
from lema_local.settings.profiles import load_profile
from lema_local.stages.batch_work import works
from lema_local.stages.build import build
from lema_local.stages.correct import correct, kept_corrections
from lema_local.stages.derive import rederive
from lema_local.stages.estimate import estimate
from lema_local.stages.run import Run
from lema_local.stages.sample import sample

pytestmark = pytest.mark.usefixtures("quick_oracle")


def settings(profile: Path, **correction: str) -> Path:
    """The profile with these keys in [correction]."""
    lines = "".join(f"{key} = {value}\n" for key, value in correction.items())
    profile.write_text(profile.read_text().replace("[correction]\n", f"[correction]\n{lines}"))
    return profile


def careless(body: Body) -> Say:
    """A corrector whose answer is right and whose sum is false."""
    return reason(body) if body["model"] == "scripted" else put_right(body, off=1)


def test_a_required_check_leaves_corrections_out_of_training_with_a_count(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = careless
    profile = write_profile(correctors=("corrector",))
    _, without = data(db, profile)
    kept = without.training_set.correction_examples
    assert kept > 0
    calls = server.calls
    with opened(db, settings(profile, require='["step_exists"]')) as run:
        (same,) = build(run, ("lema",))
    assert same.training_set.id == without.training_set.id
    profile.write_text(profile.read_text().replace('"step_exists"', '"arithmetic"'))
    with (
        opened(db, profile) as run,
        pytest.raises(DataError, match=r"fails a check that the profile requires \(arithmetic 2\)"),
    ):
        build(run, ("lema",))
    assert server.calls == calls


def test_cot_is_not_built_of_gold_alone_where_only_others_rationales_are_there(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason_and_correct
    profile = write_profile()
    data(db, profile)
    profile.write_text(profile.read_text().replace("[sampling]\n", "[sampling]\nseed = 7\n"))
    with opened(db, profile) as run, pytest.raises(DataError, match="rationales, but none of this profile"):
        build(run, ("cot",))


def test_where_every_correction_was_rejected_others_in_the_database_do_not_change_the_reason(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason_and_correct
    profile = write_profile(correctors=("oracle",))
    data(db, profile)
    server.then = lambda body: chat("I cannot say.")
    profile.write_text(profile.read_text().replace('correctors = ["oracle"]', 'correctors = ["corrector"]'))
    with opened(db, profile) as run, pytest.raises(DataError, match="none of this profile"):
        build(run, ("lema",))
    with pytest.raises(DataError, match="No correction was kept"):
        data(db, profile)


def test_with_everyone_each_corrector_gets_each_mistake_and_agreement_is_a_filter(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    def other_step(body: Body) -> Say:
        """The scripted corrector names the first step, wrongly, for an odd number of pens."""
        said = reason_and_correct(body)
        if body["model"] == "scripted-corrector" and amounts(body)[1] % 2:
            return Say(body=said.body.replace(b"Step 2.\\nExpl", b"Step 1.\\nExpl").replace(b"...\\n", b""))
        return said

    server.then = other_step
    profile = settings(write_profile(correctors=("corrector", "oracle")), everyone="true")
    data(db, profile)
    wrong = len(rows(db, "from mistake"))
    by = {
        row["corrector"]: row["n"] for row in rows(db, "select corrector, count(*) as n from correction group by all")
    }
    assert by == {"scripted-corrector": wrong, "oracle": wrong}
    with opened(db, settings(profile, agree="2")) as run:
        found = kept_corrections(run)
    agreed = "select c.rationale_id from correction as c where rejected_because is null"
    both = rows(db, f"{agreed} group by all having count(*) = 2 and count(distinct incorrect_step) = 1")
    assert len(found) == len(both) < wrong


def test_the_reasoner_goes_on_from_the_corrected_step_once(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    resumed: list[str] = []

    def resume(body: Body) -> Say:
        text = body["messages"][-1]["content"]
        if "These steps are right. Go on from" not in text:
            return reason(body)
        resumed.append(text)
        a, b, c = amounts(body)
        return chat(f"Step 3: The answer is {a * b - c if a != 3 else 0}.")

    server.then = resume
    profile = settings(write_profile(), resolve="true", require='["resolved"]')
    done = lema("data", "--profile", profile, "--db", db, cwd=db.parent)
    assert done.returncode == 0, done.stderr
    marks = rows(db, "select resolved, count(*) as n from correction group by all order by all")
    assert sum(row["n"] for row in marks) == len(resumed) == len(rows(db, "from mistake"))
    assert {row["resolved"] for row in marks} == {True, False}
    assert all("\nStep 2: " in text and "Go on from Step 3:" in text for text in resumed)
    (arm,) = rows(db, "select correction_examples, manifest from training_set where arm = 'lema'")
    assert arm["correction_examples"] == next(row["n"] for row in marks if row["resolved"])
    assert json.loads(arm["manifest"])["left_out"]["correction fails resolved"] == marks[0]["n"]
    calls = server.calls
    again = lema("data", "--profile", profile, "--db", db, cwd=db.parent)
    assert (again.stdout, server.calls) == (done.stdout, calls)
    with Writer(db) as store:
        rederive(store)
    assert rows(db, "select resolved, count(*) as n from correction group by all order by all") == marks


def test_a_structured_corrector_is_held_to_a_schema_and_read_as_json(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    def as_json(body: Body) -> Say:
        if body["model"] == "scripted":
            return reason(body)
        a, b, c = amounts(body)
        fix = f"Step 2: So {a * b} - {c} = {a * b - c} are left. The answer is {a * b - c}."
        parts = {"incorrect_step": 2, "explanation": "Pens given away are taken off.", "correct_solution": [fix]}
        return chat(json.dumps(parts))

    server.then = as_json
    profile = settings(write_profile(correctors=("corrector", "oracle")), structured="true", everyone="true")
    _, lema_ = data(db, profile)
    asked = [body for body in server.requests if body["model"] == "scripted-corrector"]
    assert {body["response_format"]["type"] for body in asked} == {"json_schema"}
    assert all("Reply as one JSON object" in body["messages"][-1]["content"] for body in asked)
    assert lema_.training_set.correction_examples == len(asked)
    by = "select corrector, count(*) as n from correction where rejected_because is null group by all"
    kept = {row["corrector"]: row["n"] for row in rows(db, by)}
    assert kept == dict.fromkeys(
        ["scripted-corrector", "oracle"], len(asked)
    )  # the oracle writes by rule, not by schema
    assert not any("response_format" in body for body in server.requests if body["model"] == "scripted")


@pytest.mark.parametrize(("status", "has_hint"), [(500, True), (400, False)])
def test_a_schema_that_a_server_answers_500_to_every_time_says_which_key_to_set(
    db: Path, server: ScriptedServer, write_profile: Profile, status: int, has_hint: bool
) -> None:
    server.then = lambda body: reason(body) if body["model"] == "scripted" else Say(status, b"no")
    profile = settings(write_profile(correctors=("corrector",)), structured="true")
    with pytest.raises(EndpointError, match=r"All \d+ calls to corrector failed") as failed:
        data(db, profile)
    assert ('structured_form = "llama_cpp"' in str(failed.value)) == has_hint


def test_of_several_corrections_of_a_mistake_the_one_that_passes_the_required_checks_trains(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = careless  # the first corrector's sums are false, the oracle's are true
    profile = settings(write_profile(correctors=("corrector", "oracle")), everyone="true", require='["arithmetic"]')
    _, found = data(db, profile)
    wrong = rows(db, "from mistake")
    assert found.training_set.correction_examples == len(wrong)
    assert json.loads(found.training_set.manifest)["corrections_reference_derived"] == len(wrong)


def test_the_mistakes_of_an_alpaca_style_reasoner_have_steps_that_are_corrected(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    def unlabelled(body: Body) -> Say:
        said = reason(body)
        return Say(body=re.sub(rb"Step \d: ", b"", said.body))

    server.then = unlabelled
    profile = write_profile(samples=2)
    profile.write_text(profile.read_text().replace("[sampling]", '[sampling]\nprompt = "alpaca"'))
    cot, found = data(db, profile)
    wrong = rows(db, "from mistake")
    assert wrong
    assert not any("Step 1" in row["rationale"] for row in wrong)
    assert found.training_set.correction_examples == len({row["rationale"] for row in wrong})
    assert all("Original Solution:\n{\nStep 1: " in e.prompt for e in found.examples if e.kind == "correction")
    assert "no steps" not in json.loads(cot.training_set.manifest)["augmentation"]["rejected"]


@pytest.mark.parametrize("everyone", ["false", "true"])
def test_a_dry_run_counts_what_each_corrector_still_has_to_do(
    db: Path, server: ScriptedServer, write_profile: Profile, everyone: str
) -> None:
    server.then = reason_and_correct
    profile = settings(write_profile(correctors=("corrector", "oracle")), everyone=everyone, resolve="true")
    with opened(db, profile) as run:
        sample(run)
        wrong = len(rows(db, "from mistake"))
        one = load_profile(str(profile), environment={})
        one = replace(one, correction=replace(one.correction, correctors=("corrector",)))
        correct(Run(one, run.store))
        left = {(row.stage, row.endpoint): row.calls for row in estimate(run)}
        kept = len(rows(db, "from correction where rejected_because is null"))
        (work, *_) = [work for work in works(run, "correct") if work.endpoint.name == "oracle"]
    assert left["correct", "corrector"] == 0
    assert left["correct", "oracle"] == len(work.pending) == (wrong if everyone == "true" else wrong - kept)
    assert left["resolve", "reasoner"] == kept + left["correct", "oracle"]


def test_a_dry_run_after_an_interruption_counts_samples_that_are_not_graded_yet(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason
    with opened(db, write_profile()) as run:
        sample(run)
        with run.store.connect(write=True) as connection:
            connection.execute("delete from rationale")
        (sampled, corrected) = estimate(run)
    assert (sampled.calls, corrected.calls) == (0, 8)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"require": '["resolved"]'}, "needs resolve = true"),
        ({"agree": "2"}, "needs as many correctors"),
        ({"require": '["arithmetics"]'}, "did you mean 'arithmetic'"),
    ],
    ids=["resolved", "agree", "a typo"],
)
def test_settings_that_no_correction_could_pass_are_refused(
    write_profile: Profile, keys: dict[str, str], words: str
) -> None:
    with pytest.raises(ProfileError, match=re.escape(words)):
        load_profile(str(settings(write_profile(), **keys)), environment={})
