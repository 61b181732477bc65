"""The report: one file that opens from disk, says what is missing, and lets no text of a model act."""

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest
import report_records
import review_records
from browser import chromium, needs_axe, open_page, serious
from commands import ROOT, lema

from lema_local.records.keys import content_key
from lema_local.records.store import Store, Writer
from lema_local.records.types import Attempt
from lema_local.report.charts import ON_PAGE
from lema_local.report.claims import TABLE_1, training_claims
from lema_local.report.figures import figures
from lema_local.report.gather import gather
from lema_local.report.manifest import gather_manifest
from lema_local.report.paper import paper
from lema_local.report.tables import table_1
from lema_local.report.write import report_page, write_report
from lema_local.settings.profiles import load_profile


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def report(db: Path, *, seed: int = 1, pictures: Path | None = None) -> str:
    output = db.with_name("report.html")
    write_report(Store(db, own_views=True), output, title="Does it help?", seed=seed, pictures=pictures)
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two students, one of them trained on the oracle's corrections; corrections by two correctors."""
    db = tmp_path_factory.mktemp("report") / "whole.duckdb"
    review_records.fill(db)
    report_records.add_arms(db)
    report_records.add_arms(
        db, model="smollm2-135m-instruct", dataset="gsm-symbolic", problems=40, derived=90, seeds=2,
        rates={"base": 0.02, "cot": 0.2, "lema": 0.5},
    )  # fmt: skip
    report(db, pictures=db.with_name("figures"))
    return db


@pytest.fixture(scope="module")
def text(whole: Path) -> str:
    return whole.with_name("report.html").read_text(encoding="utf-8")


def test_the_page_needs_no_other_file_and_no_network(text: str) -> None:
    page = Page(text)
    wanted = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data")
    ]
    assert wanted
    assert all(value and value.startswith("#") for value in wanted)
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text


def test_the_first_line_says_what_is_reference_derived(text: str) -> None:
    body = Page(text[text.index("<body>") :]).text.split()
    first = " ".join(body[:80])
    assert "Reference-derived: 90 of 400 examples of arm lema (smollm2-135m-instruct, gsm-symbolic)" in first


def test_all_figures_are_drawn_and_written_as_svg_and_png(whole: Path, text: str) -> None:
    assert text.count("<svg") == 6  # the answer of each of two students, and the four of the paper
    for k in range(1, 5):
        assert (whole.with_name("figures") / f"figure-{k}.svg").read_text().startswith("<svg")
        assert (whole.with_name("figures") / f"figure-{k}.png").read_bytes().startswith(b"\x89PNG")


def test_claims_tables_and_manifest_hold_both_figures(text: str) -> None:
    page = Page(text).text
    for wanted in (
        "52.5 to 53.8",
        "81.4 / 81.3 / 81.1 (81.3)",
        "its three figures give 23.3",
        "35 excellent, 11 good, 4 poor",
        "hf:base, nf4",
        "learning_rate",
    ):
        assert wanted in page
    row = re.search(r'data-verdict="([a-z ]+)">\s*<td>LeMa is above CoT</td>\s*<td>llama-2-7b, GSM8K</td>', text)
    assert row is not None
    assert row[1] == "reproduced"


def test_an_empty_database_gives_a_report_that_says_what_to_run(db: Path) -> None:
    with Writer(db):
        pass
    page = Page(report(db)).text
    assert "Nothing was sampled yet. make data train eval" in " ".join(page.split())
    assert "0 reproduced, 0 contradicted, 0 open, 45 not tested." in page
    assert page.count("No checkpoint was evaluated yet: make train eval") == 2


def test_a_half_finished_run_names_the_next_command(db: Path) -> None:
    review_records.fill(db)
    assert "Nothing was evaluated yet. make train eval" in " ".join(Page(report(db)).text.split())


def test_one_arm_alone_is_shown_and_compared_with_the_base(db: Path) -> None:
    report_records.add_arms(db, rates={"base": 0.1, "cot": 0.4}, problems=30)
    page = " ".join(Page(report(db)).text.split())
    assert "Only arm cot was evaluated: there is nothing to compare it with." in page
    assert "cot - base" in page


