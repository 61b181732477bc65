"""What the oracle is given: the reference solutions of the train problems, as a file of JSON lines. Never those of
the test split."""

import json
from pathlib import Path

from lema_local.stages.run import Run


def oracle_problems(run: Run) -> Path:
    """Write the file and return its path; it lies beside the logs and is rewritten each time."""
    path = run.directory / f"oracle-problems-{run.store.path.name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for p in run.problems.train:
            if p.solution is not None:
                file.write(
                    json.dumps({"question": p.question, "answer": p.answer, "solution": p.solution, "kind": p.kind})
                    + "\n"
                )
    return path
