"""Training: one run for each arm and seed. A run that is done is not done again; one that was interrupted goes on."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lema_local.errors import TrainingError
from lema_local.hardware import Gpu, gpus, ram_gib
from lema_local.records.keys import content_key
from lema_local.records.types import Checkpoint, TrainingMetric
from lema_local.serving.recipes import load_recipe
from lema_local.settings.chat import ChatFrame
from lema_local.settings.models import Model, shapes_of
from lema_local.settings.profiles import Profile
from lema_local.settings.tables import Arm
from lema_local.settings.training import ComputeDtype, TrainingSettings
from lema_local.stages.build import Built, build
from lema_local.stages.plan import arm_size
from lema_local.stages.recorded import recorded_sets
from lema_local.stages.run import Experiment, Run
from lema_local.stages.select import wanted_rows
from lema_local.stages.student import student_frame, student_model
from lema_local.stages.tracking import Showing, Tracking, shown_run
from lema_local.training.base import BaseModel
from lema_local.training.bfloat16 import multiplies_bfloat16
from lema_local.training.checkpoints import SavedCheckpoint, bound, has_adapter, is_removed
from lema_local.training.job import Job, run_job, saved_checkpoint
from lema_local.training.launch import Strategy, began_as
from lema_local.training.lint import Lint
from lema_local.training.matching import arm_settings
from lema_local.training.plan import fit
from lema_local.training.progress import TrainingProgress
from lema_local.training.trackers import Shown


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What one training of an arm is: same model, training set and settings (with the seed), same run."""

    id: str
    built: Built
    model: Model
    settings: TrainingSettings
    directory: Path
    frame: ChatFrame | None  # where its texts are chat
    label: str  # for people: the arm, and its seed where there are several

    @property
    def ends(self) -> tuple[int, ...]:
        """The steps that are evaluated where the last alone is: the run's, and that of training.match_beside within."""
        last = self.settings.max_steps
        return (last, *(step for step in self.settings.save_at if step < last))

    @property
    def shown(self) -> Shown:
        """What a tracker of experiments is told of it."""
        is_chat = self.frame is not None
        return shown_run(self.id, self.built.training_set, self.model, self.settings, self.directory, is_chat=is_chat)


def planned_runs(run: Run, arms: tuple[Arm, ...] | None = None) -> list[TrainingRun]:
    """The training runs of the profile's arms, built from the records as they are now (or of the training sets that the
    run names, as they are recorded); seed after seed.

    Every seed trains on the same training sets: it changes the LoRA weights at the start, the dropout and the order.
    """
    model, frame = student_model(run), student_frame(run)
    training = run.profile.training
    everything = recorded_sets(run, run.training_sets) if run.training_sets else build(run, arms)
    sizes = {b.training_set.arm: arm_size(b.training_set) for b in everything}
    settings_of = arm_settings(training, sizes)
    wanted = [
        (built, replace(settings_of[built.training_set.arm], seed=seed))
        for seed in training.all_seeds
        for built in everything
    ]
    sets = [(built.training_set.arm, built.training_set.id, settings) for built, settings in wanted]
    dtype = dtype_of(run, model, sets, frame)
    planned = []
    for built, as_given in wanted:
        arm, settings = built.training_set.arm, replace(as_given, compute_dtype=dtype)
        # memory may run out: what only saves memory is not in the identity and does not begin a run anew
        run_id = run_id_of(model, built.training_set.id, settings, frame)
        directory = directory_of(run, arm, run_id)
        label = f"{arm} seed {settings.seed}" if training.seeds > 1 else arm
        planned.append(TrainingRun(run_id, built, model, settings, directory, frame, label))
    return planned


def dtype_of(
    run: Experiment,
    model: Model,
    wanted: Sequence[tuple[str, str, TrainingSettings]],
    frame: ChatFrame | None = None,
) -> ComputeDtype:
    """The compute dtype of runs that belong together, given as (arm, training set, settings).

    `auto` is settled here, since it is part of what makes a run another one: as those that are recorded or begun
    already, whatever machine they ran on; else, without a GPU, bfloat16 where this CPU multiplies it natively.
    """
    dtype, method = wanted[0][2].compute_dtype, wanted[0][2].method
    if dtype != "auto" or method != "lora":
        return dtype
    recorded = {row["run_id"] for row in run.store.rows("select distinct run_id from checkpoint")}
    for known in ("auto", "bfloat16"):
        for arm, training_set_id, settings in wanted:
            run_id = run_id_of(model, training_set_id, replace(settings, compute_dtype=known), frame)
            if run_id in recorded or directory_of(run, arm, run_id).is_dir():
                return known
    return "bfloat16" if not gpus() and multiplies_bfloat16() else "auto"


