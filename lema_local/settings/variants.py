"""Variants: training settings that hang on the student's size or on the data set. Pure.

[[variants]]
from_parameters = 33e9
training = { learning_rate = 1e-4 }

[[variants]]
dataset = "math"
training = { source_max_length = 768, target_max_length = 768 }
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lema_local.errors import ProfileError, did_you_mean
from lema_local.settings.models import parameters_of

_KEYS = ("dataset", "from_parameters", "training")


def choose_variants(
    raw: dict[str, Any], where: str, *, model: str | None, dataset: str | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """A profile as parsed with the `[[variants]]` that match laid over its training settings, in order; and where each
    training setting comes from ("profile", "profile, variant dataset = math").

    Raises ProfileError for a variant that is none.
    """
    raw = dict(raw)
    variants = raw.pop("variants", [])
    if not isinstance(variants, list) or not all(isinstance(variant, dict) for variant in variants):
        raise ProfileError(f"In {where}: write each variant as a [[variants]] table.")
    with suppress(KeyError, TypeError):
        model, dataset = model or raw["endpoints"]["student"]["model"], dataset or raw["data"]["dataset"]
    given = raw.get("training", {})
    origins = dict.fromkeys(given, "profile") if isinstance(given, dict) else {}
    for variant in variants:
        for key in variant:
            if key not in _KEYS:
                raise ProfileError(f"In {where}, variants: unknown key {key!r}{did_you_mean(key, _KEYS)}.")
        threshold, training = variant.get("from_parameters", 0), variant.get("training", {})
        if not isinstance(threshold, int | float) or not isinstance(training, dict):
            raise ProfileError(f"In {where}, variants: from_parameters is a number and training is a table.")
        if not isinstance(raw.get("training", {}), dict) or variant.get("dataset", dataset) != dataset:
            continue
        if threshold and parameters_of(str(model or "")) < threshold:
            continue
        raw["training"] = {**raw.get("training", {}), **training}
        origins |= dict.fromkeys(training, f"profile, variant {_named(variant)}")
    return raw, origins


def _named(variant: Mapping[str, Any]) -> str:
    conditions = [f"dataset = {variant['dataset']}"] if "dataset" in variant else []
    if "from_parameters" in variant:
        conditions.append(f"from {variant['from_parameters'] / 1e9:g}B parameters")
    return " and ".join(conditions) or "for all"
