"""What the stages share: the profile, the store, who is asked, where files go, and how to speak to the user."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from lema_local.calls.endpoint import Endpoint
from lema_local.calls.pacing import Budget
from lema_local.records.store import Store, Writer
from lema_local.records.types import Checkpoint, Problem
from lema_local.serving.command import ServeOptions
from lema_local.serving.endpoints import Endpoints, ResolvedEndpoint
from lema_local.settings.profiles import Profile
from lema_local.stages.evaluation_sets import EvaluationSet, evaluation_sets, held_out
from lema_local.stages.problems import ProblemSet, load_problems, record_problems
from lema_local.stages.work import Work

Engine = Callable[[Work, Endpoint], None]  # makes the calls of a stage: returns, or raises, when all that came is kept


@dataclass
class Experiment:
    """One experiment as the records show it: what is wanted and what is there. Nothing is called or written."""

    profile: Profile
    store: Store
    notice: Callable[[str], None] = field(default=lambda message: None)
    endpoints: Endpoints = field(default_factory=Endpoints, repr=False, kw_only=True)

    @property
    def directory(self) -> Path:
        """Where checkpoints and logs go: `runs/` beside the database."""
        return self.store.path.parent / "runs"

    def resolved(self, name: str) -> ResolvedEndpoint:
        """An endpoint of the profile as it is now, with its recipe, its weights and who answers."""
        return self.endpoints.resolve(name, self.profile.endpoint(name))

    @cached_property
    def problems(self) -> ProblemSet:
        """The problems of the profile."""
        return load_problems(self.profile.data, self.notice, dev_problems=self.profile.evaluation.dev_problems)

    @cached_property
    def held_out(self) -> tuple[Problem, ...]:
        """What train problems that the run makes must not copy: the test and dev splits, and the profile's other sets.
        Recorded nowhere by this."""
        return held_out(self.profile, self.problems)

    def add_train_problems(self, problems: Sequence[Problem]) -> None:
        """Problems made by the run itself; those that it has stay as they are."""
        known = {problem.id for problem in self.problems.train}
        new = tuple(problem for problem in problems if problem.id not in known)
        if new:
            self.problems = replace(self.problems, train=(*self.problems.train, *new))


@dataclass
class Run(Experiment):
    """One experiment at work: its problems are in the store."""

    store: Writer
    budget: Budget | None = field(default=None, kw_only=True)  # what this run may spend; None: no limit
    offline: bool = field(default=False, kw_only=True)  # every completion must be in the store: call nothing
    training_sets: tuple[str, ...] = field(default=(), kw_only=True)  # those of the store to train on, instead of built
    trained: frozenset[str] = field(default=frozenset(), repr=False, kw_only=True)  # the questions that those hold
    said: set[str] = field(default_factory=set, repr=False, kw_only=True)  # topics of notices that come once a run
    engine: Engine | None = field(default=None, repr=False, kw_only=True)  # while one is open (engines.py); None: here

    def checkpoint_path(self, checkpoint: Checkpoint) -> Path:
        """Where an adapter lies. Paths are recorded as seen from the database, so that both can move together."""
        return self.store.path.parent / checkpoint.path

    @property
    def serve_options(self) -> ServeOptions:
        """Where servers of this run write their logs."""
        return ServeOptions(log_directory=self.directory / "logs")

    def say_once(self, topic: str, message: str) -> None:
        """A notice for the user, once a run."""
        if topic not in self.said:
            self.said.add(topic)
            self.notice(message)

    @cached_property
    def problems(self) -> ProblemSet:
        """The problems of the profile, recorded."""
        problems = super().problems
        record_problems(problems, self.store)
        return problems

    @cached_property
    def evaluation_sets(self) -> list[EvaluationSet]:
        """What is evaluated on, in the store: the test split, a dev split, other sets, as the profile says."""
        return evaluation_sets(self.profile, self.problems, self.store, self.notice, trained=self.trained)

    @cached_property
    def evaluated(self) -> dict[str, Problem]:
        """The problems of the evaluation sets, by id."""
        return {problem.id: problem for each in self.evaluation_sets for problem in each.problems}

    def add_train_problems(self, problems: Sequence[Problem]) -> None:
        """The same, recorded."""
        before = self.problems
        super().add_train_problems(problems)
        if self.problems is not before:
            record_problems(self.problems, self.store)