def run_id_of(model: Model, training_set_id: str, settings: TrainingSettings, frame: ChatFrame | None = None) -> str:
    """Same weights, examples, settings and chat frame (None: raw texts): same run."""
    chat = [] if frame is None else [frame.id]
    return content_key("training_run", _identity_of(model), training_set_id, settings.identity, *chat)


def _identity_of(model: Model) -> str:
    """Of the weights that base_model() takes."""
    return model.gguf_identity if model.gguf_path else model.hf_identity


def directory_of(run: Experiment, arm: str, run_id: str) -> Path:
    """Where the checkpoints of a training run lie."""
    return run.directory / "checkpoints" / f"{arm}-{run_id[:8]}"


def checkpoint_id_of(run_id: str, step: int) -> str:
    """The id of a run's checkpoint, whether it is there yet or not."""
    return content_key("checkpoint", run_id, step)


def checkpoints(run: Run, runs: Sequence[TrainingRun]) -> list[Checkpoint]:
    """The recorded checkpoints of these runs, up to the last step of each, by arm, seed and step."""
    rows = run.store.rows("from checkpoint order by arm, seed, step")
    last = {training_run.id: training_run.settings.max_steps for training_run in runs}
    return [Checkpoint(**row) for row in rows if row["step"] <= last.get(row["run_id"], 0)]


def train(
    run: Run, arms: tuple[Arm, ...] | None = None, *, strict: bool = False, skip_evaluated: bool = False
) -> list[Checkpoint]:
    """Train what is not trained yet; every checkpoint is recorded after its directory is whole.

    With `strict`, TrainingError before the first step of an arm of which any example would be left out or cut. With
    `skip_evaluated` a run whose answers are all there is left as it is, though its weights are on another machine.
    """
    tracking = Tracking(run)
    _refuse_unservable(run.profile)
    runs = planned_runs(run, arms)
    for training_run in runs:
        if not _is_done(run, training_run) and _is_evaluated(run, training_run):
            what = "is evaluated, and its weights are not here"
            if skip_evaluated:
                run.notice(f"{training_run.label} {what}: it is not trained again")
                continue
            run.notice(f"{training_run.label} {what}: it is trained again (--skip-evaluated leaves it as it is)")
        with tracking.showing(training_run.shown) as showing:
            if not _is_done(run, training_run):
                _train(run, training_run, showing, strict=strict)
        _keep(run, training_run)
    run.store.merge()
    return checkpoints(run, runs)


def _refuse_unservable(profile: Profile) -> None:
    """Nobody trains for days what the profile cannot evaluate: no whole model becomes a GGUF here."""
    recipe = profile.endpoint("student").recipe
    if profile.training.method == "full" and recipe is not None and load_recipe(recipe).weights == "gguf":
        raise TrainingError(
            f'training.method = "full" makes whole models, and the student\'s recipe {recipe} serves GGUF files: set '
            'recipe = "vllm" in [endpoints.student], which loads their folders.'
        )


def _keep(run: Run, training_run: TrainingRun) -> None:
    """Remove the weights of all but the newest checkpoints where the user wants so, and say which are gone."""
    keep = training_run.settings.keep
    if keep is None:
        return
    bound(training_run.directory, keep=keep, until=training_run.settings.max_steps)
    gone = [c.step for c in checkpoints(run, [training_run]) if is_removed(run.checkpoint_path(c))]
    if gone:
        run.notice(
            f"{training_run.label}: the weights of step {', '.join(map(str, gone))} were removed (keep = {keep}); "
            "evaluation passes over them."
        )


def _is_done(run: Run, training_run: TrainingRun) -> bool:
    recorded = {c.step: run.checkpoint_path(c) for c in checkpoints(run, [training_run])}
    return all(
        step in recorded and (has_adapter(recorded[step]) or is_removed(recorded[step]))
        for step in training_run.settings.checkpoint_steps
    )


def _is_evaluated(run: Run, training_run: TrainingRun) -> bool:
    """Whether each of its checkpoints that the profile evaluates has answered all of the profile's test problems."""
    is_last_alone = run.profile.evaluation.checkpoints == "last"
    steps = training_run.ends if is_last_alone else training_run.settings.checkpoint_steps
    wanted = {checkpoint_id_of(training_run.id, step) for step in steps}
    if not wanted <= {checkpoint.id for checkpoint in checkpoints(run, [training_run])}:
        return False
    asked = {problem.id for problem in run.problems.test}
    return wanted <= {id_ for (id_,) in wanted_rows(run.store, "whole_checkpoints", asked)}


