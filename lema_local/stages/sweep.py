"""The serving half of an evaluation: the base model and every adapter over it, with no merge.

llama.cpp holds one adapter at a time, as a LoRA GGUF made from the checkpoint, and is started anew for each; vLLM
serves the base once with all adapters as model names. A plain base URL serves the base model only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lema_local.answers import extract_answer, is_correct
from lema_local.endpoint import Endpoint, Prompt
from lema_local.models import resolve_model
from lema_local.prompts import student_input
from lema_local.recipes import Recipe, load_recipe
from lema_local.records import Checkpoint
from lema_local.serving import open_endpoint
from lema_local.stages.calls import Call, Outcome, complete
from lema_local.stages.run import Run


@dataclass(frozen=True, slots=True)
class Target:
    """Something to evaluate: the base model (no checkpoint) or an adapter over it, with the calls that this takes."""

    checkpoint: Checkpoint | None
    calls: tuple[Call, ...]
    has_seed_in_label: bool = False  # adapters of several seeds must have names of their own

    @property
    def label(self) -> str:
        if self.checkpoint is None:
            return "base"
        seed = f"-seed{self.checkpoint.seed}" if self.has_seed_in_label else ""
        return f"{self.checkpoint.arm}{seed}-{self.checkpoint.step}"


def served(run: Run, open_targets: Sequence[Target]) -> Iterator[tuple[Target, Endpoint]]:
    """Each target with an endpoint that serves it, for as long as the caller works on it."""
    profile = run.profile.endpoint("student")
    recipe = load_recipe(profile.recipe) if profile.recipe else None
    if recipe is not None and recipe.adapters == "many" and open_targets:
        paths = {t.label: run.checkpoint_path(t.checkpoint) for t in open_targets if t.checkpoint}
        options = replace(run.serve_options, adapters=paths, lora_rank=run.profile.training.lora_r)
        with open_endpoint("student", profile, options=options, on_notice=run.notice) as endpoint:
            for target in open_targets:
                served = target.label if target.checkpoint else endpoint.served_model
                yield target, replace(endpoint, served_model=served)
        return
    for target in open_targets:
        with _one(run, target, recipe) as endpoint:
            yield target, endpoint


@contextmanager
def _one(run: Run, target: Target, recipe: Recipe | None) -> Iterator[Endpoint]:
    """A server that has this target alone."""
    profile = run.profile.endpoint("student")
    options, checkpoint = run.serve_options, target.checkpoint
    if checkpoint is not None and recipe is not None and recipe.weights == "gguf":
        base = resolve_model(profile.model).gguf()
        options = replace(options, adapters={target.label: _lora_gguf(run.checkpoint_path(checkpoint), base)})
    checkpoint_id = checkpoint.id if checkpoint else None
    run.notice(f"evaluating {target.label}")
    with open_endpoint(
        "student", profile, options=options, checkpoint_id=checkpoint_id, on_notice=run.notice
    ) as endpoint:
        yield endpoint


def _lora_gguf(directory: Path, base: Path) -> Path:
    """The adapter as llama.cpp loads it, made once beside the checkpoint."""
    from lema_local.training.adapter_gguf import convert_adapter

    target = directory / "adapter.gguf"
    if not target.is_file():
        convert_adapter(directory, target, base_gguf=base)
    return target


def complete_target(run: Run, target: Target, endpoint: Endpoint) -> Outcome:
    """Ask what is pending of a target of the endpoint that serves it."""
    problems = run.evaluated
    profile = run.profile.endpoint("student")
    bos_text = resolve_model(profile.model).bos_text if profile.recipe else ""

    def prompt(call: Call) -> Prompt:
        # one BOS: as text where the server's tokenizer adds none by itself
        text = student_input(problems[call.problem_id].question, call.template)
        return (
            Prompt(text=bos_text + text)
            if endpoint.api == "completions"
            else Prompt(messages=({"role": "user", "content": text},))
        )

    def accepts(call: Call, text: str) -> bool:
        problem = problems[call.problem_id]
        return is_correct(extract_answer(text, problem.kind), problem.answer, problem.kind)

    label = f"evaluate {target.label}"
    return complete(run, target.calls, endpoint=endpoint, render=prompt, accepts=accepts, label=label)