def test_arms_that_are_trained_and_not_evaluated_are_not_said_to_be_untrained(db: Path) -> None:
    report_records.add_arms(db, rates={"base": 0.1, "cot": 0.4, "lema": 0.5}, problems=30)
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute("delete from evaluation where checkpoint_id is not null")
        [(trained,)] = connection.execute("select count(*) from checkpoint").fetchall()
    page = " ".join(Page(report(db)).text.split())
    assert f"Only the base model was evaluated: {trained} trained checkpoints are not evaluated yet. make eval" in page
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute("delete from evaluation")
    page = " ".join(Page(report(db)).text.split())
    assert f"Nothing was evaluated: {trained} trained checkpoints are not evaluated yet. make eval" in page


def test_of_an_arm_that_was_trained_twice_the_later_run_is_shown(db: Path) -> None:
    report_records.add_arms(db, rates={"base": 0.1, "cot": 0.4}, problems=30)
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute("""
            insert into checkpoint by name
            select * replace (uuid() as id, uuid() as run_id, created_at - interval 1 day as created_at) from checkpoint
        """)
    rows = re.findall(r"<tr[^>]*><td>cot</td><td[^>]*>1</td><td[^>]*>300</td>", report(db))
    assert len(rows) == 1


def test_seeds_of_an_arm_that_were_trained_on_other_data_are_not_mixed_in(db: Path) -> None:
    report_records.add_arms(db, problems=20, seeds=3)
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute("""
            insert into training_set by name
            select * replace (md5(id::varchar)::uuid as id) from training_set where arm = 'lema'
        """)
        connection.execute("""
            update checkpoint
            set training_set_id = md5(training_set_id::varchar)::uuid, created_at = created_at - interval 1 day
            where arm = 'lema' and seed = 3
        """)
    evidence, _ = gather(Store(db, own_views=True), seed=1)
    assert [[r.seed for r in e.of_arm("lema")] for e in evidence.experiments] == [[1, 2]]


@pytest.mark.parametrize(("column", "value"), [("template", "alpaca.1"), ("sampling", '{"max_tokens": 512}')])
def test_a_base_that_was_asked_in_another_way_too_takes_no_answer_away(db: Path, column: str, value: str) -> None:
    report_records.add_arms(db, problems=20, seeds=2)
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute(
            f"""
            create temp table again as
            select * replace (md5(id::varchar)::uuid as id, now() as created_at, $value as {column})
            from completion where checkpoint_id is null
            """,
            {"value": value},
        )
        connection.execute("insert into completion by name from again")
        connection.execute("""
            insert into evaluation by name
            select * replace (md5(id::varchar)::uuid as id) from evaluation where checkpoint_id is null
        """)
    (experiment,) = gather(Store(db, own_views=True), seed=1)[0].experiments
    assert experiment.effect("lema", "cot") is not None
    assert {r.replied for r in experiment.result.checkpoints} == {20}


def test_one_student_over_two_bases_is_two_rows_that_are_told_apart(db: Path) -> None:
    report_records.add_arms(db, problems=20, seeds=2)
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute("""
            create temp table again as
            select md5(completion.id::varchar)::uuid as new, completion.* from completion where purpose = 'evaluate'
        """)
        connection.execute("insert into completion by name select * exclude (new) replace (new as id) from again")
        connection.execute("""
            insert into evaluation by name
            select * replace (md5(id::varchar)::uuid as id, 'hf:base, bf16' as base, false as is_correct)
            from evaluation
        """)
    evidence, _ = gather(Store(db, own_views=True), seed=1)
    rows = table_1(evidence, paper()).rows
    assert [row[0] for row in rows if row[5] != "–"] == [f"llama-2-7b over hf:base, {b}" for b in ("bf16", "nf4")]
    bars = next(figure for figure in figures(evidence, paper(), ON_PAGE) if figure.name == "figure-1")
    assert len({(row[0], row[1], row[2]) for row in bars.table}) == len(bars.table)
    lema = [c.where for c in training_claims(evidence, paper()) if c.topic == TABLE_1 and c.n is not None]
    assert lema == [f"llama-2-7b over hf:base, {b}, GSM8K" for b in ("bf16", "nf4")]


def test_gained_and_lost_are_shown_of_a_seed_that_both_arms_have(db: Path) -> None:
    report_records.add_arms(db, problems=60, seeds=3, rates={"base": 0.1, "cot": 0.5, "lema": 0.5})
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute("delete from checkpoint where arm = 'lema' and seed = 1")
        connection.execute("delete from evaluation where checkpoint_id not in (select id from checkpoint)")
    evidence, samples = gather(Store(db, own_views=True), seed=1)
    difference = evidence.experiments[0].difference("lema", "cot")
    assert difference is not None
    assert difference.seed == 2
    found = [problem.change for problem in samples.changed]
    paired = difference.paired
    assert (found.count("gained"), found.count("lost")) == (min(15, paired.gained), min(15, paired.lost))


