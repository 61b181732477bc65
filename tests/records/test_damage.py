"""Flipped bits in journal and database: one line, no traceback, and no record that is another one unnoticed."""

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest
from facts import completion, evaluation, problem
from forked_lema import ForkedLema, how_many

from lema_local.errors import StoreError
from lema_local.records.damage import DamagedError, tables_of
from lema_local.records.journal import Journal, line_of
from lema_local.records.reading import fetch
from lema_local.records.shared_journal import SharedJournal, shared_path
from lema_local.records.store import Store, Writer
from lema_local.records.types import Review
from lema_local.records.upkeep import check

FLIPS = how_many(100)
FACTS = [fact for n in range(20) for fact in (problem(n), completion(problem(n), n, text=f"{n} is a number. " * 20))]
WHEN = completion(problem()).created_at
COMMANDS = [
    ("status",), ("sql", "cost"), ("sql", "from completion"), ("explain", "0000"), ("report", "--output", "r.html"),
    ("review", "summary"), ("export", "--table", "completion", "--output", "c.jsonl"), ("db", "check"),
    ("db", "backup", "--output", "copy.duckdb"), ("db", "compact"), ("rederive",),
]  # fmt: skip
slowly = [pytest.mark.slow, pytest.mark.timeout(7200)]


def flip(path: Path, at: random.Random) -> str:
    """Turn one bit over; says which."""
    content = bytearray(path.read_bytes())
    place, bit = at.randrange(len(content)), at.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place}"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    db = tmp_path_factory.mktemp("sound") / "lema.duckdb"
    with Writer(db) as store:
        for fact in FACTS:
            store.add(fact)
        store.merge()
        store.derive("evaluation", [evaluation(problem(n), n, is_correct=True) for n in range(20)])
    return db


def everything(db: Path) -> dict[str, list[Any]]:
    """What each table holds; of those that can be read. DamagedError where not even the tables are known."""
    found: dict[str, list[Any]] = {}
    with Store(db).connect() as connection:
        for table in tables_of(connection):
            with suppress(duckdb.Error):
                found[table] = sorted(fetch(connection, f"from {table}", {})[1], key=str)
    return found


@pytest.mark.parametrize("flips", [5, pytest.param(FLIPS, marks=slowly)])
def test_a_flipped_bit_of_the_database_is_one_line_and_never_another_record(sound: Path, db: Path, flips: int) -> None:
    whole, at, noticed = everything(sound), random.Random(23), 0
    for _ in range(flips):
        shutil.copyfile(sound, db)
        where, found = flip(db, at), dict[str, list[Any]]()
        with suppress(StoreError):
            found = everything(db)
        assert found.items() <= whole.items(), where
        said = faults_of(db)
        assert len(said) == 1 if found != whole else len(said) <= 1, (where, said)
        assert "\n" not in "".join(said)
        noticed += len(said)
    assert noticed > 0
    print(f"{flips} bits of the database flipped, {noticed} noticed, the others where no record is")


def faults_of(db: Path) -> list[str]:
    """What `lema db check` says of a database."""
    try:
        return check(Store(db))
    except StoreError as error:
        return [str(error)]


def test_a_damaged_file_says_what_can_be_read_and_where_its_copies_are(sound: Path, db: Path) -> None:
    shutil.copyfile(sound, db)
    db.with_name("lema.duckdb.version-1.bak").write_text("a copy")
    Journal(db.with_name("lema.duckdb.journal")).append(problem(77))
    content = bytearray(db.read_bytes())
    at = content.index(b"q1")  # in a block of the questions
    content[at] ^= 1
    db.write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        Store(db).rows("from problem")
    words = str(caught.value)
    assert words.startswith(f"{db} is damaged (Corrupt database file: ")
    assert "It still reads attempt, " in words
    assert "completion, " in words.partition(" not: ")[0]
    assert words.partition(" not: ")[2].startswith("problem. Put a copy in its place, as `lema db backup` makes them")
    assert "(beside it: lema.duckdb.version-1.bak); the next run merges lema.duckdb.journal into it." in words
    found = check(Store(db))
    assert found[0] == words
    assert "lema.duckdb.journal: 1 records wait" in found[1]
    assert len(Store(db).rows("from completion")) == 20


@pytest.mark.parametrize("flips", [2, pytest.param(FLIPS, marks=slowly)])
def test_no_command_meets_a_damaged_database_with_a_traceback(
    sound: Path, db: Path, forked: ForkedLema, flips: int
) -> None:
    at, failed = random.Random(29), 0
    for _ in range(flips):
        damaged = db.with_name("damaged")
        shutil.copyfile(sound, damaged)
        where = flip(damaged, at)
        for command in COMMANDS if flips > 2 else COMMANDS[::4]:
            for file in db.parent.glob("*.duckdb*"):
                file.unlink()
            shutil.copyfile(damaged, db)
            code, said = forked.run(*command, "--db", db, cwd=db.parent)
            assert code in (0, 1), (where, command, said)
            assert "Traceback" not in said, (where, command, said)
            if code:
                failed += 1
                assert len([line for line in said.splitlines() if "Error: " in line]) <= 1, (where, command, said)
    print(f"{flips} flips, {len(COMMANDS)} commands each, {failed} ended in one line, none in a traceback")


