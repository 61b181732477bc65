"""Answers as other evaluations log them: inspect_ai's .eval files as rows of ours; whose answers lm-eval logged.

    logs/2026-11-28_gsm8k.eval                             read by inspect_ai's own reader, where that is installed
    out/org__m/samples_gsm8k_2026-11-28T10-00-00.1.jsonl   names no model, but results_2026-11-28T10-00-00.1.json does

Formats: inspect_ai 0.3 (its log API), lm-evaluation-harness 0.4 (loggers/evaluation_tracker.py).
"""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from lema_local.errors import DataError, MissingPackageError
from lema_local.problems.files import Row, read_rows
from lema_local.problems.rows import UnusableRowError

_LARGEST_RESULTS = 256 * 2**20  # bytes; lm-eval's results hold each task's configuration, and no sample
_LM_EVAL = re.compile(r"samples_.{1,200}_(\d{4}-\d\d-\d\dT[\d.-]{8,20})\.jsonl")


def answer_rows(file: Path) -> Iterator[Row]:
    """The rows of a file of answers. DataError where it cannot be read, MissingPackageError for a log of inspect_ai
    where that is not installed."""
    return _inspect_rows(file) if file.suffix == ".eval" else read_rows((file,))


def logged_model(file: Path) -> str | None:
    """The model whose answers lm-evaluation-harness logged in this file, by the results that it wrote beside it."""
    named = _LM_EVAL.fullmatch(file.name)
    for results in sorted(file.parent.glob(f"*_{named[1]}.json")) if named else ():
        try:
            if results.stat().st_size <= _LARGEST_RESULTS:
                name = json.loads(results.read_text(encoding="utf-8")).get("model_name")
                if isinstance(name, str) and name.strip():
                    return name
        except (OSError, ValueError, AttributeError, RecursionError):
            continue  # not the harness's: the user is asked for the name
    return None


def _inspect_rows(file: Path) -> Iterator[Row]:
    try:
        logs = import_module("inspect_ai.log")
    except ImportError as error:
        raise MissingPackageError(
            f"{file} is a log of inspect_ai: pip install 'lema-local[logs]', or write its samples as rows of question, "
            "text and model."
        ) from error
    try:
        log = logs.read_eval_log(str(file))
    except Exception as error:  # a file of others, and a reader of others
        raise DataError(f"Cannot read {file} as a log of inspect_ai: {' '.join(str(error).split())[:160]}.") from error
    for number, sample in enumerate(log.samples or (), start=1):
        yield file, number, _inspect_row(sample, str(log.eval.model))


def _inspect_row(sample: Any, model: str) -> dict[str, Any] | UnusableRowError:
    """One answer; `epoch` counts them from 1. What the task's solvers put around a question is not part of `input`."""
    if sample.error is not None:
        return UnusableRowError("the sample ended in an error, with no answer")
    asked = sample.input
    if not isinstance(asked, str):
        asked = next((message.text for message in reversed(asked) if message.role == "user"), "")
    return {"question": asked, "text": sample.output.completion, "model": model, "sample_index": sample.epoch - 1}
