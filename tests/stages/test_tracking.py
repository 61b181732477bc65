"""What trackers of experiments show, read by their own readers; each is skipped where it is not installed."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import kill_training, lema
from gold_profile import write_gold_profile
from needs import needs
from read_tracker import PACKAGES, environment, read

from lema_local.errors import MissingPackageError, TrainingError
from lema_local.records.store import Store, Writer
from lema_local.records.types import TrainingSet
from lema_local.settings.models import resolve_model
from lema_local.settings.profiles import Overrides, load_profile
from lema_local.stages import tracking, train
from lema_local.stages.build import build
from lema_local.stages.evaluate import show_evaluation, targets
from lema_local.stages.run import Run
from lema_local.stages.sweep import Target
from lema_local.training.trackers import Shown, Tracker, open_tracker

pytestmark = [needs("torch", "peft"), pytest.mark.usefixtures("quick_python")]

STEPS = 24
REAL = [pytest.param(name, marks=needs(name)) for name in PACKAGES]


@pytest.fixture
def profile(tmp_path: Path, tiny_model: Path) -> Path:
    return write_gold_profile(tmp_path, tiny_model, steps=STEPS, save_steps=8)


@contextmanager
def opened(db: Path, profile: Path, tracker: Any = None, *, steps: int = 2) -> Iterator[Run]:
    with Writer(db) as store:
        loaded = load_profile(str(profile), Overrides(report_to=tracker), environment={})
        short = replace(loaded.training, max_steps=steps, save_steps=steps)
        student = replace(loaded.endpoint("student"), base_url=None, recipe="vllm")  # which serves adapters
        endpoints = {**loaded.endpoints, "student": student}
        yield Run(replace(loaded, training=short, endpoints=endpoints), store)


@pytest.mark.parametrize("tracker", REAL)
def test_a_killed_run_shows_each_step_once_when_it_goes_on(
    db: Path, tmp_path: Path, profile: Path, tracker: str
) -> None:
    with opened(db, profile, steps=STEPS) as run:
        (planned,) = train.planned_runs(run)
    command = ("train", "--profile", profile, "--db", db, "--report-to", tracker)
    kill_training(*command, run_directory=planned.directory, at_step=12, cwd=tmp_path, **environment(tmp_path))
    done = lema(*command, "--json", cwd=tmp_path, **environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in json.loads(done.stdout)] == [8, 16, 24]

    shown = read(tracker, tmp_path)
    curve = Store(db).rows("from training_metric order by step")
    for name in ("loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_gib", "tokens_seen"):
        assert [step for step, _ in shown["points"][f"train/{name}"]] == list(range(1, STEPS + 1)), name
    losses = [value for _, value in shown["points"]["train/loss"]]
    assert losses == pytest.approx([row["loss"] for row in curve])
    assert sum(value for _, value in shown["points"]["train/tokens"]) == curve[-1]["tokens_seen"]
    assert shown.get("status", "FINISHED") == "FINISHED"
    if tracker != "tensorboard":
        assert shown["name"] == f"cot-42-{planned.id[:8]}"
    told = {name: str(value) for name, value in shown["config"].items()}
    wanted = {"arm": "cot", "seed": "42", "lora_r": "4", "training_set": planned.built.training_set.id}
    assert wanted.items() <= told.items()
    assert str(tmp_path) not in json.dumps(shown["config"])


def test_a_tracker_is_told_of_every_example_that_an_oracle_wrote(tmp_path: Path) -> None:
    manifest = {"corrections_reference_derived": 0, "reference_derived": 52}  # as an arm's that has them as CoT
    made = TrainingSet("5edb", "cot-expanded", "gsm8k", 42, 380, 0, json.dumps(manifest), ())
    model, settings = resolve_model("smollm2-135m-instruct"), load_profile("laptop", environment={}).training
    shown = tracking.shown_run("4be2a1f0-1", made, model, settings, tmp_path, is_chat=False)
    assert shown.config["reference_derived"] == 52


ROWS = [
    {"arm": "base", "step": 0, "checkpoint_id": None, "pass_at_1": 0.25},
    {"arm": "cot", "step": 2, "checkpoint_id": "...", "pass_at_1": 0.5},
]


def evaluated(run: Run, *, missing: int = 0, **changed: Any) -> tuple[list[Target], list[dict[str, Any]]]:
    """The targets and rows of an evaluation of the base and of the run's one checkpoint."""
    everything = targets(run)
    saved = everything[-1].checkpoint
    assert saved is not None
    others = {"split": "test", "dataset": "my set", "low": 0.1, "high": 0.9, "n": 4, "no_answer": 1, "cut_off": 0}
    base, cot = ({**row, **others, "missing": missing} for row in ROWS)
    return everything, [base, {**cot, "checkpoint_id": saved.id, **changed}]


