"""require(): the heavy optional packages, imported where they are used and named when they are missing."""

import importlib
import warnings
from functools import cache
from typing import Any

from lema_local.errors import MissingPackageError


@cache  # a training step asks some thousands of times, which took 4% of it
def require(name: str) -> Any:
    """The module `name` (torch, transformers, peft, gguf, ...). Raises MissingPackageError where it is not installed.

    Typed Any on purpose: their annotations differ between releases, and type checks pass without the packages too.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a release of theirs says to developers while it is imported
            return importlib.import_module(name)
    except ImportError as error:
        missing = error.name or name
        raise MissingPackageError(f"Training needs the package {missing}: pip install 'lema-local[train]'") from error
