"""Drawing a sample of corrections: once, at the start. The database is open for that long and no longer.

The same database, seed and filters give the same sample; what someone has graded of it stays graded.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from lema_local.errors import DataError, did_you_mean
from lema_local.records import bulk
from lema_local.records.shared_journal import SharedJournal, shared_path
from lema_local.records.store import Store, stage_sql
from lema_local.records.types import Review
from lema_local.review.items import Item, item_of
from lema_local.review.sampling import Stratum, Wish, allocate


def draw(store: Store, wish: Wish) -> list[str]:
    """Ids of the corrections drawn, in an order that tells nothing of who wrote them. DataError: there are none, or the
    wish names what is not there."""
    with store.connect() as connection:
        _refuse_unknown(store, connection, wish)
        filters: dict[str, Any] = {
            "with_rejected": wish.with_rejected,
            "correctors": list(wish.correctors),
            "reasoners": list(wish.reasoners),
            "datasets": list(wish.datasets),
        }
        rows = connection.execute(stage_sql("review_strata"), filters).fetchall()
        strata: dict[Stratum, int] = {(row[0], row[1], row[2], row[3]): row[4] for row in rows}
        if not strata:
            kept = "" if wish.with_rejected else " kept"
            more = "" if wish.with_rejected else ", or review the rejected ones with --rejected"
            raise DataError(f"{store.path} has no{kept} correction to review here. Make some with `lema data`{more}.")
        connection.execute(
            "create temp table stratum "
            "(number integer, corrector varchar, reasoner varchar, dataset varchar, level varchar, size integer)"
        )
        sizes = allocate(strata, wish.size, seed=wish.seed).items()
        bulk.append(connection, "stratum", ([k, *stratum, size] for k, (stratum, size) in enumerate(sizes)))
        parameters = {"seed": str(wish.seed), "with_rejected": wish.with_rejected}
        return [row[0] for row in connection.execute(stage_sql("review_draw"), parameters).fetchall()]


def _refuse_unknown(store: Store, connection: Any, wish: Wish) -> None:
    """DataError for a name that the database does not know: beside others that it knows, nobody would miss it."""
    for option, column, table, named in (
        ("--sample", "corrector", "correction", tuple(wish.size.named)),
        ("--corrector", "corrector", "correction", wish.correctors),
        ("--reasoner", "reasoner", "rationale", wish.reasoners),
        ("--dataset", "dataset", "problem", wish.datasets),
    ):
        if not named:
            continue
        known = [row[0] for row in connection.execute(f"select distinct {column} from {table}").fetchall()]
        for name in named:
            if name not in known:
                raise DataError(f"No {column} {name!r} in {store.path}{did_you_mean(name, known)}. Look at {option}.")


def read_items(store: Store, ids: Sequence[str]) -> list[Item]:
    """What is shown of these corrections, in their order."""
    with store.connect() as connection:
        connection.execute("create temp table wanted (id uuid, place integer)")
        bulk.append(connection, "wanted", ([id_, place] for place, id_ in enumerate(ids)))
        return [item_of(row) for row in connection.execute(stage_sql("review_items")).fetchall()]


def read_events(store: Store) -> list[Review]:
    """All events of reviewing in their order, those too that wait to be merged."""
    waiting = [Review(*row) for row in SharedJournal(shared_path(store.path)).waiting() if _is_event(row)]
    _, rows = store.table(stage_sql("review_events"))  # after the file: what is merged in between is in both
    events = {row[0]: Review(*row) for row in rows}
    for event in waiting:
        events.setdefault(event.id, replace(event, created_at=datetime.fromisoformat(str(event.created_at))))
    return sorted(events.values(), key=lambda event: (event.created_at, event.id))


def _is_event(row: Any) -> bool:
    return isinstance(row, list) and len(row) == len(fields(Review))