@pytest.mark.parametrize("tracker", REAL)
def test_an_evaluation_stands_at_its_step_once(tracker: str, tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from lema_local.training.trackers import Shown, open_tracker
config = {"arm": "cot", "accelerate_config": ""}
run = Path("runs/cot-4be2a1f0")
shown = Shown(id="4be2a1f0-1", name="cot-42-4be2a1f0", group="5edb", config=config, directory=run, max_steps=2)
for solved in (0.5, 0.5, 0.75):
    tracker = open_tracker(sys.argv[1], shown)
    for step in (1, 2):
        tracker.show(step, {"train/loss": 1 / step})
    for step, value in ((0, 0.25), (2, solved)):
        tracker.show(step, {"eval/tiny/pass_at_1": value, "eval/tiny/low": 0.1})
    tracker.close(is_whole=True)
"""
    command = [sys.executable, "-c", code, tracker]
    subprocess.run(command, cwd=tmp_path, env=os.environ | environment(tmp_path), check=True, capture_output=True)
    points = read(tracker, tmp_path)["points"]
    # what a tracker keeps is not changed, only added to; TensorBoard's files are written anew
    again = [] if tracker == "tensorboard" else [(2, 0.5)]
    assert points["eval/tiny/pass_at_1"] == [(0, 0.25), *again, (2, 0.75)]
    assert [step for step, _ in points["eval/tiny/low"]] == [0, 2]
    assert points["train/loss"] == [(1, 1.0), (2, 0.5)]


class Kept(Tracker):
    """A tracker that remembers, and fails at a step if told to."""

    def __init__(self, shown: Shown, *, fails_at: int | None = None) -> None:
        super().__init__({})
        self.shown, self.fails_at, self.sent, self.ends = shown, fails_at, [], []
        self.sent: list[tuple[int, dict[str, float]]]
        self.ends: list[bool]

    def _send(self, step: int, values: Mapping[str, float]) -> None:
        if step == self.fails_at:
            raise ConnectionError("no answer\nfrom there")
        self.sent.append((step, dict(values)))

    def close(self, *, is_whole: bool) -> None:
        self.ends.append(is_whole)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Kept]:
    """The trackers that are opened."""
    found: list[Kept] = []

    def open_one(tracker: str, shown: Shown) -> Kept:
        found.append(Kept(shown, fails_at=3 if tracker == "wandb" else None))
        return found[-1]

    monkeypatch.setattr(tracking, "open_tracker", open_one)
    monkeypatch.setattr(tracking, "refuse_without_tracker", lambda name: None)
    return found


def test_an_evaluation_is_shown_with_the_run_it_is_of_and_the_base_at_step_0(
    db: Path, profile: Path, kept: list[Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Run] = []
    with opened(db, profile, "mlflow") as run:
        training = replace(run.profile.training, compute_dtype="float32")  # which is not measured first
        run.profile = replace(run.profile, training=training)
        train.train(run)
        monkeypatch.setattr(train, "build", lambda run, arms: built.append(run) or build(run, arms))
        show_evaluation(run, *evaluated(run))
        assert built == [run]  # for the evaluation itself, and not once more for the tracker
        _, shown = kept
        assert [step for step, _ in shown.sent] == [1, 2, 0, 2]
        _, _, base, cot = (values for _, values in shown.sent)
        assert (base["eval/my_set/pass_at_1"], cot["eval/my_set/pass_at_1"]) == (0.25, 0.5)
        assert (cot["eval/my_set/low"], cot["eval/my_set/high"], cot["eval/my_set/n"]) == (0.1, 0.9, 4)
        assert shown.ends == [True]
        show_evaluation(run, *evaluated(run, missing=1))
        show_evaluation(run, *evaluated(run, checkpoint_id="of another profile"))
        assert len(kept) == 2


def test_a_run_that_is_done_is_shown_whole_when_a_tracker_is_named_later(
    db: Path, profile: Path, kept: list[Kept]
) -> None:
    with opened(db, profile) as run:
        train.train(run)
    assert kept == []
    with opened(db, profile, "mlflow") as run:
        train.train(run)
    (shown,) = kept
    assert [step for step, _ in shown.sent] == [1, 2]


def test_a_tracker_that_fails_on_the_way_holds_up_no_training(db: Path, profile: Path, kept: list[Kept]) -> None:
    notices: list[str] = []
    with opened(db, profile, "wandb", steps=4) as run:
        run.profile = replace(run.profile, training=replace(run.profile.training, tensorboard=True))
        run.notice = notices.append
        assert [saved.step for saved in train.train(run)] == [4]
    failing, board = kept
    assert [step for step, _ in failing.sent] == [1, 2]
    assert failing.ends == []
    assert [step for step, _ in board.sent] == [1, 2, 3, 4]  # tensorboard = true is a tracker beside it
    said = "wandb fails (no answer from there); the work goes on without it. The same command later shows the rest."
    assert notices.count(said) == 1


def test_a_tracker_that_takes_no_run_is_one_line_before_any_training(
    db: Path, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(tracker: str, shown: Shown) -> Tracker:
        raise ValueError("No API key configured.\nLog in.")

    monkeypatch.setattr(tracking, "open_tracker", refuse)
    monkeypatch.setattr(tracking, "refuse_without_tracker", lambda name: None)
    with opened(db, profile, "wandb") as run:
        wanted = "wandb takes no run (No API key configured. Log in.): mend that, or leave --report-to away."
        with pytest.raises(TrainingError, match=f"^{re.escape(wanted)}$"):
            train.train(run)
        assert not (run.directory / "checkpoints").exists()


@pytest.mark.parametrize(("tracker", "package"), [("wandb", "wandb"), ("tensorboard", "'lema-local[tensorboard]'")])
def test_a_tracker_that_is_not_installed_is_one_line(
    db: Path, profile: Path, monkeypatch: pytest.MonkeyPatch, tracker: str, package: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with opened(db, profile, tracker) as run:
        wanted = f"--report-to {tracker} needs the package {tracker}: pip install {package}"
        with pytest.raises(MissingPackageError, match=f"^{re.escape(wanted)}$"):
            train.train(run)


def test_wandb_is_not_sent_what_its_summary_says_it_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    logged: list[dict[str, float]] = []
    summary: dict[str, Any] = {}

    def log(values: dict[str, float]) -> None:
        logged.append(values)
        summary.update(values)

    ends: list[int] = []
    run = SimpleNamespace(
        summary=summary, log=log, define_metric=lambda *_, **__: None, finish=lambda exit_code: ends.append(exit_code)
    )
    given: dict[str, Any] = {}
    fake = SimpleNamespace(init=lambda **how: given.update(how) or run, Settings=lambda **_: None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    shown = Shown(id="4be2", name="cot-42-4be2", group="5edb", config={"r": 4}, directory=tmp_path, max_steps=3)
    for last in (2, 3):
        tracker = open_tracker("wandb", shown)
        for step in range(1, last + 1):
            tracker.show(step, {"train/loss": 1 / step})
        tracker.show(2, {"eval/tiny/pass_at_1": 0.5})
        tracker.close(is_whole=last == 3)
    assert [row.get("train/step") for row in logged] == [1, 2, None, 3]
    assert logged[2] == {"eval/tiny/pass_at_1": 0.5, "eval/step": 2}
    assert ends == [1, 0]
    assert (given["id"], given["name"], given["group"], given["resume"]) == ("4be2", "cot-42-4be2", "5edb", "allow")
