"""Which checkpoint is meant: by the first characters of its id in the database, or by its directory."""

import re
from dataclasses import dataclass
from pathlib import Path

from lema_local.errors import TrainingError
from lema_local.records.store import Store
from lema_local.records.types import Checkpoint

_PREFIX = re.compile(r"[0-9a-f][0-9a-f-]{3,35}")


@dataclass(frozen=True, slots=True)
class FoundCheckpoint:
    """A checkpoint's directory, and its row where the database has one."""

    path: Path
    record: Checkpoint | None


def find_checkpoint(db: Path, name: str) -> FoundCheckpoint:
    """The one checkpoint whose directory is `name`, or whose id begins with it (four characters or more).

    Raises TrainingError where there is none, more than one, or no longer a directory.
    """
    db = Store(db).path  # checkpoints lie beside the file itself, not beside a link to it
    records = _records(db)
    path = Path(name).expanduser()
    if path.is_dir():
        own = [record for record in records if (db.parent / record.path).resolve() == path.resolve()]
        return FoundCheckpoint(path, own[0] if own else None)
    prefix = name.strip().lower()
    found = [record for record in records if _PREFIX.fullmatch(prefix) and record.id.startswith(prefix)]
    if not found:
        known = ", ".join(f"{r.id[:8]} ({r.arm}, step {r.step})" for r in records[-4:]) or "none"
        raise TrainingError(f"No checkpoint {name!r} in {db}, and no such directory. The last ones there: {known}.")
    if len(found) > 1:
        some = ", ".join(f"{r.id} ({r.arm}, step {r.step})" for r in found[:3])
        raise TrainingError(f"More than one checkpoint begins with {prefix}: {some}.")
    directory = db.parent / found[0].path
    if not directory.is_dir():
        raise TrainingError(f"The checkpoint {found[0].id[:8]} is gone from {directory}: `lema train` makes it anew.")
    return FoundCheckpoint(directory, found[0])


def _records(db: Path) -> list[Checkpoint]:
    if not db.is_file():
        return []
    return [Checkpoint(**row) for row in Store(db).rows("from checkpoint order by created_at")]
