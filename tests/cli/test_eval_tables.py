"""What lema eval prints beside the main table."""

from typing import Any

import pytest
from lema_local.cli.eval_tables import report_text

from lema_local.report.evaluation import set_reports


def answers(seed: int | None, right: int, *, temperature: float = 0.0, index: int = 0) -> list[dict[str, Any]]:
    """Of the base (no seed) or of arm lema to 10 problems of one level."""
    who = {"arm": "base", "step": 0} if seed is None else {"arm": "lema", "step": 40}
    fixed = {
        "model": "m", "dataset": "d", "split": "test", "base": "b", "seed": seed, "level": "Level 1", "subject": None,
        "checkpoint_id": seed and f"lema-{seed}", "answer": "1", "is_cut": False, "temperature": temperature,
        "sample_index": index,
    }  # fmt: skip
    return [fixed | who | {"problem_id": f"p{k}", "is_correct": k < right} for k in range(10)]


def printed(*seeds: int) -> str:
    """Of each seed the greedy answer twice, and two samples."""
    rows = answers(None, 1)
    for seed in seeds:
        for index in (0, 1):
            rows += answers(seed, 4, index=index) + answers(seed, 5, temperature=0.7, index=index)
    return report_text(set_reports(rows, margin=0.03, ks=(1, 2))[0], rows, "level", None)


@pytest.mark.parametrize("line", ["Level 1  lema  {} ", "lema 40 (seed {}), the same", "lema 40 (seed {}), 2 samples"])
def test_several_seeds_are_told_apart_by_level_and_beside_the_table(line: str) -> None:
    text = printed(42, 43)
    for seed in (42, 43):
        assert text.count(line.format(seed)) == 1, text


def test_one_seed_is_named_in_no_line_beside_the_table() -> None:
    assert "(seed" not in printed(42)
