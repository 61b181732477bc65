"""Reasoners by name: what `preset = "wizardmath-70b"` in an endpoint's table stands for (reasoners.toml). Pure.

[endpoints.wizard]
preset = "wizardmath-70b"        # recipe vllm, its Hub id, completions, asked by the Alpaca-style input
"""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from lema_local.errors import ProfileError, did_you_mean


@cache
def reasoner_presets() -> dict[str, dict[str, Any]]:
    """reasoners.toml as parsed."""
    return tomllib.loads(files("lema_local.settings").joinpath("reasoners.toml").read_text(encoding="utf-8"))


def apply_presets(raw: dict[str, Any], where: str) -> dict[str, Any]:
    """A profile as parsed, its endpoints' presets filled in. Raises ProfileError for an unknown or a retired one."""
    endpoints, sampling = raw.get("endpoints"), raw.get("sampling", {})
    if not isinstance(endpoints, dict) or not isinstance(sampling, dict):
        return raw
    filled: dict[str, Any] = {}
    of = dict(sampling.get("of", {})) if isinstance(sampling.get("of", {}), dict) else {}
    for name, table in endpoints.items():
        preset = table.get("preset") if isinstance(table, dict) else None
        if preset is None:
            filled[name] = table
            continue
        known = _preset(preset, f"{where}, endpoints.{name}")
        own = {key: value for key, value in table.items() if key != "preset"}
        if "base_url" in own:  # served elsewhere: not by the preset's recipe, nor with its key
            known = {key: value for key, value in known.items() if key not in ("recipe", "api_key_env")}
        filled[name] = {key: value for key, value in known.items() if key != "prompt"} | own
        if "prompt" in known and isinstance(of.get(name, {}), dict):
            of[name] = {"prompt": known["prompt"]} | of.get(name, {})
    return raw | {"endpoints": filled} | ({"sampling": sampling | {"of": of}} if of else {})


def _preset(name: object, where: str) -> dict[str, Any]:
    presets = reasoner_presets()
    if not isinstance(name, str) or name not in presets:
        raise ProfileError(f"In {where}: no preset {name!r}{did_you_mean(str(name), presets)}. See `lema models`.")
    preset = presets[name]
    if "retired" in preset:
        raise ProfileError(
            f"In {where}: {name} was switched off by its provider on {preset['retired']}; the nearest that lives is "
            f'preset = "{preset["nearest"]}".'
        )
    return preset
