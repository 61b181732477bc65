"""The plan of a training run, before any weights or GPU are at hand: `lema train --dry-run`."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lema_local.errors import ProfileError
from lema_local.hardware import Gpu, gpus, has_bfloat16_units, ram_gib
from lema_local.records.store import Store
from lema_local.records.types import TrainingSet
from lema_local.settings.models import known_models, resolve_model, shapes_of
from lema_local.settings.profiles import Overrides, Profile, load_profile, training_origins
from lema_local.settings.tables import Arm
from lema_local.settings.training import TrainingSettings
from lema_local.stages.recorded import recorded_sets
from lema_local.stages.run import Experiment
from lema_local.training.matching import ArmSize
from lema_local.training.plan import plan

GPU = re.compile(r"(?:([1-9]\d{0,2})x)?([A-Za-z][\w-]*?)-([1-9]\d{0,3})GB", re.IGNORECASE)
FROM_PAPER = "the paper: the database has no training sets of this data set yet; tokens are estimates"
UNKNOWN = "nowhere: run `make data` first; without it epochs are not known"


@dataclasses.dataclass(frozen=True, slots=True)
class _PaperSize:
    """The paper's CoT examples and corrections (arXiv 2310.20689, section 3), and tokens of one of each.

    Tokens: inputs and gold outputs counted by tokens.estimate_tokens on GSM8K's train split and MATH's test split;
    GSM8K's outputs from the paper's own "CoT-5.8M" (examples/arms.py). A correction's input has the wrong solution
    too, as long as a right one; MATH's correction outputs are taken in GSM8K's proportion.
    """

    cot: int
    corrections: int
    cot_tokens: int
    correction_tokens: int

    def arm(self, arm: Arm) -> ArmSize | None:
        if arm not in ("cot", "lema", "lema-controlled"):
            return None
        corrections = 0 if arm == "cot" else self.corrections
        cot = self.cot - self.corrections if arm == "lema-controlled" else self.cot
        return ArmSize(cot + corrections, cot * self.cot_tokens + corrections * self.correction_tokens)


PAPER_SIZES: dict[str, _PaperSize] = {
    "gsm8k": _PaperSize(32_421, 12_523, cot_tokens=77 + 105, correction_tokens=206 + 190),
    "math": _PaperSize(20_009, 6_306, cot_tokens=96 + 238, correction_tokens=358 + 430),
}


def plan_training(
    profile_name: str,
    overrides: dict[str, Any],
    *,
    db: Path,
    gpus: str | None,
    training_sets: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The plan as plain data; `sizes_from` says where the arms' sizes come from, `settings` where each value does.

    `training_sets` of the database are planned instead of the profile's arms; what would not train is refused.
    """
    options = Overrides(**overrides)
    profile = load_profile(profile_name, options)
    model = resolve_model(profile.endpoint("student").model)
    architecture = shapes_of(model)
    if architecture is None:
        raise ProfileError(
            f"The shapes of {model.name} are not known, so its memory cannot be planned: name one of `lema models`, or "
            "a folder that has the model's config.json."
        )
    devices = parse_gpus(gpus) if gpus is not None else installed_gpus()
    if training_sets:
        found = recorded_sets(Experiment(profile, Store(db)), training_sets, with_frame=False)
        sets = [built.training_set for built in found]
        sizes = {each.arm: arm_size(each) for each in sets}
        dataset = ", ".join(dict.fromkeys(each.dataset for each in sets))
        sizes_from = f"{db}, training set {', '.join(each.id[:8] for each in sets)}"
    else:
        (sizes, sizes_from), dataset = arm_sizes(profile, db), profile.data.dataset
    training = profile.training
    if not devices and training.compute_dtype == "auto" and training.method == "lora" and has_bfloat16_units():
        training = dataclasses.replace(training, compute_dtype="bfloat16")  # as training finds it, by measuring
    planned = plan(
        model=model.name,
        dataset=dataset,
        arms=sizes,
        settings=training,
        architecture=architecture,
        num_gpus=len(devices),
        memory_gib=min((device.memory_gib for device in devices), default=ram_gib()),
    )
    origins = training_origins(profile_name, options)
    return planned | {
        "sizes_from": sizes_from,
        "devices": _devices(devices, is_given=gpus is not None),
        "parameters": architecture.parameters,
        "prompt": profile.endpoint("student").prompt or model.prompt,
        "model_from": "models.toml" if model.hub_id or model.name in known_models() else str(model.path or ""),
        "profile": profile.name,
        "settings": _settings(profile.training, planned["per_device_batch_size"], origins),
    }