def _train(run: Run, training_run: TrainingRun, showing: Showing, *, strict: bool) -> None:
    built, model, label = training_run.built, training_run.model, training_run.label
    devices = gpus()
    settings, strategy = fitted(model, training_run.settings, devices, began=began_as(training_run.directory))
    examples = tuple((example.prompt, example.output) for example in built.examples)
    job = Job(
        examples=examples,
        base=replace(base_model(model, training_run.frame), identity=_identity_of(model)),
        settings=settings,
        directory=training_run.directory,
        strict=strict,
    )
    progress = TrainingProgress(label)
    run.notice(
        f"training {label}: {len(built.examples)} examples, {settings.max_steps} steps of {settings.global_batch_size}"
    )

    def on_event(event: dict[str, Any]) -> None:
        progress.show(event)
        if event["event"] in ("progress", "recorded"):
            metric = _metric(training_run, event)
            run.store.add(metric)
            showing.step(metric)
        if event["event"] == "notice":
            run.notice(f"{label}: {event['message']}")
        if event["event"] == "checkpoint":  # row last: its existence means the adapter is whole
            run.store.add(_record(run, training_run, saved_checkpoint(event)))
        if event["event"] == "lint":
            for line in lint_lines(Lint.from_dict(event), training_run):
                run.notice(line)

    try:
        run_job(job, num_gpus=len(devices), on_event=on_event, strategy=strategy)
    finally:
        progress.close()


def lint_lines(lint: Lint, training_run: TrainingRun) -> list[str]:
    """What became of an arm's examples, for people; the longest by their ids, which `lema explain` takes."""
    examples = training_run.built.examples
    return [f"{training_run.label}: {line}" for line in lint.lines(lambda place: examples[place].id)]


def fitted(
    model: Model, settings: TrainingSettings, devices: Sequence[Gpu], *, began: Strategy | None = None
) -> tuple[TrainingSettings, Strategy | None]:
    """The micro-batch and strategy that the dry run says for these GPUs, or for this CPU; as they are (one process, or
    ddp) where the model's shapes are not known. What will not fit is tried all the same, by the smallest micro-batch:
    the estimate may be wrong, and torch says so. A run that `began` by one strategy can go on by no other."""
    architecture = shapes_of(model)
    if architecture is None:
        return settings, began if devices else None
    memory = min((device.memory_gib for device in devices), default=ram_gib())
    found = fit(architecture, settings, num_gpus=len(devices), memory_gib=memory, began=began)
    return found.settings, found.strategy if devices else None


def base_model(model: Model, frame: ChatFrame | None = None) -> BaseModel:
    """Exactly one place to take the weights from: a GGUF before a folder before the Hub. A chat frame has the BOS that
    its tokenizer does not add."""
    bos_text = model.bos_text if frame is None else ""
    if model.gguf_path is not None:
        return BaseModel(name=model.name, gguf_path=model.gguf_path, bos_text=bos_text, frame=frame)
    if model.path is not None:
        return BaseModel(name=model.name, path=model.path, bos_text=bos_text, frame=frame)
    return BaseModel(name=model.name, hub_id=model.hub_id, bos_text=bos_text, frame=frame)


def _record(run: Run, training_run: TrainingRun, saved: SavedCheckpoint) -> Checkpoint:
    training_set, settings = training_run.built.training_set, training_run.settings
    return Checkpoint(
        id=checkpoint_id_of(training_run.id, saved.step),
        run_id=training_run.id,
        base_model=training_run.model.name,
        quantization=settings.quantization,
        training_set_id=training_set.id,
        arm=training_set.arm,
        dataset=training_set.dataset,
        seed=settings.seed,
        step=saved.step,
        settings=json.dumps(dataclasses.asdict(settings), sort_keys=True),
        path=os.path.relpath(saved.path, run.store.path.parent),
        loss=saved.loss,
        tokens_seen=saved.tokens_seen,
        samples_seen=saved.samples_seen,
        created_at=datetime.now(UTC),
    )


def _metric(training_run: TrainingRun, event: Mapping[str, Any]) -> TrainingMetric:
    training_set = training_run.built.training_set
    return TrainingMetric(
        run_id=training_run.id,
        step=event["step"],
        base_model=training_run.model.name,
        arm=training_set.arm,
        dataset=training_set.dataset,
        seed=training_run.settings.seed,
        loss=event["loss"],
        learning_rate=event["learning_rate"],
        grad_norm=event["grad_norm"],
        tokens_per_second=event["step_tokens_per_second"],
        memory_gib=event["memory_gib"],
        tokens_seen=event["tokens_seen"],
        samples_seen=event["samples_seen"],
        created_at=datetime.fromisoformat(event["at"]),
    )
