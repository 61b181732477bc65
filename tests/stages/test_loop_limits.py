"""The loop within limits: what a run may call and what it may spend; what it takes over from elsewhere."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import lema
from loop_steps import Profile, counts, opened, reason, reason_and_correct, rows
from scripted_server import ScriptedServer, chat, several

from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.calls.prices import Price
from lema_local.records.store import Writer
from lema_local.stages.build import build
from lema_local.stages.correct import correct
from lema_local.stages.estimate import estimate, row_of
from lema_local.stages.imports import import_file
from lema_local.stages.sample import sample
from lema_local.stages.work import Call

pytestmark = pytest.mark.usefixtures("quick_oracle")


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


def test_a_budget_that_failed_calls_use_up_before_the_first_success_is_named(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = lambda _: several([None])  # no text, and paid for all the same: 10 + 5 tokens, $0.02
    profile = write_profile(concurrency=1)
    priced = "usd_per_million_input = 1000.0\nusd_per_million_output = 2000.0\n"
    profile.write_text(profile.read_text().replace('model = "scripted"\n', f'model = "scripted"\n{priced}', 1))
    command = ("data", "--profile", profile, "--db", db)
    worst = re.search(r"may cost \$(\d+\.\d+)", lema(*command, "--budget", "0.01usd", cwd=db.parent).stderr)
    assert worst
    done = lema(*command, "--budget", f"{float(worst[1]) + 0.01:.4f}", cwd=db.parent)
    assert (done.returncode, server.calls) == (1, 1)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: Stopped at the budget: $0.02 of ")
    assert last.endswith("8 of 8 calls to reasoner are left.")


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


@pytest.mark.parametrize(("characters", "tier"), [(400, 1.0), (8_000, 10.0)], ids=["usual", "long"])
def test_a_dry_run_prices_each_prompt_by_its_own_length(store: Writer, characters: int, tier: float) -> None:
    price = Price(1.0, 1.0, 2.0, longer=((1000, Price(10.0, 10.0, 20.0)),))
    endpoint = Endpoint("corrector", "https://host/v1", "m", "m", "x", price=price)
    calls = [Call(endpoint, "correct", "correct.1", Sampling(0.0, 8), f"p{k}") for k in range(100)]
    row = row_of("correct", endpoint, 100, calls, lambda call: Prompt(text="x" * characters), store, "")
    assert row.prompt_tokens == 100 * characters // 4  # of all together more than the dear tier begins with
    assert row.usd == pytest.approx(tier * (row.prompt_tokens + 2 * 100 * 8) / 1e6)


def test_a_dry_run_takes_imported_mistakes_for_none_of_the_samples_to_come(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason
    with opened(db, write_profile()) as run:
        sample(run)
        wrong = len(rows(db, "from mistake"))
        file = db.parent / "rationales.jsonl"
        like = {"question": run.problems.train[0].question, "model": "m"}
        file.write_text("\n".join(json.dumps(like | {"rationale": f"Step 1: {k}"}) for k in range(9)))
        assert import_file(run.store, file, kind="rationale").new == 9
    with opened(db, write_profile(samples=3)) as run:
        (_, corrected) = estimate(run)
    assert corrected.calls == 9 + 3 * wrong


def test_corrections_from_elsewhere_of_what_is_no_mistake_are_counted_and_train_nothing(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason
    with opened(db, write_profile()) as run:
        sample(run)
        correct(run)
        (before,) = build(run, ("lema",))
        one, two = run.problems.train[:2]
        right = f"Step 1: It is {one.answer}. The answer is {one.answer}."
        rationales = [
            {"question": one.question, "rationale": right, "model": "m"},
            {"question": two.question, "rationale": "Step 1: It is 0.", "model": "m", "finish_reason": "length"},
        ]
        corrections = [
            {"question": problem.question, "rationale": row["rationale"], "model": "gpt", "incorrect_step": 1}
            | {"explanation": "It is not so.", "correct_solution": f"Step 1: The answer is {problem.answer}."}
            for problem, row in zip((one, two), rationales, strict=True)
        ]
        for kind, found in (("rationale", rationales), ("correction", corrections)):
            file = db.parent / f"{kind}.jsonl"
            file.write_text("\n".join(map(json.dumps, found)))
            assert import_file(run.store, file, kind=kind).new == 2  # type: ignore[arg-type]
        (after,) = build(run, ("lema",))
    reasons = [row["rejected_because"] for row in rows(db, "from correction where corrector = 'gpt'")]
    assert reasons == [None, None]
    assert after.training_set.correction_examples == before.training_set.correction_examples
    left_out = json.loads(after.training_set.manifest)["left_out"]
    assert left_out["correction of a rationale that is right"] == 1
    assert left_out["correction of a rationale that was cut off"] == 1


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