def test_what_one_set_trained_on_is_not_held_against_another(db: Path) -> None:
    report_records.add_arms(db, problems=20)
    report_records.add_arms(db, dataset="math", problems=20, derived=90)
    evidence, _ = gather(Store(db, own_views=True), seed=1)
    assert {e.dataset: e.is_reference_derived for e in evidence.experiments} == {"gsm8k": False, "math": True}


@pytest.mark.parametrize(("match", "step"), [("steps", 200), ("tokens", 300)])
def test_arms_that_were_matched_by_tokens_are_compared_where_each_ends(db: Path, match: str, step: int) -> None:
    report_records.add_arms(db, problems=20, seeds=2, rates={"cot": 0.3, "lema": 0.6})
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute("update checkpoint set settings = json_object('match', $match)", {"match": match})
        connection.execute("delete from checkpoint where arm = 'lema' and step = 300")
    (experiment,) = gather(Store(db, own_views=True), seed=1)[0].experiments
    assert [(d.step, d.against_step) for d in experiment.result.differences] == [(200, step)] * 2
    assert [d.steps for d in experiment.result.seed_differences] == [((200, step),) * 2]


def test_runs_of_other_settings_are_not_compared_and_their_number_is_said(db: Path) -> None:
    report_records.add_arms(db, problems=20, rates={"base": 0.1, "cot": 0.3, "lema": 0.6})
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute("update checkpoint set settings = json_object('learning_rate', 0.1) where arm = 'cot'")
        connection.execute("update checkpoint set created_at = created_at - interval 1 day where arm = 'cot'")
    (experiment,) = gather(Store(db, own_views=True), seed=1)[0].experiments
    assert [(arm.arm, len(arm.best)) for arm in experiment.result.arms] == [("lema", 3)]
    assert (
        "3 evaluated checkpoints of other data, settings or numbers of steps are compared with none"
        in Page(report(db)).text
    )


def test_a_student_that_answers_another_set_than_it_was_trained_on_is_held_against_no_figure(db: Path) -> None:
    report_records.add_arms(db, dataset="math", problems=60, seeds=2)
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute("update checkpoint set dataset = 'gsm8k'")
    text = report(db)
    claim = re.search(r'data-verdict="([a-z ]+)">\s*<td>LeMa is above CoT</td>\s*<td>llama-2-7b, MATH</td>', text)
    assert claim is not None
    assert claim[1] == "not tested"
    page = " ".join(Page(text).text.split())
    assert "Student llama-2-7b trained on GSM8K, MATH, test split" in page
    assert "<td>llama-2-7b trained on GSM8K, MATH</td><td>not run by the authors</td>" in text


def test_students_of_two_sets_that_answer_the_same_one_stand_apart(db: Path) -> None:
    report_records.add_arms(db, dataset="math", problems=20, steps=(300,))
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute("""
            create temp table other as
            select *, uuid() as other_id, md5(run_id::varchar)::uuid as other_run from checkpoint
        """)
        connection.execute("""
            insert into checkpoint by name
            select * exclude (other_id, other_run)
                replace (other_id as id, other_run as run_id, 'gsm8k' as dataset)
            from other
        """)
        for table in ("evaluation", "completion"):
            connection.execute(f"""
                insert into {table} by name
                select {table}.* replace (
                    md5({table}.id::varchar)::uuid as id, other.other_id as checkpoint_id
                )
                from {table} join other on other.id = {table}.checkpoint_id
            """)
    experiments = gather(Store(db, own_views=True), seed=1)[0].experiments
    assert {e.trained_on: len(e.result.checkpoints) for e in experiments} == {"math": 4, "gsm8k": 4}
    assert [e.is_transfer for e in experiments] == [e.trained_on == "gsm8k" for e in experiments]


def test_the_same_seed_draws_the_same_samples(whole: Path) -> None:
    def drawn(seed: int) -> list[str]:
        return re.findall(r"Id <code>([0-9a-f-]+)", report(whole, seed=seed))

    assert drawn(1) == drawn(1)
    assert sorted(drawn(1)) == sorted(set(drawn(1)))


