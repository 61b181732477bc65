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

# what the environment says of an endpoint, by the key that it replaces
_VARIABLES = {"base_url": "BASE_URL", "model": "MODEL", "api_key_env": "API_KEY_ENV"}


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
    """A profile as parsed, with these keys set, in order. Raises ProfileError where a key leads through no table."""
    changed = dict(raw)
    for key, value in assignments:
        *tables, last = key.split(".")
        table = changed
        for name in tables:
            inner = table.get(name, {})
            if not isinstance(inner, dict):
                raise ProfileError(f"In {where}: {name} of --set {key} is no table.")
            table[name] = dict(inner)
            table = table[name]
        table[last] = value
    return changed


def not_set(environment: Mapping[str, str], assignments: Sequence[Assignment]) -> dict[str, str]:
    """The environment without the variables of endpoints that an assignment goes before."""
    beaten = {
        f"LEMA_{endpoint.upper()}_{variable}"
        for key, _ in assignments
        for endpoint in key.split(".")[1:2]
        for name, variable in _VARIABLES.items()
        if key in (f"endpoints.{endpoint}", f"endpoints.{endpoint}.{name}")
    }
    return {name: value for name, value in environment.items() if name not in beaten}
