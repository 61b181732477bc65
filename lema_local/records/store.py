"""The store: the only opener of DuckDB. One file holds every record of every run.

Readers (`Store`) open the file read-only for one query and let go of it. The one `Writer` of a file holds a run lock
(FILE.lock, which says who it is) for as long as it works, but the database only for the milliseconds of a merge: facts
go to the journal first and are merged every second, so `lema sql`, `lema status` and plain `duckdb` answer while a run
goes on. How they get at the file is in access.py, what is in it in schema.py.

    with Writer(Path("lema.duckdb")) as store:
        store.add(completion)                      # safe when this returns
        store.rows("from self_correction_rate")    # [{"reasoner": "smollm2-135m-instruct", ...}]
"""

import math
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Any, Self

import duckdb

from lema_local.errors import StoreError
from lema_local.records import access, bulk, damage, engines, merging, reading, runlock, schema
from lema_local.records.journal import Fact, Journal, Sealed, row_of
from lema_local.records.quoting import identifier
from lema_local.records.shared_journal import SharedJournal, shared_path
from lema_local.records.types import Review

MERGE_EVERY_S = 1.0
MERGE_AT_LEAST_EVERY_S = 2.0  # readers see what is at most 5 s old
SYNC_EVERY_S = 0.2
HOLES_MATTER_FROM_BYTES = 64_000_000
HOLES_ALLOWED = 0.15  # of the file
LOCK_PATIENCE_S = 30.0
_STAGED_ROWS = 50_000
_REDERIVE_MEMORY = "500MB"  # DuckDB's own share; beyond it, it works on disk


def stage_sql(name: str) -> str:
    """The text of db/stages/NAME.sql."""
    return files("lema_local.db").joinpath("stages", f"{name}.sql").read_text(encoding="utf-8")


