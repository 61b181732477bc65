"""The sweep: the base model and every adapter over it, served and asked what is pending, with no merge.

One server serves them all. vLLM has adapters as model names, keeps one in its batch and some in memory; llama.cpp's
server has all in memory, from LoRA GGUFs made from the checkpoints, and each request says which is on; that of
llama-cpp-python loads the one that is asked. A plain base URL serves what it has. What goes wrong with one target is
said in one line, and the rest of the sweep goes on:

    cot-40 is not evaluated: The checkpoint runs/checkpoints/cot-1f2e/step-000040 is damaged or gone: ...
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lema_local.answers.exact import extract_answer, is_correct
from lema_local.calls.endpoint import Endpoint, Prompt
from lema_local.errors import EndpointError, LemaError, TrainingError
from lema_local.prompts import student_input
from lema_local.records.store import stage_sql
from lema_local.records.types import Checkpoint
from lema_local.serving.process import RunningServers
from lema_local.serving.recipes import Recipe
from lema_local.settings.models import Model
from lema_local.settings.published import Adapter, adapter_rank, refuse_misfit
from lema_local.stages.bases import base_name, base_weights, merged_weights, remove_merged, serving_dtype
from lema_local.stages.calls import Outcome, complete, pending
from lema_local.stages.engines import is_local, open_model, open_weights
from lema_local.stages.probe import Probe
from lema_local.stages.ray_fleet import Fleet
from lema_local.stages.run import Run
from lema_local.stages.student import student_frame
from lema_local.stages.train import TrainingRun
from lema_local.stages.work import Call
from lema_local.training.adapter_gguf import convert_adapter
from lema_local.training.checkpoints import is_whole_model, refuse_damaged

PROBED_PROBLEMS = 2


@dataclass(frozen=True, slots=True)
class Target:
    """Something to evaluate, with the calls that this takes: an adapter of a checkpoint or a published one over the
    base model; the base model itself, where there is neither."""

    checkpoint: Checkpoint | None
    calls: tuple[Call, ...]
    published: Adapter | None = None
    has_seed_in_label: bool = False  # adapters of several seeds must have names of their own
    training_run: TrainingRun | None = field(default=None, repr=False, compare=False)  # that the checkpoint is of

    @property
    def label(self) -> str:
        if self.published is not None:
            return self.published.name
        if self.checkpoint is None:
            return "base"
        seed = f"-seed{self.checkpoint.seed}" if self.has_seed_in_label else ""
        return f"{self.checkpoint.arm}{seed}-{self.checkpoint.step}"

    @property
    def is_base(self) -> bool:
        return self.checkpoint is None and self.published is None

    def folder(self, run: Run) -> Path:
        """Where its peft adapter lies."""
        if self.published is not None:
            return self.published.path
        assert self.checkpoint is not None
        return run.checkpoint_path(self.checkpoint)


def sweep(run: Run, targets: Sequence[Target]) -> Outcome:
    """Ask every target what is pending of it. A target that cannot be evaluated is named by a notice, and its calls
    count as failed; raises what was wrong where there is nothing to show of any."""
    open_targets = [replace(t, calls=tuple(left)) for t in targets if (left := pending(run, t.calls))]
    if not open_targets:
        return Outcome()
    student = run.resolved("student")
    if student.recipe is None:
        with open_model(run, student) as endpoint:
            return sum((complete_target(run, target, endpoint) for target in open_targets), Outcome())
    work = _Sweep(run, student.recipe, base_weights(run), open_targets)
    if work.recipe.loads_adapters_first or not is_local(run, student):  # and dies of one that is broken
        work.leave_out_broken()
    while work.left:
        work.serve()
    if work.refused is not None and not work.total.done and len(open_targets) == len(targets):
        raise work.refused
    return work.total


@dataclass
class _Sweep:
    """What is left to evaluate over one base, and how it went so far."""

    run: Run
    recipe: Recipe
    model: Model | None
    left: list[Target]
    total: Outcome = field(default_factory=Outcome)
    refused: LemaError | None = None  # the last error that ended its own target alone
    _restarted: set[str] = field(default_factory=set)

    @property
    def merges(self) -> bool:
        """Whether each adapter is added into the weights and served alone, instead of beside the others."""
        return base_name(self.run.profile) == "merged"

    def leave_out_broken(self) -> None:
        """Refuse the targets whose adapter cannot be loaded over this base."""
        for target in [each for each in self.left if not each.is_base and not self._is_alone(each)]:
            try:
                self._prepare(target)
            except TrainingError as error:
                self._refuse(target, error)

    def serve(self) -> None:
        """Work on what one server serves of what is left, until that is done or the server has died."""
        together = [target for target in self.left if not self._is_alone(target)] or self.left[:1]
        tuned = [target for target in together if not target.is_base and not self._is_alone(target)]
        try:
            model = self._weights(together[0])
        except TrainingError as error:
            return self._refuse(together[0], error)
        options = replace(
            self.run.serve_options,
            adapters={target.label: self._loaded(target) for target in tuned},
            lora_rank=max(map(self._rank, tuned), default=1),
            dtype=serving_dtype(self.run.profile),
        )
        student = self.run.resolved("student")
        try:
            with open_weights(self.run, student, options=options, model=model) as (base, server):
                probed = together[0].calls[:PROBED_PROBLEMS]
                probe = Probe(base, [_prompt(self.run, base, call, model) for call in probed])
                for target in together:
                    self._try(target, base, server, probe)
                    if not server.is_alive():
                        return None
        finally:
            remove_merged(self.run)

    def _try(self, target: Target, base: Endpoint, server: RunningServers | Fleet, probe: Probe) -> None:
        try:
            self._evaluate(target, base, probe)
        except (EndpointError, TrainingError) as error:
            if server.is_alive() or target.label in self._restarted:
                self._refuse(target, error)
            else:
                self._restarted.add(target.label)
                self.run.notice(f"{server.died()} It is started once more.")

    def _is_alone(self, target: Target) -> bool:
        """Whether it is weights of its own, and no adapter beside others: merged, or a whole model that was trained."""
        return not target.is_base and (self.merges or is_whole_model(target.folder(self.run)))

    def _weights(self, target: Target) -> Model | None:
        """What the server loads for it: the base's, or its own."""
        if not self._is_alone(target) or self.model is None:
            return self.model
        folder = target.folder(self.run)
        if target.checkpoint is not None:
            refuse_damaged(folder)
        if not is_whole_model(folder):
            return merged_weights(self.run, self.model, folder)
        if self.recipe.weights != "hf":
            raise TrainingError(f'{folder} is a whole model: serve the student with recipe = "vllm".')
        return replace(self.model, path=folder)

    def _evaluate(self, target: Target, endpoint: Endpoint, probe: Probe) -> None:
        calls = tuple(pending(self.run, target.calls))
        if calls and not target.is_base and not self._is_alone(target):
            self._prepare(target)
            if endpoint.base_url:  # replicas ask their own servers
                probe.refuse_inactive(target.label)
            endpoint = replace(endpoint, served_model=target.label)
        if calls:
            self.total += complete_target(self.run, replace(target, calls=calls), endpoint)
        self.left.remove(target)

    def _refuse(self, target: Target, error: LemaError) -> None:
        self.run.notice(f"{target.label} is not evaluated: {error}")
        self.refused = error
        self.total += Outcome(failed=len(target.calls))
        self.left.remove(target)

    def _rank(self, target: Target) -> int:
        return adapter_rank(target.folder(self.run)) if self.recipe.weights == "hf" else 1

    def _loaded(self, target: Target) -> Path:
        """What the server loads."""
        folder = target.folder(self.run)
        if self.recipe.weights != "gguf":
            return folder
        if target.published is None:
            return folder / "adapter.gguf"
        return self.run.directory / "adapters" / f"{target.published.identity}.gguf"

    def _prepare(self, target: Target) -> None:
        """Make what the server loads. TrainingError where the adapter is damaged, gone, or another base's."""
        folder = target.folder(self.run)
        if target.checkpoint is not None:
            refuse_damaged(folder)
        if self.recipe.weights == "gguf" and not self._loaded(target).is_file():
            assert self.model is not None
            self._loaded(target).parent.mkdir(parents=True, exist_ok=True)
            convert_adapter(folder, self._loaded(target), base_gguf=self.model.gguf())
        if self.recipe.weights == "hf" and self.model is not None:
            refuse_misfit(folder, self.model)