@pytest.mark.parametrize("flips", [10, pytest.param(FLIPS, marks=slowly)])
def test_a_flipped_bit_of_a_journal_sets_a_line_aside_and_changes_none(sound: Path, db: Path, flips: int) -> None:
    whole, at = everything(sound), random.Random(31)
    aside = 0
    for _ in range(flips):
        for file in db.parent.glob("lema.duckdb*"):
            file.unlink()
        journal = db.with_name("lema.duckdb.journal")
        journal.write_bytes(b"".join(map(line_of, FACTS)))
        where = flip(journal, at)
        notices: list[str] = []
        with Writer(db, on_notice=notices.append):
            pass
        found = everything(db)
        for table in ("problem", "completion"):
            assert all(row in whole[table] for row in found[table]), where
        lost = len(FACTS) - len(found["problem"]) - len(found["completion"])
        kept = db.with_name("lema.duckdb.journal.unreadable")
        assert kept.exists() == bool(lost), where
        assert lost <= 2, where  # two, where the end of a line was hit
        if lost:
            aside += 1
            assert len(notices) == 1
            assert "cannot be merged; kept in" in notices[0]
            assert check(Store(db))
    print(f"{flips} bits of a journal flipped: {aside} times a line set aside, {flips - aside} times all merged")


def lines(*texts: bytes | str) -> bytes:
    return b"".join(text if isinstance(text, bytes) else text.encode() + b"\n" for text in texts)


ID = completion(problem(5), 5).id
UNMERGEABLE: tuple[tuple[bytes | str, str], ...] = (
    ('{"table": "problem", "row": [null, "d", "test", "q", "1", "number"]}', "problem.id is missing"),
    (f'{{"table": "problem", "row": ["{ID}", "d", "test", null, "1", "number"]}}', "problem.question is missing"),
    ('{"table": "problem", "row": ["5", "d", "test", "q", "1", "number"]}', "problem.id holds no UUID: 5"),
    ('{"table": "nowhere", "row": []}', "it is of no table of this lema"),
    ('{"table": "meta", "row": ["schema_version", "99"]}', "it is of no table of this lema"),
    ('{"table": "problem"}', "it holds no row"),
    ('{"table": "problem", "row": 5}', "it holds no row"),
    ('{"table": "problem", "row": ["', "it is no JSON"),
    (b'{"table": "problem", "row": ["\xff"]}\n', "it is no UTF-8"),
    (f'{{"table": "batch_end", "row": ["{ID}", "s", "2026-01-01", 1]}}', "it holds 4 values, batch_end has 3 columns"),
    ("hello", "it begins as no line of a journal"),
    (line_of(problem(1)).replace(b'"q1"', b'"q2"'), "its checksum does not match"),
)


@pytest.mark.parametrize("end", [".journal", ".reviews"])
def test_lines_that_cannot_be_merged_are_kept_with_why_and_block_no_other(db: Path, end: str) -> None:
    review = Review(ID, ID, "ada", "good", None, WHEN)
    db.with_name(f"lema.duckdb{end}").write_bytes(
        lines(line_of(review), *(line for line, _ in UNMERGEABLE), line_of(problem(9)))
    )
    notices: list[str] = []
    with Writer(db, on_notice=notices.append) as store:
        assert [row["reviewer"] for row in store.rows("from review")] == ["ada"]
        assert [row["question"] for row in store.rows("from problem")] == ["q9"]
        assert store.rows("from meta where value = '99'") == []
    kept = db.with_name(f"lema.duckdb{end}.unreadable")
    said = (
        f"{len(UNMERGEABLE)} lines of lema.duckdb{end} cannot be merged; kept in {kept}. Line 2: problem.id is missing."
    )
    assert notices == [said]
    assert kept.read_bytes() == lines(
        *(part for number, (line, why) in enumerate(UNMERGEABLE, 2) for part in (f"# line {number}: {why}", line))
    )
    assert not db.with_name(f"lema.duckdb{end}").exists()
    assert not db.with_name(f"lema.duckdb{end}.merging").exists()


@pytest.mark.parametrize("sql", ["select computed_checksum from problem", "select error('corrupt database file')"])
def test_a_query_that_speaks_of_checksums_is_no_damage(sound: Path, sql: str) -> None:
    with pytest.raises(StoreError, match=r"^SQL: "):
        Store(sound).rows(sql)


def test_a_journal_of_an_older_lema_without_checksums_is_merged(db: Path) -> None:
    old = lines(*(b'{"table' + line_of(fact).partition(b'"table')[2] for fact in FACTS))
    assert b"crc32" not in old
    db.with_name("lema.duckdb.journal").write_bytes(old)
    notices: list[str] = []
    with Writer(db, on_notice=notices.append) as store:
        assert len(store.rows("from completion")) == 20
    assert notices == []


def test_a_last_line_of_which_only_the_end_is_damaged_is_whole(tmp_path: Path) -> None:
    openers: list[Callable[[Path], Journal]] = [Journal, SharedJournal]
    for opener in openers:
        path = tmp_path / opener.__name__
        path.write_bytes(line_of(problem(1)) + line_of(problem(2))[:-1] + b"\x0b")
        journal = opener(path)
        journal.append(problem(3))
        sealed = journal.seal()
        assert sealed is not None
        assert (sealed.lines, sealed.faults) == (3, {})


def test_a_waiting_grade_that_is_damaged_is_not_taken_for_one(db: Path) -> None:
    journal = SharedJournal(shared_path(db))
    journal.append(Review(ID, ID, "ada", "good", None, WHEN))
    assert len(list(journal.waiting())) == 1
    journal.path.write_bytes(journal.path.read_bytes().replace(b'"good"', b'"poor"'))
    assert list(journal.waiting()) == []