class Store:
    """Read access to a database file. With `own_views` queries see the views of today, not those in the file."""

    def __init__(self, path: Path, *, own_views: bool = False) -> None:
        # a link is followed: beside it lock and journal would be others, and a new copy would take its place
        self.path = path.resolve() if path.is_symlink() else path
        self._own_views = own_views
        self._is_ours = False

    @contextmanager
    def connect(
        self, *, write: bool = False, patience_s: float = LOCK_PATIENCE_S, writes: Sequence[Path] = ()
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for one piece of work; one that reads may also write the files `writes`. Waits for the lock.

        StoreError says who holds it when patience ends, what DuckDB cannot do with the file, and of a damaged file
        what it still reads.
        """
        common: dict[str, Any] = {"patience_s": patience_s, "on_held": self._held}
        opened = access.writing(self.path, **common) if write else access.reading(self.path, writes=writes, **common)
        try:
            with opened as connection:
                if not write:
                    schema.check(self.path, connection)
                    if not self._is_ours:
                        schema.refuse_disguised(self.path, connection)
                        self._is_ours = True
                    if self._own_views:
                        schema.shadow_views(connection)
                yield connection
        except duckdb.Error as error:
            raise damage.in_one_line(self.path, error) from error

    def _held(self, message: str) -> None:
        """Told once when the file has been held for a while. A reader has nothing to add."""

    def rows(self, sql: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query as dicts; `$name` in the SQL is parameters["name"]. StoreError for SQL that is wrong."""
        columns, rows = self.table(sql, **parameters)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def table(self, sql: str, /, **parameters: Any) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of a query; ids come as text."""
        with self.connect() as connection:
            return reading.fetch(connection, sql, parameters)

    def frame(self, sql: str, /, **parameters: Any) -> Any:
        """The same as a pandas data frame."""
        with self.connect() as connection:
            return reading.fetch_frame(connection, sql, parameters)

    def missing(self, table: str, ids: Sequence[str]) -> set[str]:
        """Which of these ids the table does not hold: resuming is this anti-join."""
        if not ids:
            return set()
        with self.connect() as connection:
            # one text each way: a million ids as rows would take many times as long as the join itself
            row = connection.execute(
                f"""
                select string_agg(id::varchar, ' ')
                from (select unnest(string_split($ids, ' '))::uuid as id) as wanted
                anti join {bulk.name(table)} using (id)
                """,
                {"ids": " ".join(ids)},
            ).fetchone()
        return set(row[0].split()) if row and row[0] else set()

    def add_review(self, review: Review) -> None:
        """Record an event of reviewing, without being the file's writer; the writer, or the next one, merges it."""
        SharedJournal(shared_path(self.path)).append(review)

    def writer_pid(self) -> int | None:
        """The PID of the process that is writing this file, or None."""
        return runlock.holder(self.path)


class Writer(Store):
    """The one process that writes a file. Creates the file where there is none."""

    def __init__(
        self,
        path: Path,
        *,
        wait: bool = False,
        on_notice: Callable[[str], None] = lambda message: None,
        patience_s: float = math.inf,
    ) -> None:
        super().__init__(path)
        self._patience_s = patience_s  # with a shell that someone left open on the file
        self._notice = on_notice
        self._wait = wait  # for another writer to end
        self._journal = Journal(self.path.with_name(self.path.name + ".journal"))
        self._reviews = SharedJournal(shared_path(self.path))
        self._stop = threading.Event()
        self._merging = threading.Lock()
        self._connecting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._lock_file: IO[str] | None = None
        self._fault: StoreError | None = None
        self._was_locked = False

    @contextmanager
    def connect(
        self, *, write: bool = False, patience_s: float | None = None, writes: Sequence[Path] = ()
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """The same, one at a time, and with all patience: a shell that someone left open must not end a run."""
        patience = self._patience_s if patience_s is None else patience_s
        # within a process DuckDB refuses a read-only connection beside a writing one: queries wait for a merge
        with self._connecting, super().connect(write=write, patience_s=patience, writes=writes) as connection:
            yield connection

    def _held(self, message: str) -> None:
        self._notice(f"{message} The run waits for it.")

    def __enter__(self) -> Self:
        self._lock_file = runlock.take(self.path, wait=self._wait, on_notice=self._notice)
        try:
            self._prepare()
            self.merge()
        except BaseException:
            self._release()
            raise
        self._thread = threading.Thread(target=self._keep_merging, name="lema-store", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        try:
            # After an error or Ctrl-C the journal keeps what a busy file cannot take now: the next start merges it.
            self.merge(patience_s=0.5 if kind else None)
            if kind is None:
                self._fill_holes()
        except StoreError:
            if kind is None:
                raise
        finally:
            self._journal.close()
            self._release()

    def _release(self) -> None:
        if self._lock_file is not None:
            self._lock_file.truncate(0)  # a PID that is no writer's any more must not be found
            self._lock_file.close()
            self._lock_file = None

    def add(self, fact: Fact) -> None:
        """Record a fact; when this returns it survives a kill. Writing the same fact twice keeps the first. StoreError
        where the journal does not take it, and where it does but merging has failed."""
        self._journal.append(fact)
        if self._fault is not None:
            raise self._fault

    def merge(self, *, patience_s: float | None = None) -> None:
        """Bring what the journals hold now into the database. StoreError where that fails; a journal keeps its lines
        then."""
        with self._merging:
            for journal in (self._journal, self._reviews):
                # what an interrupted merge left, then the rest: what is added meanwhile could be merged without end
                for _ in range(1 + journal.sealed.exists()):
                    sealed = journal.seal()
                    if sealed is not None:
                        self._merge(journal, sealed, patience_s)

    def _merge(self, journal: Journal, sealed: Sealed, patience_s: float | None) -> None:
        with self.connect(write=True, patience_s=patience_s) as connection:
            faults = merging.merge(connection, sealed)
        if faults:
            kept, (number, why) = journal.set_aside(faults), next(iter(faults.items()))
            lines = "1 line" if len(faults) == 1 else f"{len(faults)} lines"
            self._notice(f"{lines} of {journal.path.name} cannot be merged; kept in {kept}. Line {number}: {why}.")
        journal.drop_sealed()

    def derive(self, table: str, records: Iterable[Any]) -> None:
        """Add derived records to a table; those that are there stay as they are."""
        rows = [row_of(record) for record in records]
        if rows:
            with self.connect(write=True) as connection, bulk.transaction(connection):
                bulk.insert(connection, table, rows)

    def rederive(self, tables: dict[str, Iterable[Any]]) -> dict[str, tuple[int, int, int, int]]:
        """Replace derived tables whole, in one transaction.

        The records may be many and slow to make: they go to files beside the database first, and the database is
        held only for the change. Returns for each table its rows, and what changed, as bulk.replace counts it.
        """
        with TemporaryDirectory(prefix=f"{self.path.name}.", dir=self.path.resolve().parent) as folder:
            for table, records in tables.items():
                self._stage(table, records, Path(folder))
            with self.connect(write=True) as connection:
                connection.execute("set preserve_insertion_order = false")
                connection.execute(f"set memory_limit = '{_REDERIVE_MEMORY}'")
                with bulk.transaction(connection):
                    changes = {t: bulk.replace(connection, t, f"{folder}/{t}-*.parquet") for t in tables}
                connection.execute("reset preserve_insertion_order")  # DuckDB stays for the next opening: engines.py
                connection.execute("reset memory_limit")
        return changes

    def _stage(self, table: str, records: Iterable[Any], folder: Path) -> None:
        """Records as Parquet files, at least one, a batch each."""
        with duckdb.connect() as staging:
            staging.execute(files("lema_local.db").joinpath("schema.sql").read_text(encoding="utf-8"))
            remaining = iter(records)
            for number in count():
                rows = [row_of(record) for record in islice(remaining, _STAGED_ROWS)]
                if not rows and number:
                    return
                bulk.export(staging, table, rows, folder / f"{table}-{number:06}.parquet")

    def set_resolved(self, rows: Iterable[list[Any]]) -> None:
        """Pairs of a correction's id and whether its reasoner reached the answer from its corrected step."""
        with self.connect(write=True) as connection, bulk.transaction(connection):
            connection.execute("create or replace temp table resolved_now (id uuid, resolved boolean)")
            bulk.append(connection, "resolved_now", rows)
            connection.execute(stage_sql("set_resolved"))

    def add_training_set(self, training_set: Any, examples: Iterable[Any]) -> None:
        """Add a training set, its examples and the links between them, in one transaction."""
        links = [[training_set.id, example_id] for example_id in training_set.example_ids]
        row = row_of(training_set)[:-1]  # example_ids live in their own table
        with self.connect(write=True) as connection, bulk.transaction(connection):
            bulk.insert(connection, "example", [row_of(example) for example in examples])
            bulk.insert(connection, "training_set", [row])
            bulk.insert(connection, "training_set_example", links)

    def compact(self) -> tuple[int, int]:
        """Write the file anew, without the holes that rewritten rows left; returns its bytes before and after."""
        self.merge()
        before, new = self.path.stat().st_size, self.path.with_name(self.path.name + ".compact")
        try:
            with self.connect(write=True) as connection:
                row = connection.execute(
                    "select database_name, path from duckdb_databases() where database_name = current_database()"
                ).fetchone()
                name, file = row or ("", "")
                connection.execute(
                    f"attach $new as compacted (storage_version '{engines.READABLE_SINCE}')", {"new": str(new)}
                )
                connection.execute(f"copy from database {identifier(str(name))} to compacted")
                connection.execute("detach compacted")  # a checkpoint: all of it is in the one file, synced
                shutil.copymode(file, new)
                new.replace(file)  # the database, or beside busy readers the copy that will take its place
        except OSError as error:
            raise StoreError(f"Cannot compact {self.path}: {error.strerror}. It is as it was.") from error
        finally:
            access.remove_left_over(self.path)
        return before, self.path.stat().st_size

    def _fill_holes(self) -> None:
        """Compact a large file of which a good part is holes: merging each second rewrites the last rows often."""
        if self.path.stat().st_size < HOLES_MATTER_FROM_BYTES:
            return
        with self.connect() as connection:
            of_file = "from pragma_database_size() where database_name = current_database()"  # engines.py has its own
            ((holes,),) = connection.execute(f"select free_blocks / total_blocks {of_file}").fetchall()
        if holes > HOLES_ALLOWED:
            try:
                self.compact()
            except StoreError as error:  # a disk without room for both: nothing is lost by it
                self._notice(str(error))

    def _prepare(self) -> None:
        """Create the tables in a new file; bring an older one up to date, a copy kept; refuse one that is not ours."""
        access.remove_left_over(self.path)
        with ExitStack() as last, self.connect(write=True) as connection:
            found = schema.needs_migrating(self.path, connection)
            if found is not None:
                connection.execute("checkpoint")  # all of it is in the one file now
                backup = access.free_name(self.path.with_name(f"{self.path.name}.version-{found}.bak"))
                access.copy_file(last.enter_context(self.path.open("rb")), backup)
                self._notice(
                    f"{self.path} is brought from schema version {found} to {schema.newest()}; as it was: {backup}"
                )
            schema.bring_up_to_date(self.path, connection)
            self._is_ours = True

    def _keep_merging(self) -> None:
        due = time.monotonic() + MERGE_EVERY_S
        while not self._stop.wait(SYNC_EVERY_S):
            began = time.monotonic()
            try:
                self._journal.sync()
                if began < due or self._fault is not None:
                    continue
                self.merge(patience_s=0)
                if self._was_locked:
                    self._notice(f"{self.path} is free again.")
                    self._was_locked = False
            except access.LockedError as error:
                if not self._was_locked:
                    self._notice(f"{error} The run goes on into {self._journal.path.name}.")
                self._was_locked = True
            except (StoreError, OSError, duckdb.Error) as error:
                cannot = StoreError(f"Cannot write {self.path}: {damage.first_line(error)}")
                self._fault = self._fault or (error if isinstance(error, StoreError) else cannot)
            took = time.monotonic() - began  # long where a large file had to be copied beside readers
            due = began + min(max(MERGE_EVERY_S, 2 * took), MERGE_AT_LEAST_EVERY_S)
