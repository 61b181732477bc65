"""The loop from problems to training sets: a scripted server samples (and corrects), the real oracle corrects the rest.

What is asserted is what a user pays for: which calls are made, that none is made twice, and what an interruption costs.
"""

import json
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Body, Say, ScriptedServer, chat, lema, lema_command, several

from lema_local.errors import DataError, EndpointError, ProfileError
from lema_local.profiles import load_profile
from lema_local.stages.batch import works
from lema_local.stages.build import Built, build
from lema_local.stages.correct import correct, kept_corrections, mistakes
from lema_local.stages.derive import rederive
from lema_local.stages.estimate import estimate
from lema_local.stages.evaluate import targets
from lema_local.stages.imports import import_file
from lema_local.stages.run import Run
from lema_local.stages.sample import sample
from lema_local.store import Store, Writer

_NUMBERS = re.compile(r"has (\d+) boxes of (\d+) pens and gives (\d+) pens")
Profile = Callable[..., Path]


def amounts(body: Body) -> tuple[int, int, int]:
    """The three numbers of the question that is asked."""
    a, b, c = map(int, _NUMBERS.findall(body["messages"][-1]["content"])[-1])
    return a, b, c


def reason(body: Body, *, delay_s: float = 0.0) -> Say:
    """Right where the boxes are even in number, wrong in the second step where they are odd; 5 boxes: cut off."""
    a, b, c = amounts(body)
    left = f"{a * b} - {c} = {a * b - c}" if a % 2 == 0 else f"{a * b} + {c} = {a * b + c}"
    text = f"Step 1: There are {a} * {b} = {a * b} pens.\nStep 2: So {left} are left."
    answer = left.rpartition(" ")[2]
    if a == 5:
        return chat(text, finish_reason="length", delay_s=delay_s)
    return chat(f"{text} The answer is {answer}.", delay_s=delay_s)


def reason_and_correct(body: Body) -> Say:
    """The corrector puts mistakes over fewer than 7 boxes right, and has nothing to say about the others."""
    if body["model"] == "scripted":
        return reason(body)
    a, b, c = amounts(body)
    if a >= 7:
        return chat("I see no mistake here.")
    right = f"Step 2: So {a * b} - {c} = {a * b - c} are left. The answer is {a * b - c}."
    return chat(f"Step 2.\nExplanation: Pens given away are taken off.\nCorrect Solution:\n...\n{right}")


@contextmanager
def opened(db: Path, profile: Path) -> Iterator[Run]:
    with Writer(db) as store:
        yield Run(load_profile(str(profile), environment={}), store)


def data(db: Path, profile: Path) -> list[Built]:
    """What `lema data` does."""
    with opened(db, profile) as run:
        sample(run)
        correct(run)
        return build(run)


def rows(db: Path, sql: str) -> list[dict[str, Any]]:
    return Store(db).rows(sql)


def counts(db: Path) -> dict[str, int]:
    """How many completions of each purpose there are; no two may be of one wish."""
    doubled = "from (from completion select distinct purpose, problem_id, rationale_id, sample_index, model)"
    distinct = {row["purpose"]: row["n"] for row in rows(db, f"select purpose, count(*) as n {doubled} group by all")}
    stored = rows(db, "select purpose, count(*) as n from completion group by all")
    assert distinct == {row["purpose"]: row["n"] for row in stored}
    return distinct


def test_mistakes_are_corrected_and_become_examples(db: Path, server: ScriptedServer, write_profile: Profile) -> None:
    server.then = reason
    cot, lema_ = data(db, write_profile())
    found = rows(db, "select question, is_correct, is_cut from rationale join problem on problem.id = problem_id")
    assert len(found) == server.calls == 8
    wrong = [row for row in found if not row["is_correct"] and not row["is_cut"]]
    assert wrong
    assert all(int(_NUMBERS.findall(row["question"])[0][0]) % 2 for row in wrong)
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
    assert {row["why"] for row in rows(db, refused)} == {None, "no incorrect step"}


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
    assert [(flip.became_correct, flip.became_wrong) for flip in flips] == [(0, 0)] * 3
    assert [rows(db, f"from {table} order by id") for table in ("rationale", "correction", "evaluation")] == tables
    assert server.calls == calls


