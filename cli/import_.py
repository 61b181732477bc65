"""lema import: rationales and corrections that were made elsewhere."""

from pathlib import Path

import click

from .options import db_option, notice, require_database

BAD_ROWS_SHOWN = 10


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--kind", type=click.Choice(["rationale", "correction"]), required=True, help="What the rows are.")
@click.option("--model", help="Who wrote them, for rows that do not say (`model`, `reasoner`, `corrector`).")
@click.option("--all-bad-rows", is_flag=True, help=f"List every row that is left out, not the first {BAD_ROWS_SHOWN}.")
@db_option
def command(file: Path, kind: str, model: str | None, all_bad_rows: bool, db: Path) -> None:
    """Take in rationales or corrections from JSON lines or Parquet, matched to problems by problem_id or question.

    They are graded as if we had asked for them; importing a file twice adds nothing. Corrections are of numbered steps,
    so a rationale that is to be corrected has "Step 1: ..." lines.

    \b
    lema import rationales.jsonl --kind rationale --model llama-2-70b
      {"question": "...", "rationale": "Step 1: 42 + 9 = 51. The answer is 51."}
    lema import corrections.jsonl --kind correction
      {"question": "...", "rationale": "...", "reasoner": "llama-2-70b", "correction": "Step 1. ...", "model": "gpt-4"}
    """
    from lema_local.records.store import Writer
    from lema_local.stages.imports import import_file

    require_database(db)
    with Writer(db, on_notice=notice) as store:
        done = import_file(store, file, kind=kind, model=model)  # type: ignore[arg-type]
    for bad in done.bad_rows if all_bad_rows else done.bad_rows[:BAD_ROWS_SHOWN]:
        notice(f"{bad.file}:{bad.line}: {bad.reason}")
    notice(f"{done.rows} rows read, {done.new} records new, {len(done.bad_rows)} rows left out.")