def parse_gpus(text: str) -> list[Gpu]:
    """4xA100-80GB -> four GPUs of 80 GiB, cpu -> none. Raises ProfileError for anything else."""
    if text.lower() == "cpu":
        return []
    match = GPU.fullmatch(text)
    if match is None:
        raise ProfileError(f"--gpus {text!r}: write COUNTxNAME-MEMORYGB, e.g. 4xA100-80GB, or cpu.")
    return [Gpu(match[2], float(match[3]))] * int(match[1] or 1)


def installed_gpus() -> list[Gpu]:
    """The GPUs of this machine."""
    return gpus()


def arm_sizes(profile: Profile, db: Path) -> tuple[dict[str, ArmSize], str]:
    """The size of each arm: as last built in the database, else the paper's, else unknown (0 examples)."""
    arms, dataset = profile.build.arms, profile.data.dataset
    built: dict[str, ArmSize] = {}
    if db.exists():
        for row in Store(db).rows(
            "select arm, cot_examples + correction_examples as size, manifest from training_set where "
            "dataset = $dataset order by rowid",
            dataset=dataset,
        ):
            built[row["arm"]] = ArmSize(row["size"], manifest_tokens(row["manifest"]))
    if all(arm in built for arm in arms):
        return {arm: built[arm] for arm in arms}, f"{db}, as last built"
    if dataset in PAPER_SIZES and profile.data.train_problems is None:
        known: dict[str, ArmSize] = {}
        for arm in arms:
            size = PAPER_SIZES[dataset].arm(arm)
            if size is not None:
                known[arm] = size
        if len(known) == len(arms):
            return known, FROM_PAPER
    return {arm: ArmSize(0) for arm in arms}, UNKNOWN


def arm_size(training_set: TrainingSet) -> ArmSize:
    """Its examples, and the tokens that its manifest counted."""
    examples = training_set.cot_examples + training_set.correction_examples
    return ArmSize(examples, manifest_tokens(training_set.manifest))


def manifest_tokens(manifest: str) -> int | None:
    """The tokens of an arm's prompts and outputs, as its manifest counted them."""
    tokens = json.loads(manifest).get("tokens", {})
    return int(tokens["prompt"] + tokens["output"]) if {"prompt", "output"} <= tokens.keys() else None


def _devices(devices: Sequence[Gpu], *, is_given: bool) -> dict[str, Any]:
    found: Mapping[str, int] = {}
    for device in devices:
        found = {**found, device.name: found.get(device.name, 0) + 1}
    names = ", ".join(f"{count} x {name}" for name, count in found.items())
    return {
        "names": names or f"CPU, {os.cpu_count()} cores",
        "memory_gib": [round(device.memory_gib, 1) for device in devices] or [round(ram_gib(), 1)],
        "from": "--gpus" if is_given else "this machine",
    }


def _settings(settings: TrainingSettings, per_device: int, origins: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Each training setting with where it comes from."""
    table = {
        name: {"value": value, "from": origins.get(name, "default")}
        for name, value in dataclasses.asdict(settings).items()
    }
    if per_device != settings.per_device_batch_size:
        before = settings.per_device_batch_size
        table["per_device_batch_size"] = {
            "value": per_device,
            "from": f"the plan: the largest up to {before} that fits",
        }
    return table