def test_what_models_wrote_is_text(db: Path) -> None:
    review_records.fill(db, hostile=True)
    hostile = "</script></svg><script>window.owned=1</script><img src=x onerror=window.owned=1>"
    report_records.add_arms(db, model=f"m{hostile}", dataset=f"d{hostile}", problems=12, text=f"{hostile} {{answer}}")
    page = Page(report(db))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [attributes for tag, attributes in page.tags if tag in ("img", "iframe", "object", "base")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert hostile in page.text


def test_the_page_and_its_pictures_hold_no_control_character(db: Path) -> None:
    odd = "\x01\x1b\x7f\x9b\ufffe"  # what a name, a level or a subject of a file may have
    review_records.fill(db, hostile=True)
    report_records.add_arms(db, model=f"m{odd}", dataset=f"d{odd}", problems=12, text=f"{odd} {{answer}}")
    page, pictures = report(db, pictures=db.parent), [each.read_text("utf-8") for each in db.parent.glob("*.svg")]
    for text in (page, *pictures):
        assert not any(c != "\n" and c != "\t" and category(c) in ("Cc", "Cs") for c in set(text))
    assert all("m\ufffd\ufffd\ufffd\ufffd\ufffd" in text for text in (page, "".join(pictures)))


def test_the_manifest_has_the_profile_that_is_named(db: Path) -> None:
    with Writer(db):
        pass
    assert "not named: lema report --profile NAME" in Page(report(db)).text
    done = lema("report", "--db", db, "--output", db.with_name("named.html"), "--profile", "laptop", cwd=db.parent)
    assert done.returncode == 0, done.stderr
    text = Page(db.with_name("named.html").read_text(encoding="utf-8")).text
    assert re.search(r"laptop, [0-9a-f-]{36}: its settings are below", text)
    assert '"learning_rate": 0.001' in text


@pytest.mark.parametrize(
    ("given", "named"),
    [((), []), (("DB=study.duckdb",), []), (("PROFILE=study", "DB=study.duckdb"), ["--profile", '"study"'])],
    ids=["neither", "database", "profile"],
)
def test_make_report_names_a_profile_only_where_one_is_given(given: tuple[str, ...], named: list[str]) -> None:
    root = ROOT
    lines = subprocess.run(
        ["make", "-n", "--no-print-directory", "report", *given], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    database = ["--db", '"study.duckdb"'] if given else []
    assert lines.splitlines()[-1].split() == [".venv/bin/lema", "report", *named, *database]


def test_the_manifest_counts_the_calls_of_adapters_and_the_replies_that_were_none(db: Path) -> None:
    report_records.add_arms(db, problems=4)
    with Writer(db) as store:
        store.add(
            Attempt(content_key("a"), content_key("c"), "empty reply", 200, "", "corrector", datetime.now(UTC), 12.5)
        )
    with Writer(db) as store, store.connect(write=True) as connection:
        connection.execute("update completion set cost_usd = 1, latency_s = 2, shared_by = 1")
    first, models, _ = gather_manifest(Store(db, own_views=True)).tables
    facts = dict(first.rows)
    calls = 4 * 10  # the base, and three checkpoints of three arms
    assert facts["cost of calls"] == f"{calls + 12.5:.2f} dollars"
    assert facts["seconds of calls"] == f"{2 * calls}, as if one after another"
    assert [(row[2], row[5]) for row in models.rows] == [("gguf:1", "4"), ("with adapters", "36")]


def test_a_file_that_cannot_be_written_is_one_line(db: Path) -> None:
    with Writer(db):
        pass
    folder = db.with_name("folder")
    folder.mkdir()
    (folder / "report.html").mkdir()
    done = lema("report", "--db", db, "--output", folder / "report.html" / "x" / "report.html", cwd=db.parent)
    assert done.returncode == 0  # folders are made
    done = lema("report", "--db", db, "--output", "/proc/report.html", cwd=db.parent)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: Cannot write")
    assert "Traceback" not in done.stderr


def test_the_database_itself_is_no_output(db: Path) -> None:
    with Writer(db):
        pass
    before = db.read_bytes()
    assert lema("report", "--db", db, "--output", db, cwd=db.parent).returncode == 1
    assert db.read_bytes() == before


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@needs_axe
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_opens_from_disk_without_an_error_and_is_accessible(browser: Any, whole: Path, dark: bool) -> None:
    with open_page(browser, whole.with_name("report.html").as_uri(), dark=dark) as tab:
        tab.picture(f"report-{'dark' if dark else 'light'}")
        assert tab.errors == []
        assert serious(tab) == []


def test_claims_and_samples_are_filtered_without_a_server(browser: Any, whole: Path) -> None:
    with open_page(browser, whole.with_name("report.html").as_uri()) as tab:
        page = tab.page
        page.locator("[data-filters=claims] select").select_option("reproduced")
        shown = page.locator("[data-item=claims]:visible")
        assert shown.count() > 0
        assert set(shown.evaluate_all("rows => rows.map(row => row.dataset.verdict)")) == {"reproduced"}
        page.locator("[data-filters=samples] select").first.select_option("rejected: wrong answer")
        assert page.locator("details.sample:visible").count() == 1
        page.locator("details.sample:visible summary").click()
        assert page.locator("details.sample:visible .blamed").is_visible()
        page.locator("[data-filters=samples] input").fill("no such word")
        assert page.locator("details.sample:visible").count() == 0
        assert tab.errors == []


def test_arms_are_level_within_the_margin_of_the_profile_that_was_run(db: Path) -> None:
    report_records.add_arms(db, problems=10)
    for profile, margin in ((None, 0.03), (load_profile("study"), 0.04)):
        store, said = Store(db, own_views=True), list[str]()
        _, evidence = report_page(store, title="t", seed=1, profile=profile, on_notice=said.append)
        found = [d.margin for e in evidence.experiments for d in (*e.result.differences, *e.result.seed_differences)]
        assert set(found) == {margin}


@pytest.mark.parametrize("width", [360, 390, 820, 1280])
def test_nothing_but_tables_and_figures_scrolls_sideways_and_the_answer_stands_first(
    browser: Any, whole: Path, width: int
) -> None:
    with open_page(browser, whole.with_name("report.html").as_uri(), width=width, height=740) as tab:
        tab.picture(f"report-{width}")
        tab.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert not tab.scrolls_sideways()
        top = tab.page.locator(".sentence").first.bounding_box()
        assert top["y"] + top["height"] < 740  # on the first screen
        assert tab.page.locator(".sentence").first.inner_text().startswith("LeMa helped: lema solved 25.8 points more")


def test_without_a_script_the_page_shows_everything(browser: Any, whole: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(whole.with_name("report.html").as_uri())
    assert page.locator(".sentence").first.is_visible()
    assert page.locator("figure svg").first.is_visible()
    assert page.locator("[data-filters=claims]").is_hidden()
    context.close()


@pytest.mark.parametrize(("name", "most"), [("earlier_study", 400_000), ("study", 720_000)])
def test_the_report_of_a_study_is_not_large(name: str, most: int, tmp_path: Path) -> None:
    """The first has six runs and two correctors, the second eighty and four."""
    output = tmp_path / "report.html"
    write_report(Store(ROOT / "examples" / f"{name}.duckdb"), output, title="Does it help?", seed=1)
    assert output.stat().st_size <= most


def test_the_manifest_has_an_oracle_once_and_settings_once_for_all_seeds() -> None:
    manifest = gather_manifest(Store(ROOT / "examples" / "study.duckdb"))
    models = next(table for table in manifest.tables if table.caption == "Models that answered")
    assert sum("oracle" in row for row in models.rows) == 1
    assert [block.name.split(" (")[0] for block in manifest.settings] == [
        "Settings of warm-up, 30 steps, seed 42", "Settings of cot, 120 steps, seeds 42",
        "Settings of lema, 120 steps, seeds 42", "Settings of lema, 74 steps, seeds 42",
        "Settings of cot, 196 steps, seeds 42", "Settings of lema-controlled, 120 steps, seeds 42",
        "Settings of cot-expanded, 120 steps, seeds 42",
    ]  # fmt: skip


def test_hostile_text_does_nothing_in_a_real_browser(browser: Any, tmp_path: Path) -> None:
    db = tmp_path / "hostile.duckdb"
    review_records.fill(db, hostile=True)
    report(db)
    with open_page(browser, db.with_name("report.html").as_uri()) as tab:
        tab.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert tab.page.evaluate("window.owned") is None
        assert not tab.scrolls_sideways()
        assert tab.errors == []
