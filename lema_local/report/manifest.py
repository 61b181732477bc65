"""The manifest of a report: what was run, by which models and versions, on what machine, for how long, at what price.

What the records say comes from the database; versions and machine are those that make the report, and are called so.
"""

import importlib.metadata
import json
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lema_local.hardware import cores, gpus, ram_gib
from lema_local.records.keys import content_key
from lema_local.records.schema import newest
from lema_local.records.store import Store, stage_sql
from lema_local.report.evidence import Row
from lema_local.report.tables import Table, view_table
from lema_local.settings.profiles import Profile

PACKAGES = (
    "lema-local",
    "duckdb",
    "openai",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "llama-cpp-python",
)


@dataclass(frozen=True, slots=True)
class Block:
    """Settings as text, behind a line to open."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Tables and settings, in the order in which they are shown."""

    tables: Sequence[Table]
    settings: Sequence[Block]


def _settings_blocks(runs: Sequence[Row]) -> Iterator[Block]:
    """The settings of an arm's runs, once for those that differ in their seed alone."""
    alike: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in runs:
        settings = json.loads(row["settings"])
        for name in ("seed", "seeds", "first_seed"):
            settings.pop(name, None)
        alike[row["arm"], json.dumps(settings, indent=1)].append(row)
    for (arm, settings), rows in alike.items():
        named = ", ".join(f"{row['seed']} ({row['run_id'][:8]})" for row in rows)
        steps = max(row["steps"] for row in rows)
        yield Block(f"Settings of {arm}, {steps:,} steps, seed{'s' if len(rows) > 1 else ''} {named}", settings)


def gather_manifest(store: Store, profile: Profile | None = None) -> Manifest:
    """The manifest of a database, and of the profile that is named: records hold what was done, not what was asked."""
    models, runs = store.rows(stage_sql("report_models")), store.rows(stage_sql("report_runs"))
    facts = [("profile", _named(profile)), *_facts(store)]
    blocks = [Block(f"Profile {profile.name}", json.dumps(profile.as_dict(), indent=1))] if profile else []
    blocks += _settings_blocks(runs)
    return Manifest(
        tables=(
            Table("Database and machine", ("what", "value"), tuple(facts)),
            view_table(
                "Models that answered",
                [_dated(row) for row in models],
                {
                    "purpose": "for",
                    "model": "model",
                    "model_identity": "weights as served",
                    "endpoint": "endpoint",
                    "template": "prompt",
                    "calls": "calls",
                    "prompt_tokens": "prompt tokens",
                    "completion_tokens": "completion tokens",
                    "seconds": "seconds",
                    "usd": "dollars",
                    "first": "first",
                    "last": "last",
                },
                missing="No model was called yet: make data",
            ),
            view_table(
                "Training runs",
                [_dated(row) for row in runs],
                {
                    "arm": "arm",
                    "seed": "seed",
                    "base_model": "base",
                    "quantization": "quantisation",
                    "steps": "steps",
                    "samples_seen": "samples",
                    "tokens_seen": "tokens",
                    "loss": "last loss",
                    "training_set_id": "training set",
                    "run_id": "run",
                    "last": "last checkpoint",
                },
                missing="Nothing was trained yet: make train",
            ),
        ),
        settings=blocks,
    )


def _named(profile: Profile | None) -> str:
    if profile is None:
        return "not named: lema report --profile NAME, or make report PROFILE=NAME"
    return f"{profile.name}, {content_key('profile', profile.as_dict())}: its settings are below"


def _facts(store: Store) -> list[tuple[str, str]]:
    devices, costs = gpus(), store.rows("from cost")
    seconds, usd = sum(row["seconds"] or 0 for row in costs), [row["usd"] for row in costs if row["usd"] is not None]
    machine = ", ".join(device.name for device in devices) or "no GPU"
    facts = [
        ("database", f"{store.path.name}, schema version {newest()}"),
        ("seconds of calls", f"{seconds:,.0f}, as if one after another"),
        ("cost of calls", f"{sum(usd):,.2f} dollars" if usd else "no price known"),
        ("machine that made this report", f"{cores()} cores, {ram_gib():.0f} GiB, {machine}; {platform.platform()}"),
        ("Python", platform.python_version()),
    ]
    for name in PACKAGES:
        try:
            facts.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts


def _dated(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict(row) | {"first": f"{row['first_at']:%Y-%m-%d %H:%M}", "last": f"{row['last_at']:%Y-%m-%d %H:%M}"}
