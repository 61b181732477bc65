"""Parsed TOML to frozen dataclasses: unknown keys and values are refused with the nearest right one.

build(SamplingProfile, {"temprature": 0.7}, "profile mine")
# ProfileError: In profile mine: unknown key 'temprature' (did you mean 'temperature'?).
"""

from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, get_args, get_type_hints

from lema_local.errors import ProfileError, did_you_mean
from lema_local.records.types import LARGEST_INTEGER


def build(cls: Any, raw: Any, where: str) -> Any:
    """A frozen dataclass from parsed TOML. The only types in play are the ones the dataclasses above use."""
    if not isinstance(raw, dict):
        raise ProfileError(f"In {where}: expected a table, got {raw!r}.")
    hints, known = get_type_hints(cls), {f.name: f for f in fields(cls)}
    for key in raw:
        if key not in known:
            raise ProfileError(f"In {where}: unknown key {key!r}{did_you_mean(key, known)}.")
    for key, f in known.items():
        if key not in raw and f.default is MISSING and f.default_factory is MISSING:
            raise ProfileError(f"In {where}: {key!r} is missing.")
    return cls(**{key: _value(hints[key], value, f"{where}, {key}") for key, value in raw.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return build(hint, value, where)
    arguments = get_args(hint)
    if type(None) in arguments:
        given = [a for a in arguments if a is not type(None)]  # a list is for a tuple, where there is a choice
        fits = [a for a in given if (getattr(a, "__origin__", None) is tuple) == isinstance(value, list)]
        return _value((fits or given)[0], value, where)
    origin = getattr(hint, "__origin__", None)
    if origin is Literal:
        if value not in arguments:
            known = ", ".join(map(str, arguments))
            raise ProfileError(
                f"In {where}: {value!r} is not one of {known}{did_you_mean(str(value), map(str, arguments))}."
            )
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ProfileError(f"In {where}: expected a list, got {value!r}.")
        return tuple(_value(arguments[0], item, where) for item in value)
    if origin is not None and isinstance(value, dict):  # Mapping[str, EndpointProfile]
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(hint, type) or not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ProfileError(f"In {where}: expected {getattr(hint, '__name__', 'a table')}, got {value!r}.")
    if isinstance(value, int | float) and value < 0:
        raise ProfileError(f"In {where}: {value!r} is below zero.")
    if isinstance(value, int) and value > LARGEST_INTEGER:  # seeds and steps are columns of the database
        raise ProfileError(f"In {where}: {value!r} is too large; give {LARGEST_INTEGER} or less.")
    return value
