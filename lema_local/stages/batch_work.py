"""What the batch commands do: the calls of one purpose at one endpoint, wanted and pending, as the stages make them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lema_local.calls.batches import request_line
from lema_local.calls.endpoint import Endpoint, Prompt
from lema_local.stages import correct, sample
from lema_local.stages.calls import pending
from lema_local.stages.derive import derive
from lema_local.stages.run import Run
from lema_local.stages.work import Call

Purpose = Literal["sample", "augment", "correct"]
Renderer = Callable[[Call], Prompt]


@dataclass(frozen=True, slots=True)
class Work:
    """The calls of one purpose at one endpoint: all that are wanted, and those that are pending."""

    purpose: Purpose
    endpoint: Endpoint
    wanted: tuple[Call, ...]
    pending: tuple[Call, ...]
    render: Renderer

    def lines(self) -> Iterator[str]:
        """The pending calls as lines of a batch file."""
        for call in self.pending:
            yield request_line(call.id, self.endpoint, self.render(call), call.sampling, call.sample_index)


def works(run: Run, purpose: Purpose) -> Iterator[Work]:
    """The work of a purpose, endpoint by endpoint: the reasoners', the augmenter's, or that of each corrector of the
    cascade, each of which gets what the ones before answered and failed to correct."""
    if purpose != "correct":
        for name in run.profile.sampling.reasoners if purpose == "sample" else (sample.AUGMENTER,):
            resolved = run.resolved(name)
            endpoint = resolved.endpoint
            calls = sample.wanted_of(run.profile, name, endpoint, run.problems.train)
            prompts = sample.prompts(run.problems.train, endpoint.api, bos_text=sample.bos_text_of(resolved))
            yield _work(run, purpose, endpoint, calls, prompts)
        return
    derive(run.store, "sample")  # replies that a stopped run left ungraded
    derive(run.store, "correct")
    left = correct.mistakes(run)
    for name in run.profile.correction.correctors:
        endpoint = run.resolved(name).endpoint
        calls = correct.wanted(run.profile, endpoint, left)
        yield _work(run, purpose, endpoint, calls, correct.prompts(left, endpoint.api))
        left = correct.left_for_the_next(run, left, calls, correct.kept(run.store, calls))


def work_of(run: Run, purpose: Purpose) -> Work:
    """What is to be done for a purpose now: the first of its work that has calls pending."""
    everything = list(works(run, purpose))
    return next((work for work in everything if work.pending), everything[-1])


def _work(run: Run, purpose: Purpose, endpoint: Endpoint, calls: Sequence[Call], render: Renderer) -> Work:
    return Work(purpose, endpoint, tuple(calls), tuple(pending(run, calls)), render)
