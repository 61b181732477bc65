"""Experiments as a report sees them: arms that solve so many of N problems, over steps and seeds."""

from typing import Any

from lema_local.report.evaluation import set_reports
from lema_local.report.evidence import ArmData, Experiment

N = 200


def rows(arm: str, step: int, correct: int, *, seed: int = 1, dataset: str = "gsm8k") -> list[dict[str, Any]]:
    """A checkpoint that solves the first `correct` of N problems."""
    fixed = {
        "model": "m", "dataset": dataset, "split": "test", "base": "b", "arm": arm, "step": step, "sample_index": 0,
        "seed": None if arm == "base" else seed, "checkpoint_id": None if arm == "base" else f"{arm}-{seed}-{step}",
        "temperature": 0.0, "answer": "1", "is_cut": False, "level": None, "subject": None,
    }  # fmt: skip
    return [fixed | {"problem_id": f"p{k:03}", "is_correct": k < correct} for k in range(N)]


def experiment(
    model: str = "llama-2-13b", *, derived: int = 0, parameters: int | None = None, **arms: int
) -> Experiment:
    """Each arm (its name with _ for -) at two steps: half as many right at the first."""
    found = rows("base", 0, 10)
    for name, correct in arms.items():
        found += rows(name.replace("_", "-"), 50, correct // 2) + rows(name.replace("_", "-"), 100, correct)
    data = {name.replace("_", "-"): ArmData(100, 50, 0 if name == "cot" else derived) for name in arms}
    return Experiment(model, "b", set_reports(found, margin=0.03)[0], data, parameters)


def trained_over(*gains: int, steps: tuple[int, ...] = (50, 100)) -> Experiment:
    """Arms cot and lema, a seed for each of `gains`: every checkpoint of lema solves so many problems more."""
    found = rows("base", 0, 10)
    for seed, gain in enumerate(gains, 1):
        for step in steps:
            found += rows("cot", step, step + seed, seed=seed) + rows("lema", step, step + seed + gain, seed=seed)
    data = {arm: ArmData(100, 50, 0) for arm in ("cot", "lema")}
    return Experiment("llama-2-13b", "b", set_reports(found, margin=0.03)[0], data, None)


def seeded(model: str, *gains: int, parameters: int | None = None, cot: int = 60) -> Experiment:
    """Arms cot and lema-controlled, a seed for each of `gains`: so many problems more."""
    found = []
    for seed, gain in enumerate(gains, 1):
        found += rows("cot", 100, cot, seed=seed) + rows("lema-controlled", 100, cot + gain, seed=seed)
    return Experiment(model, "b", set_reports(found, margin=0.03)[0], {}, parameters)
