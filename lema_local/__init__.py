"""Learning From Mistakes (LeMa, arXiv 2310.20689) on your own machines.

    import lema_local

    lema = lema_local.open("lema.duckdb", profile="laptop")
    lema.data(); lema.train(); lema.evaluate()           # what `lema data`, `lema train` and `lema eval` do
    lema.df("self_correction_rate")                      # any view, named query or SELECT as a pandas data frame

The import costs nothing: what a verb needs comes with its first use. lema_local/api.py has them all.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lema_local.api import Lema

__all__ = ["open"]


def open(path: str = "lema.duckdb", profile: str = "laptop", **settings: Any) -> "Lema":  # noqa: A001
    """A database file, with the profile whose experiment it holds: lema_local.api.Lema has what can be done with it.

    Opens nothing yet, and makes no file. `settings` as of lema_local.api.Lema.
    """
    from lema_local.api import Lema

    return Lema(path, profile, **settings)
