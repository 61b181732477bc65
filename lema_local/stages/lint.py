"""The lint of an experiment's training data without training: what `lema train` would find before its first step."""

from dataclasses import dataclass

from lema_local.settings.tables import Arm
from lema_local.stages.run import Run
from lema_local.stages.train import base_model, lint_lines, planned_runs
from lema_local.training.base import default_cache
from lema_local.training.lint import Lint
from lema_local.training.rows import load_tokenizer, tokenize


@dataclass(frozen=True, slots=True)
class LintedArm:
    """An arm by name, what became of its examples, and that in lines with the ids of the longest."""

    name: str
    lint: Lint
    lines: tuple[str, ...]


def lint_arms(run: Run, arms: tuple[Arm, ...] | None = None) -> list[LintedArm]:
    """Builds the profile's arms and tokenises every example; loads the tokenizer and no weights."""
    settings, found = run.profile.training, []
    tokenizer = None
    for planned in planned_runs(run, arms):
        if planned.settings.seed != settings.all_seeds.start:  # every seed trains on the same examples
            continue
        base = base_model(planned.model, planned.frame)
        tokenizer = tokenizer or load_tokenizer(base, cache=default_cache())
        _, lint = tokenize(
            [(example.prompt, example.output) for example in planned.built.examples],
            tokenizer,
            bos_text=base.bos_text,
            frame=base.frame,
            source_max_length=settings.source_max_length,
            target_max_length=settings.target_max_length,
            truncate=settings.truncate,
        )
        found.append(LintedArm(planned.built.training_set.arm, lint, tuple(lint_lines(lint, planned))))
    return found
