"""`--set KEY=VALUE`: any key of a profile from the command line, written as in the file and checked like it. Pure.

read_assignment("sampling.samples=4")                     # ("sampling.samples", 4)
read_assignment("data.dataset=gsm8k")                     # ("data.dataset", "gsm8k"): text needs no quotes
assign({"build": {"seed": 1}}, [("build.augment", False)], "profile mine")    # {"build": {"seed": 1, "augment": False}}
"""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from lema_local.errors import ProfileError

Assignment = tuple[str, Any]  # a dotted key and its value, as TOML has it

# what the environment says of an endpoint, by the key that goes before it; its API key is for its host
_VARIABLES = {"base_url": ("BASE_URL", "API_KEY_ENV"), "model": ("MODEL",), "api_key_env": ("API_KEY_ENV",)}


def read_assignment(text: str) -> Assignment:
    """KEY=VALUE with a TOML value; what is no TOML is text. Raises ValueError, without the text: it may hold a key."""
    key, found, value = text.partition("=")
    names = key.strip().split(".")
    if not found or not all(name.replace("-", "_").isidentifier() for name in names):
        raise ValueError("write KEY=VALUE, e.g. sampling.samples=4")
    return ".".join(names), _value(value.strip())


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def assign(raw: Mapping[str, Any], assignments: Sequence[Assignment], where: str) -> dict[str, Any]:
    """A profile as parsed, with these keys set, in order. Raises ProfileError where a key leads through no table.

    Another base URL leaves the endpoint's API key behind, which was for its host, unless that is set too.
    """
    changed, named = dict(raw), {key for key, _ in assignments}
    for key, value in assignments:
        *tables, last = key.split(".")
        table = changed
        for name in tables:
            inner = table.get(name, {})
            if not isinstance(inner, dict):
                raise ProfileError(f"In {where}: {name} of --set {key} is no table.")
            table[name] = dict(inner)
            table = table[name]
        if tables[:1] == ["endpoints"] and last == "base_url" and ".".join([*tables, "api_key_env"]) not in named:
            _leave_key(table, value)
        table[last] = value
    return changed


def _leave_key(endpoint: dict[str, Any], base_url: Any) -> None:
    if endpoint.keys() & {"base_url", "preset"} and endpoint.get("base_url") != base_url:
        endpoint.pop("api_key_env", None)


def not_set(environment: Mapping[str, str], assignments: Sequence[Assignment]) -> dict[str, str]:
    """The environment without the variables of endpoints that an assignment goes before."""
    beaten = {
        f"LEMA_{endpoint.upper()}_{variable}"
        for key, _ in assignments
        for endpoint in key.split(".")[1:2]
        for name, variables in _VARIABLES.items()
        if key in (f"endpoints.{endpoint}", f"endpoints.{endpoint}.{name}")
        for variable in variables
    }
    return {name: value for name, value in environment.items() if name not in beaten}


def keys_set(endpoint: str, assignments: Sequence[Assignment]) -> set[str]:
    """The keys of that endpoint which are set one by one; without its API key, where that is for a base URL set too."""
    prefix = f"endpoints.{endpoint}."
    keys = {key.removeprefix(prefix) for key, _ in assignments if key.startswith(prefix)}
    return keys - {"api_key_env"} if "base_url" in keys else keys
