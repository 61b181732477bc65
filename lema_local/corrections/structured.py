"""Corrections as JSON: the schema for servers with structured outputs, and the reading of a reply that is JSON.

    {"incorrect_step": 2, "explanation": "Apples given away must be subtracted.",
     "correct_solution": ["She keeps 42 - 9 = 33 apples. The answer is 33."]}

A schema keeps small models in form; it does not make them right. Pure.
"""

import json
import re
from typing import Any

CORRECTION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "incorrect_step": {"type": "integer", "minimum": 1},
        "explanation": {"type": "string"},
        "correct_solution": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    },
    "required": ["incorrect_step", "explanation", "correct_solution"],
    "additionalProperties": False,
}
# a grammar keeps the order of the properties, so a model says where before it says why, as in the few-shot form

# \frac and \times, which JSON reads as a form feed and a tab, and \sqrt, which it refuses; "\\frac" is written right.
# Of n, r and t, which begin a line or a tab in plain text too, only the names of commands that begin no word so.
_COMMANDS = (
    r'[bf](?!")|u(?![0-9a-fA-F]{4})|[^"\'\\/bfnrtu]'
    r"|(?:n(?:eq|abla|otin)|r(?:ight(?:arrow)?|angle|ceil|floor|ho|m|oot)"
    r"|t(?:imes|ext(?:bf|it|rm|style|normal)?|frac|heta|anh|riangle|herefore|au|ilde|ag))(?![a-zA-Z])"
)
_UNESCAPED = re.compile(rf"(?<!\\)((?:\\\\)*)\\(?={_COMMANDS})")
_QUOTED = re.compile(r"(?<!\\)((?:\\\\)*)\\'")  # which JSON has no need of, and refuses
_TRIES = 4  # opening braces that are tried: the paper's form has braces that open no JSON
_STEP = re.compile(r"(\d{1,3})")
_MAX_STEPS = 100


def openai_format() -> dict[str, Any]:
    """`response_format` as OpenAI and vLLM take it."""
    schema = {"name": "correction", "strict": True, "schema": CORRECTION_SCHEMA}
    return {"type": "json_schema", "json_schema": schema}


def llama_cpp_format() -> dict[str, Any]:
    """`response_format` as llama-cpp-python's server takes it (llama.cpp's own server knows OpenAI's form too)."""
    return {"type": "json_object", "schema": CORRECTION_SCHEMA}


def read_json(text: str) -> tuple[int | None, str | None, list[str]] | None:
    """(step, explanation, lines of the solution) of a reply that holds a JSON correction; None for any other text."""
    at = -1
    for _ in range(_TRIES):
        at = text.find("{", at + 1)
        if at < 0:
            return None
        try:
            found, _ = json.JSONDecoder(strict=False).raw_decode(_escaped(text[at:]))
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and (parts := _parts(found)):
            return parts
    return None


def _escaped(text: str) -> str:
    return _UNESCAPED.sub(r"\1\\\\", _QUOTED.sub(r"\1'", text))


def _parts(found: dict[str, Any]) -> tuple[int | None, str | None, list[str]] | None:
    fields = {re.sub(r"[^a-z]", "", str(key).lower()): value for key, value in list(found.items())[:20]}
    solution = next(
        (fields[key] for key in ("correctsolution", "correctedsolution", "solution") if key in fields), None
    )
    if solution is None and "incorrectstep" not in fields:
        return None
    step, explanation = fields.get("incorrectstep"), fields.get("explanation")
    number = _STEP.search(str(step)[:40]) if isinstance(step, int | str) and not isinstance(step, bool) else None
    return (
        int(number[1]) if number else None,
        explanation if isinstance(explanation, str) else None,
        [line for item in _items(solution) for line in item.splitlines()],
    )


def _items(solution: object) -> list[str]:
    """The steps of a solution that is one text, a list of texts, or a list of {"step": 2, "text": "..."}."""
    if isinstance(solution, str):
        return [solution]
    if isinstance(solution, dict):
        return [f"{key}: {value}" for key, value in list(solution.items())[:_MAX_STEPS] if isinstance(value, str)]
    if not isinstance(solution, list):
        return []
    texts = []
    for item in solution[:_MAX_STEPS]:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, dict):
            texts.append(" ".join(value for value in item.values() if isinstance(value, str)))
    return texts