def processes_naming(text: str) -> list[int]:
    """PIDs of the processes that have this text in their command line (Linux)."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                command = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in command:
                found.append(int(directory.name))
    return found


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


@contextmanager
def started(db: Path, profile: Path) -> Iterator["subprocess.Popen[str]"]:
    command = lema_command("data", "--profile", profile, "--db", db)
    # a test run in the background may have been told to ignore Ctrl-C
    command[2] = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {command[2]}"
    with subprocess.Popen(command, cwd=db.parent, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("kills", "samples"), [(3, 6), pytest.param(50, 80, marks=pytest.mark.slow)])
def test_kill_at_any_moment_repeats_no_more_than_the_calls_in_flight(
    db: Path, server: ScriptedServer, write_profile: Profile, kills: int, samples: int
) -> None:
    server.then = lambda body: reason(body, delay_s=0.03)
    concurrency, moments = 4, random.Random(3)
    profile = write_profile(samples=samples, concurrency=concurrency)
    goes_on_after = []
    for part in range(kills):
        calls = server.calls
        with started(db, profile) as process:
            began = time.monotonic()
            wait_for(lambda calls=calls: server.calls > calls)  # type: ignore[misc]
            goes_on_after.append(time.monotonic() - began)
            goal = 12 * part + moments.randint(4, 12)
            wait_for(lambda goal=goal: server.calls >= goal)  # type: ignore[misc]
            process.kill()
            process.wait()
        time.sleep(0.1)  # calls in flight reach the server's count
    done = lema("data", "--profile", profile, "--db", db, cwd=db.parent)
    assert done.returncode == 0, done.stderr
    assert counts(db)["sample"] == 8 * samples
    assert 8 * samples <= server.calls <= 8 * samples + kills * concurrency
    assert sorted(goes_on_after)[kills // 2] < 3 or kills == 3  # seconds; three starts on a busy machine prove nothing
    assert len(rows(db, "from correction")) == len(rows(db, "from mistake")) > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_an_interrupted_run_ends_soon_keeps_its_records_and_says_how_to_go_on(
    db: Path, server: ScriptedServer, write_profile: Profile, number: signal.Signals
) -> None:
    server.then = lambda body: reason(body, delay_s=0.01) if server.calls < 6 else Say(hang=True)
    with started(db, write_profile()) as process:
        wait_for(lambda: server.calls >= 7)
        process.send_signal(number)
        at = time.monotonic()
        _, stderr = process.communicate(timeout=20)
    assert time.monotonic() - at < 2
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "Stopped. Nothing is lost: run the same command again to go on."
    assert "Traceback" not in stderr
    with Writer(db):
        pass
    assert counts(db)["sample"] >= 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_no_server_outlives_its_run(
    db: Path, server: ScriptedServer, write_profile: Profile, number: signal.Signals
) -> None:
    server.then = reason
    problems = str(db.parent / "runs" / "oracle-problems")
    with started(db, write_profile()) as process:
        wait_for(lambda: bool(processes_naming(problems)))
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    wait_for(lambda: not processes_naming(problems), timeout_s=2)


def test_a_server_that_dies_half_way_is_one_line_and_its_replies_are_kept(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    def die(body: Body) -> Say:
        if server.calls > 4:
            threading.Thread(target=server.stop).start()
            return Say(hang=True)
        return reason(body)

    server.then = die
    done = lema("data", "--profile", write_profile(concurrency=1), "--db", db, cwd=db.parent)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == f"Error: No server at {server.base_url}. Start it, or give another base URL."
    assert counts(db) == {"sample": 4}


# what a run may call, and what it may spend


def test_samples_of_one_problem_come_by_one_request_where_the_server_takes_n(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = lambda body: several([f"Step 1: The answer is {k}." for k in range(body.get("n", 1))])
    with opened(db, write_profile(samples=3)) as run:
        assert sample(run).done == 24
    assert server.calls == 8
    found = rows(db, "select sample_index, shared_by, count(*) as n from completion group by all order by all")
    assert found == [{"sample_index": k, "shared_by": 3, "n": 8} for k in range(3)]
    (cost,) = rows(db, "select prompt_tokens, completion_tokens from cost")
    assert cost == {"prompt_tokens": 80, "completion_tokens": 120}


def test_a_budget_ends_a_run_cleanly_and_a_larger_one_goes_on(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason
    profile = write_profile(concurrency=1)
    priced = "usd_per_million_input = 1000.0\nusd_per_million_output = 2000.0\n"
    profile.write_text(profile.read_text().replace('model = "scripted"\n', f'model = "scripted"\n{priced}', 1))
    command = ("data", "--profile", profile, "--db", db)
    done = lema(*command, "--budget", "0.01usd", cwd=db.parent)
    worst = re.search(r"the next call may cost \$(\d+\.\d+)\. .* 8 of 8 calls to reasoner are left", done.stderr)
    assert (done.returncode, server.calls) == (1, 0)
    assert worst
    # a call turns out to use 10 + 5 tokens, $0.02: two fit, and after them there is no room for the worst of a third
    done = lema(*command, "--budget", f"{float(worst[1]) + 0.03:.4f}", cwd=db.parent)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: Stopped at the budget: $0.04 of ")
    assert last.endswith("6 of 8 calls to reasoner are left.")
    assert server.calls == 2
    assert counts(db) == {"sample": 2}
    done = lema(*command, "--budget", "$100", cwd=db.parent)
    assert done.returncode == 0, done.stderr
    assert server.calls == 8


@pytest.mark.parametrize("amount", ["0", "-5", "much", "5eur", "1e9"])
def test_a_budget_is_an_amount_of_dollars(db: Path, write_profile: Profile, amount: str) -> None:
    done = lema("data", "--profile", write_profile(), "--db", db, f"--budget={amount}", cwd=db.parent)
    assert done.returncode == 1
    assert "write an amount of US dollars" in done.stderr


def test_a_finished_run_replays_offline_to_the_same_training_sets(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason_and_correct
    profile = write_profile(correctors=("corrector", "oracle"))
    first = lema("data", "--profile", profile, "--db", db, cwd=db.parent)
    calls = server.calls
    server.stop()
    again = lema("data", "--profile", profile, "--db", db, "--offline", cwd=db.parent)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert "starting" not in again.stderr
    assert server.calls == calls


def test_offline_a_completion_that_is_not_there_is_named(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    done = lema("data", "--profile", write_profile(), "--db", db, "--offline", cwd=db.parent)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: --offline: 8 of 8 completions to sample by scripted are not")
    assert server.calls == 0


def test_a_dry_run_prices_what_is_pending_and_calls_nothing(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason
    profile = write_profile(correctors=("corrector", "oracle"))
    priced = "usd_per_million_input = 10.0\nusd_per_million_output = 20.0\n"
    head, table, tail = profile.read_text().partition("[endpoints.corrector]\n")
    profile.write_text(head + table + priced + tail)

    def dry() -> list[dict[str, Any]]:
        done = lema("data", "--profile", profile, "--db", db, "--dry-run", "--json", cwd=db.parent)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    before = dry()
    assert not db.exists()
    assert [(row["stage"], row["endpoint"], row["calls"]) for row in before] == [
        ("sample", "reasoner", 8),
        ("correct", "corrector", 8),
        ("correct", "oracle", 8),
    ]
    assert before[0]["usd"] is None
    assert before[1]["usd"] > 8 * 768 * 20 / 1e6
    assert server.calls == 0
    with opened(db, profile) as run:
        sample(run)
    wrong = len(rows(db, "from mistake"))
    after = dry()
    assert [row["calls"] for row in after] == [0, wrong, wrong]
    with opened(db, profile) as run:
        correct(run)
    assert [row["calls"] for row in dry()] == [0, 0, 0]


def test_records_made_elsewhere_are_corrected_and_trained_on_like_the_profiles_own(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = lambda body: chat("Step 1: The answer is 1.", finish_reason="length")  # nothing of its own is kept
    with opened(db, write_profile()) as run:
        one, two, three = run.problems.train[:3]
        wrong = "Step 1: It is 0.\nStep 2: The answer is -1."
        step = f"Step 1: It is {one.answer}. The answer is {one.answer}."
        reply = f"Step 1.\nExplanation: Zero it is not.\nCorrect Solution:\n{step}"
        rows_in = [
            {"question": one.question, "rationale": wrong, "reasoner": "m", "correction": reply, "model": "gpt"},
        ]
        file = db.parent / "corrections.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows_in))
        import_file(run.store, file, kind="correction")
        rationales = [
            {"question": two.question, "rationale": wrong, "model": "m"},
            {"question": three.question, "rationale": f"Step 1: So. The answer is {three.answer}.", "model": "m"},
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rationales))
        import_file(run.store, file, kind="rationale")
        sample(run)
        correct(run)
        found = build(run, ("lema",))[0].training_set
    assert found.cot_examples == 8 + 1  # the right rationale from elsewhere
    assert found.correction_examples == 2  # the one from elsewhere, and the oracle's of the mistake from elsewhere
    by = "select corrector, count(*) as n from correction where rejected_because is null group by all order by all"
    kept = {row["corrector"]: row["n"] for row in rows(db, by)}
    assert kept == {"gpt": 1, "oracle": 1}


# corrections checked beyond their answer


def settings(profile: Path, **correction: str) -> Path:
    """The profile with these keys in [correction]."""
    lines = "".join(f"{key} = {value}\n" for key, value in correction.items())
    profile.write_text(profile.read_text().replace("[correction]\n", f"[correction]\n{lines}"))
    return profile


def careless(body: Body) -> Say:
    """A corrector whose answer is right and whose sum is false."""
    if body["model"] == "scripted":
        return reason(body)
    a, b, c = amounts(body)
    fix = f"Step 2: So {a * b} - {c} = {a * b - c + 1} are left. The answer is {a * b - c}."
    return chat(f"Step 2.\nExplanation: Pens given away are taken off.\nCorrect Solution:\n...\n{fix}")


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
        left = {(row.stage, row.endpoint): row.calls for row in estimate(run.profile, run.problems, run.store)}
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
        (sampled, corrected) = estimate(run.profile, run.problems, run.store)
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
