"""The plan of a training run, before any weights or GPU are at hand: `lema train --dry-run`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lema_local.errors import ProfileError
from lema_local.hardware import Gpu, gpus, ram_gib
from lema_local.models import resolve_model
from lema_local.profile_tables import Arm
from lema_local.profiles import Overrides, Profile, load_profile
from lema_local.store import Store
from lema_local.training.plan import plan

# Training-set sizes of the paper (arXiv 2310.20689, section 3), for plans made before there is data.
PAPER_SIZES: dict[str, dict[Arm, int]] = {
    "gsm8k": {"cot": 32_421, "lema": 44_944, "lema-controlled": 32_421},
    "math": {"cot": 20_009, "lema": 26_315, "lema-controlled": 20_009},
}
GPU = re.compile(r"(?:([1-9]\d{0,2})x)?([A-Za-z][\w-]*?)-([1-9]\d{0,3})GB", re.IGNORECASE)


def plan_training(profile_name: str, overrides: dict[str, Any], *, db: Path, gpus: str | None) -> dict[str, Any]:
    """The plan as plain data; `sizes_from` says where the number of examples comes from."""
    profile = load_profile(profile_name, Overrides(**overrides))
    model = resolve_model(profile.endpoint("student").model)
    if model.architecture is None:
        raise ProfileError(
            f"The shapes of {model.name} are not known, so its memory cannot be planned; see `lema models`."
        )
    devices = parse_gpus(gpus) if gpus is not None else installed_gpus()
    sizes, origin = arm_sizes(profile, db)
    planned = plan(
        model=model.name,
        dataset=profile.data.dataset,
        arms=sizes,
        settings=profile.training,
        architecture=model.architecture,
        num_gpus=len(devices),
        memory_gib=min((device.memory_gib for device in devices), default=ram_gib()),
    )
    return planned | {"sizes_from": origin}


def parse_gpus(text: str) -> list[Gpu]:
    """4xA100-80GB -> four GPUs of 80 GiB. Raises ProfileError for anything else."""
    match = GPU.fullmatch(text)
    if match is None:
        raise ProfileError(f"--gpus {text!r}: write COUNTxNAME-MEMORYGB, e.g. 4xA100-80GB.")
    return [Gpu(match[2], float(match[3]))] * int(match[1] or 1)


def installed_gpus() -> list[Gpu]:
    """The GPUs of this machine."""
    return gpus()


def arm_sizes(profile: Profile, db: Path) -> tuple[dict[str, int], str]:
    """Examples of each arm: as last built in the database, else the paper's, else unknown (0)."""
    built: dict[str, int] = {}
    if db.exists():
        rows = Store(db).rows(
            "select arm, max_by(cot_examples + correction_examples, rowid) as size from training_set where "
            "dataset = $dataset group by arm",
            dataset=profile.data.dataset,
        )
        built = {row["arm"]: row["size"] for row in rows}
    if all(arm in built for arm in profile.build.arms):
        return {arm: built[arm] for arm in profile.build.arms}, str(db)
    paper: Mapping[Arm, int] = PAPER_SIZES.get(profile.data.dataset, {})
    if all(arm in paper for arm in profile.build.arms):
        from_paper: dict[str, int] = {arm: paper[arm] for arm in profile.build.arms}
        return from_paper, "the paper: the database has no training sets of this dataset yet"
    return dict.fromkeys(profile.build.arms, 0), "nowhere: run `make data` first, so epochs are not known"
