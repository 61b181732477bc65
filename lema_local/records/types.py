"""The records of a run: frozen dataclasses, one per table of db/schema.sql.

Facts (problem, completion, attempt, batch, checkpoint, review) are paid for and append-only. The rest is derived from
them by pure functions and can be rebuilt without an LLM call. Ids are content keys (keys.py): same content, same id.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from lema_local.records.keys import content_key

AnswerKind = Literal["number", "latex", "choice"]
PromptFormat = Literal["few-shot", "alpaca", "cot"]  # how a reasoner is asked
Purpose = Literal["sample", "augment", "correct", "resolve", "evolve", "answer", "evaluate", "judge"]
Grade = Literal["excellent", "good", "poor"]  # of a correction, by people or a judge: arXiv 2310.20689, section 3.1
ReviewEvent = Literal["grade", "skip", "undo"]
LARGEST_INTEGER = 2**31 - 1  # that an integer column holds: a larger one would block the merge of all after it


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its reference answer (q_i, a_i); the solution is the reference rationale, where there is one."""

    dataset: str
    split: str
    question: str
    answer: str
    kind: AnswerKind = "number"
    solution: str | None = None
    level: str | None = None
    subject: str | None = None
    source: str | None = None

    @property
    def id(self) -> str:
        return content_key("problem", self.dataset, self.split, self.kind, self.question, self.answer)


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply of a model to one request, as it was paid for. Its prompt is template + inputs, rendered again when
    needed."""

    id: str
    purpose: Purpose
    model: str  # name for people
    model_identity: str  # weights + quantisation + checkpoint: what the key hashes
    template: str  # "name.version"
    problem_id: str
    rationale_id: str | None  # the mistake that was sent, when purpose is "correct"
    checkpoint_id: str | None  # the adapter that answered, when purpose is "evaluate"
    sampling: str  # JSON of the parameters that change the output
    sample_index: int
    text: str
    finish_reason: str | None  # stop or length (endings.py); None: the server does not say
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_s: float | None  # None: it came by a batch
    cost_usd: float | None
    endpoint: str
    is_reference_derived: bool  # written from the reference solution (oracle), says nothing about a model
    created_at: datetime
    cached_prompt_tokens: int | None = None  # of prompt_tokens, those billed as cached
    shared_by: int = 1  # samples that came by one request (its `n`): latency_s is the request's
    answered_by: str | None = None  # the model that the server names, where it is not the one that was asked for


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that failed, kept for its reason and its raw reply."""

    id: str
    completion_id: str  # the completion that was wanted
    error: str
    status: int | None
    raw: str | None  # at most 4,000 characters; of a text that did not end well the text itself, at most 100,000
    endpoint: str
    created_at: datetime
    cost_usd: float | None = None  # of a reply that was none


@dataclass(frozen=True, slots=True)
class Batch:
    """Calls handed to a provider's Batch API in one file."""

    id: str
    remote_id: str  # the provider's; "" where nobody knows yet whether it came there
    endpoint: str
    base_url: str
    purpose: Purpose
    calls: int
    created_at: datetime

    @property
    def name(self) -> str:
        """What people call it by."""
        return self.remote_id or self.id


@dataclass(frozen=True, slots=True)
class BatchCall:
    """One completion that a batch will bring."""

    batch_id: str
    completion_id: str


@dataclass(frozen=True, slots=True)
class BatchEnd:
    """How a batch ended; one without it is still at work."""

    batch_id: str
    # the provider's word: completed, failed, expired, cancelled; or ours: dropped, handed in (under the provider's id),
    # never made
    status: str
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class Rationale:
    """A sampled chain of thought, graded. Its id is its completion's."""

    id: str
    problem_id: str
    reasoner: str
    answer: str | None
    is_correct: bool
    is_correct_authors: bool
    decided_by: str
    is_cut: bool  # ended by max_tokens: neither trains nor counts as a mistake of reasoning


@dataclass(frozen=True, slots=True)
class Correction:
    """A corrector's reply to a mistake, parsed and graded. Its id is its completion's."""

    id: str
    problem_id: str
    rationale_id: str
    corrector: str
    is_reference_derived: bool
    incorrect_step: int | None
    explanation: str | None
    correct_solution: str | None
    answer: str | None
    is_correct: bool
    rejected_because: str | None  # None: kept
    # what is checked beyond the answer (corrections/checks.py); None: cannot tell
    fault_step: int | None = None  # the mistake's first step with a false sum, or off the reference's path
    step_exists: bool | None = None
    continues: bool | None = None
    arithmetic: bool | None = None
    explains: bool | None = None
    step_agrees: bool | None = None
    resolved: bool | None = None  # None: the reasoner was not asked again
    mistaken_steps: int | None = None  # how many steps the mistake has


@dataclass(frozen=True, slots=True)
class Review:
    """One event of reviewing. The latest of a correction and reviewer says what its grade is, whatever the event."""

    id: str  # made by whoever reviews, so that an event that is sent twice is one
    correction_id: str
    reviewer: str  # a person's name, or "model:NAME" of a judge
    grade: Grade | None  # None: skipped, or the first grade undone
    note: str | None
    created_at: datetime
    event: ReviewEvent = "grade"  # an undo holds the grade and the note of before
    completion_id: str | None = None  # the judge's reply


@dataclass(frozen=True, slots=True)
class Example:
    """One training text, whatever arm it ends up in."""

    kind: Literal["cot", "correction"]
    prompt: str
    output: str
    source_id: str  # the problem (gold), rationale or correction it was made from
    problem_id: str
    id: str = field(init=False, compare=False)  # hashed once: building asks for it many times

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", content_key("example", self.kind, self.prompt, self.output))


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The examples that one arm trains on."""

    id: str
    arm: str
    dataset: str
    seed: int
    cot_examples: int
    correction_examples: int
    manifest: str  # JSON: how it was put together, what was left out and why
    example_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An adapter on disk, whole: the row is written after the directory's COMPLETE marker."""

    id: str
    run_id: str  # base + training set + settings: the training run it belongs to
    base_model: str
    quantization: str
    training_set_id: str
    arm: str
    dataset: str
    seed: int
    step: int
    settings: str  # JSON of the training settings
    path: str
    loss: float
    tokens_seen: int
    samples_seen: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TrainingMetric:
    """What was measured at one step of a training run."""

    run_id: str
    step: int
    base_model: str
    arm: str
    dataset: str
    seed: int
    loss: float  # mean, nats per output token
    learning_rate: float
    grad_norm: float  # before clipping
    tokens_per_second: float
    memory_gib: float  # peak so far: of the GPU, or of the process where there is none
    tokens_seen: int
    samples_seen: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One graded answer of the base model or of a checkpoint. Its id is its completion's."""

    id: str
    problem_id: str
    model: str
    base: str  # weights and quantisation as served
    checkpoint_id: str | None  # None: the base model
    sample_index: int
    answer: str | None
    is_correct: bool
    is_correct_authors: bool
    decided_by: str
    is_cut: bool
