"""Records for tests of the database, as small as they can be, and text that tries to break things."""

from datetime import UTC, datetime
from typing import Any

from lema_local.records.types import Completion, Evaluation, Problem, Rationale

HOSTILE = {
    "quotes": 'O\'Neil said "no" -- `x`',
    "SQL": "'); drop table problem; --",
    "NUL": "a\x00b",
    "emoji": "🧮" * 50,
    "right to left": "\u202eabc שלום",
    "two megabytes": "x" * 2_000_000,
    "ANSI": "\x1b[2J\x1b]0;owned\x07",
    "line ends": "a\r\nb\u2028c\n",
    "parameter": "$name ? %s {question}",
}


def problem(number: int = 0, question: str | None = None, solution: str | None = None) -> Problem:
    return Problem("d", "test", question or f"q{number}", "1", solution=solution)


def completion(of: Problem, index: int = 0, **more: Any) -> Completion:
    fields: dict[str, Any] = {
        "id": f"00000000-0000-4000-8000-{index:012d}",
        "purpose": "evaluate",
        "model": "tiny",
        "model_identity": "gguf:1",
        "template": "cot_input.1",
        "problem_id": of.id,
        "rationale_id": None,
        "checkpoint_id": None,
        "sampling": "{}",
        "sample_index": 0,
        "text": "The answer is 1.",
        "finish_reason": "stop",
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "latency_s": 0.1,
        "cost_usd": None,
        "endpoint": "student",
        "is_reference_derived": False,
        "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return Completion(**fields | more)


def evaluation(of: Problem, index: int, *, is_correct: bool) -> Evaluation:
    id_ = completion(of, index).id
    return Evaluation(id_, of.id, "tiny", "gguf:1", None, 0, "1", is_correct, is_correct, "exact", False)


def rationale(of: Problem, index: int, *, is_correct: bool) -> Rationale:
    return Rationale(completion(of, index).id, of.id, "tiny", "1", is_correct, is_correct, "exact", False)
