"""The errors a user can meet. Each message is one line that says what to do next.

LemaError                 cli/main.py prints it as one line and exits with 1
├── ProfileError          a profile, option or environment variable is wrong
├── DataError             a file of problems cannot be read, or holds nothing usable
├── StoreError            the database file is locked, foreign, unreadable or the disk is full
├── ServerError           a local server did not start, or died
├── EndpointError         an endpoint refuses us for good: unreachable, wrong model, bad key
├── BudgetError           the next call might pass the --budget
├── LedgerError           --offline, and a call is not in the database
├── MissingPackageError   an optional package is not installed
└── TrainingError         a training run cannot start or go on
"""

import difflib
from collections.abc import Iterable


class LemaError(Exception):
    """Something a user can mend."""


class ProfileError(LemaError):
    """A profile, option or environment variable is wrong."""


class DataError(LemaError):
    """A file of problems cannot be read, or holds nothing usable."""


class StoreError(LemaError):
    """The database file is locked, foreign, unreadable, or the disk is full."""


class ServerError(LemaError):
    """A local server did not start, or died."""


class EndpointError(LemaError):
    """An endpoint refuses us for good: unreachable, wrong model, bad key."""


class BudgetError(LemaError):
    """The next call might pass the budget: the run stops before it."""


class LedgerError(LemaError):
    """A run that may call nothing wants a completion that the database does not hold."""


class MissingPackageError(LemaError):
    """An optional package is not installed."""


class TrainingError(LemaError):
    """A training run cannot start or go on."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ " (did you mean 'laptop'?)" for the known word that is nearest, or "" where none is near."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


def is_interrupt(error: RuntimeError) -> bool:
    """Whether it is how DuckDB tells of Ctrl-C."""
    return "interrupted" in str(error)