def complete_target(run: Run, target: Target, endpoint: Endpoint) -> Outcome:
    """Ask what is pending of a target of the endpoint that serves it."""
    problems, model = run.evaluated, run.resolved("student").model

    def accepts(call: Call, text: str) -> bool:
        problem = problems[call.problem_id]
        return is_correct(extract_answer(text, problem.kind), problem.answer, problem.kind)

    student, frame = run.resolved("student"), student_frame(run)
    if frame is not None and student.recipe is not None and student.recipe.weights == "hf":
        # vLLM ends at the model's EOS, which need not be the end of a turn, and finds a stop text in what it shows
        endpoint = replace(endpoint, request={**endpoint.request, "skip_special_tokens": False})
    try:
        return complete(
            run,
            target.calls,
            endpoint=endpoint,
            render=lambda call: _prompt(run, endpoint, call, model),
            accepts=accepts,
            label=f"evaluate {target.label}",
        )
    finally:
        _name_too_long(run, target)


def _prompt(run: Run, endpoint: Endpoint, call: Call, model: Model | None) -> Prompt:
    text = student_input(run.evaluated[call.problem_id].question, call.template)
    frame = student_frame(run)
    if frame is not None:
        return Prompt(text=frame.around(text))
    if endpoint.api == "chat":
        return Prompt(messages=({"role": "user", "content": text},))
    # one BOS: as text where the server's tokenizer adds none by itself
    return Prompt(text=(model.bos_text if model else "") + text)


def _name_too_long(run: Run, target: Target) -> None:
    """Say which problems have no room in the context: they stay pending, and the server's 400 does not say what to do
    about it."""
    run.store.merge()
    asked = {call.id: call.problem_id for call in target.calls}
    refused = [asked[row["id"]] for row in run.store.rows(stage_sql("too_long"), ids=" ".join(asked))]
    if refused:
        shown = ", ".join(f"{run.evaluated[problem_id].question[:40]!r}" for problem_id in refused[:3])
        run.notice(
            f"{target.label}: {len(refused)} problems have no room in the context ({shown}): raise context_length of "
            "the student, or lower max_tokens of [evaluation]."
        )
