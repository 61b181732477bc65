"""The command line: its help, its errors in one line, and the output that scripts rely on."""

import errno
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from unicodedata import category

import duckdb
import pytest
from commands import PROBLEMS, ROOT, lema_command
from scripted_server import Say, ScriptedServer, chat, completion

from lema_local.records.store import Writer
from lema_local.records.types import Problem
from lema_local.serving.process import free_port

Run = Callable[..., tuple[int, str, str]]
README = ROOT / "README.md"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """`lema` in this process, in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    main = entry_points(group="console_scripts")["lema"].load()
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    yield call
    signal.signal(signal.SIGTERM, before)


def test_a_pipe_that_breaks_elsewhere_than_at_the_reader_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("lema_local.settings.models.known_models", broken)
    code, out, said = run("models")
    assert (code, out, said) == (
        1,
        "",
        "Error: A connection or another process broke off. Run the same command again.\n",
    )


def test_ctrl_c_while_duckdb_computes_is_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped() -> str:
        raise RuntimeError("Query interrupted")  # what DuckDB's execute raises then

    with Writer(Path("lema.duckdb")):
        pass
    monkeypatch.setattr("lema_local.records.schema._made_here", set())
    monkeypatch.setattr("lema_local.records.schema.views_sql", stopped)
    code, _, said = run("rederive")
    assert (code, said.strip()) == (130, "Stopped. Nothing is lost: run the same command again to go on.")


def test_a_reader_that_is_gone_is_told_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(lema_command("models"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def commands() -> list[str]:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True).stdout.partition(
        "Commands:"
    )[2]
    return re.findall(r"^  (\w[\w-]*)  ", done, re.MULTILINE)


HELP = """
import sys
from importlib.metadata import entry_points
try:
    entry_points(group="console_scripts")["lema"].load()(["--help"])
except SystemExit:
    print("MODULES", *sys.modules)
"""
COMMANDS = commands()


def test_help_imports_nothing_heavy() -> None:
    started = time.process_time()
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert time.process_time() - started < 2
    modules = set(done.stdout.partition("MODULES")[2].split())
    assert "click" in modules
    heavy = {"torch", "transformers", "duckdb", "openai", "numpy", "scipy", "sympy", "math_verify", "starlette"}
    assert modules & heavy == set()


def test_the_end_of_a_command_does_not_wait_for_its_memory() -> None:
    first = "import atexit, gc; atexit.register(lambda: print('FROZEN', gc.get_freeze_count() > 0))"  # runs last
    done = subprocess.run([sys.executable, "-c", f"{first}\n{HELP}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "FROZEN True"


def test_the_main_job_is_there() -> None:
    assert {"data", "train", "eval", "status", "sql", "export", "grade", "rederive", "serve", "doctor"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(run: Run, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    assert re.search(rf"^ +(?:Example: +)?lema {name}\b", out, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_mentions_every_command(name: str) -> None:
    text = README.read_text(encoding="utf-8")
    if text.count("\n") < 30:
        pytest.skip("the README is not written yet")
    assert re.search(rf"\blema {name}\b", text), f"README.md does not mention `lema {name}`"


def error_of(outcome: tuple[int, str, str]) -> str:
    """The one line of an error: last on stderr, nothing on stdout, exit code 1."""
    code, out, err = outcome
    lines = err.strip().splitlines()
    assert (code, out) == (1, ""), err
    assert "Traceback" not in err
    assert [line for line in lines if line.startswith("Error: ")] == lines[-1:], err
    return lines[-1].removeprefix("Error: ")


ERRORS = {
    "profile typo": (["data", "--profile", "laptpo"], "did you mean 'laptop'"),
    "unknown model": (["data", "--model", "smolm2-135m"], "did you mean 'smollm2-135m-instruct'"),
    "no such GGUF file": (["data", "--model", "no/such.gguf"], "No GGUF file at no/such.gguf"),
    "missing key variable": (
        ["data", "--corrector-url", "http://127.0.0.1:9/v1", "--corrector-model", "m", "--corrector-key-env", "NO_KEY"],
        "export NO_KEY=",
    ),
    "missing data path": (["problems", "--dataset", "mine", "--data-path", "nowhere.jsonl"], "nowhere.jsonl"),
    "no database to ask": (["sql", "cost"], "No database at lema.duckdb"),
    "no database to count": (["status"], "No database at lema.duckdb"),
    "no database to derive": (["rederive"], "No database at lema.duckdb"),
    "no database to export an arm of": (["export", "--arm", "lema", "--output", "x.jsonl"], "No database at"),
    "no database of batches": (["batch", "status"], "No database at lema.duckdb"),
    "no database to fetch into": (["batch", "fetch"], "No database at lema.duckdb"),
    "no database to drop a batch of": (["batch", "drop", "b"], "No database at lema.duckdb"),
    "no database to import into": (["batch", "import", "."], "No database at lema.duckdb"),
    "no database with mistakes": (["batch", "export", "--output", "x.jsonl"], "No database at lema.duckdb"),
    "no database with mistakes to hand in": (["batch", "submit"], "No database at lema.duckdb"),
    "limit of nothing": (["data", "--limit", "0"], "--limit must be 1 or more"),
    "JSON of a run": (["data", "--json"], "--json goes with --dry-run."),
    "GPUs misspelt": (["train", "--dry-run", "--gpus", "lots"], "4xA100-80GB"),
}


@pytest.mark.parametrize(("arguments", "words"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_one_line_that_helps(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.delenv("NO_KEY", raising=False)
    assert words in error_of(run(*arguments))
    assert "No database" not in words or not Path("lema.duckdb").exists()


def test_a_missing_key_is_found_before_any_call(
    run: Run, server: ScriptedServer, write_profile: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_KEY", raising=False)
    profile = write_profile(correctors=("corrector",))
    assert "NO_KEY" in error_of(run("data", "--profile", profile, "--corrector-key-env", "NO_KEY"))
    assert server.calls == 0


def test_a_corrector_that_is_not_there_is_named_before_anything_is_sampled(
    run: Run, server: ScriptedServer, write_profile: Callable[..., Path]
) -> None:
    server.then = lambda _: chat("Step 1: 1 + 1 = 3. The answer is 3.")
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}/v1"
    options = ("--corrector-url", url, "--corrector-model", "m")
    assert error_of(run("data", "--profile", write_profile(), *options)).startswith(f"No server at {url}.")
    assert server.calls == 0


def test_an_export_onto_the_database_itself_is_refused(filled: Run) -> None:
    code, _, err = filled("export", "--table", "problem", "--output", "lema.duckdb")
    assert (code, err.count("\n")) == (1, 1)
    assert "is the database itself" in err
    assert filled("status")[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        ("export", "--table", "problem"),
        ("sql", "cost"),
        ("report",),
        ("db", "backup"),
        ("train", "card", "1111"),
        ("train", "merge", "1111"),
    ],
    ids=" ".join,
)
def test_no_command_writes_over_the_database_or_what_belongs_to_it(filled: Run, command: tuple[str, ...]) -> None:
    for end in ("", ".wal", ".lock", ".journal", ".journal.merging", ".reviews", ".reviews.merging"):
        file = Path(f"lema.duckdb{end}")
        before = file.read_bytes() if file.exists() else None
        assert "is the database itself" in error_of(filled(*command, "--output", file))
        assert (file.read_bytes() if file.exists() else None) == before


def test_a_batch_is_not_written_over_the_database(filled: Run, write_profile: Callable[..., Path]) -> None:
    for file in ("lema.duckdb", "lema.duckdb.journal"):
        done = filled("batch", "export", "--profile", write_profile(), "--purpose", "sample", "--output", file)
        assert "is the database itself" in error_of(done)
    assert json.loads(filled("sql", "select count(*) as n from problem where dataset = 'd'", "--json")[1]) == [{"n": 1}]


def test_a_key_given_in_place_of_its_variable_is_not_repeated(run: Run) -> None:
    assert "sk-secret" not in error_of(run("data", "--corrector-key-env", "sk-secret"))


def test_own_problems_want_a_name(run: Run) -> None:
    assert "--dataset NAME" in error_of(run("problems", "--data-path", "mine.jsonl"))


@pytest.mark.parametrize("command", ["status", "sql", "rederive", "data"])
@pytest.mark.parametrize("kind", ["of something else", "no database at all"])
def test_a_file_that_is_not_ours_is_refused_and_left_alone(run: Run, command: str, kind: str) -> None:
    path = Path("other.duckdb")
    if kind == "of something else":
        with duckdb.connect(str(path)) as connection:
            connection.execute("create table t as select 1 as a")
    else:
        path.write_text("plain text " * 1000)
    before = path.read_bytes()
    query = ["cost"] if command == "sql" else []
    assert error_of(run(command, *query, "--db", path))
    assert path.read_bytes() == before


def test_a_port_that_is_taken_is_named(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} on 127.0.0.1 is taken" in error_of(run("serve", "oracle", "--port", str(port)))


@pytest.mark.parametrize(
    ("recipe", "option", "value", "fitting"),
    [
        ("vllm", "--form", "bf16", "llama_server"),
        ("vllm", "--parallel", "4", "llama_server"),
        ("llama_cpp", "--parallel", "8", "llama_server"),  # its default, but said
        ("llama_server", "--problems", __file__, "oracle"),
        ("oracle", "--context-length", "2048", "vllm, llama_server, llama_cpp"),
        ("oracle", "--model", "smollm2-135m-instruct", "vllm, llama_server, llama_cpp"),
    ],
)
def test_an_option_that_a_recipe_has_no_use_for_is_refused(
    run: Run, recipe: str, option: str, value: str, fitting: str
) -> None:
    said = error_of(run("serve", recipe, option, value))
    assert f"{option} is for {fitting}, not for {recipe}." in said


def test_a_command_that_is_mistyped_gets_the_nearest(run: Run) -> None:
    assert "did you mean 'eval'?" in error_of(run("evla"))


def test_models_and_profiles_are_listed_by_name(run: Run) -> None:
    for command, name in (("models", "llama-2-70b"), ("models", "smollm2-1.7b-instruct"), ("profiles", "laptop")):
        code, out, err = run(command)
        assert (code, err) == (0, "")
        assert name in [line.split()[0] for line in out.splitlines()]
    assert json.loads(run("profiles", "laptop")[1])["name"] == "laptop"


STATUS = [
    "problems",
    "completions",
    "rationales",
    "mistakes",
    "corrections",
    "corrections_kept",
    "examples",
    "training_sets",
    "checkpoints",
    "evaluations",
    "reviews",
    "writer",
]


def test_status_has_the_fields_that_scripts_rely_on(run: Run) -> None:
    with Writer(Path("lema.duckdb")) as store:
        store.add(Problem("d", "train", "q", "1"))
    code, out, err = run("status", "--json")
    assert (code, err) == (0, "")
    counts = json.loads(out)
    assert list(counts) == STATUS
    assert counts == dict.fromkeys(STATUS, 0) | {"problems": 1, "writer": None}


def test_status_names_the_writer(run: Run) -> None:
    with Writer(Path("lema.duckdb")) as store:
        assert json.loads(run("status", "--json")[1])["writer"] == store.writer_pid()
        assert isinstance(store.writer_pid(), int)


PLAN = [
    "model",
    "dataset",
    "arms",
    "max_steps",
    "save_steps",
    "global_batch_size",
    "per_device_batch_size",
    "gradient_accumulation_steps",
    "num_gpus",
    "learning_rate",
    "lora",
    "quantization",
    "source_max_length",
    "target_max_length",
    "epochs",
    "memory_per_gpu_gib",
    "fits",
    "strategy",
    "launch",
]


def test_the_plan_has_the_fields_that_scripts_rely_on(run: Run) -> None:
    options = ("--profile", "a100", "--model", "llama-2-70b", "--dataset", "gsm8k", "--gpus", "4xA100-80GB", "--json")
    code, out, _ = run("train", "--dry-run", *options)
    plan = json.loads(out)
    assert code == 0
    assert set(PLAN) <= plan.keys()
    assert {"r", "alpha", "dropout", "target_modules"} <= plan["lora"].keys()
    assert {"type", "double"} <= plan["quantization"].keys()
    assert (plan["model"], plan["num_gpus"], plan["global_batch_size"]) == ("llama-2-70b", 4, 96)


RESULT = [
    "model",
    "dataset",
    "split",
    "arm",
    "seed",
    "step",
    "checkpoint_id",
    "base",
    "n",
    "correct",
    "pass_at_1",
    "low",
    "high",
]


def test_eval_and_pass_at_1_give_the_same_rows_and_a_rerun_makes_no_calls(
    run: Run, server: ScriptedServer, write_profile: Callable[..., Path]
) -> None:
    answers = {row["question"]: row["answer"] for row in map(json.loads, PROBLEMS.read_text().splitlines())}

    def answer(body: dict[str, Any]) -> Any:
        question = body["prompt"].partition("Question: ")[2].partition("\n")[0]
        return completion(f"So it is. The answer is {answers[question] if server.calls == 1 else 0}.")

    server.then = answer
    profile = write_profile(concurrency=1)
    code, out, _ = run("eval", "--profile", profile, "--json")
    (row,) = json.loads(out)
    assert code == 0
    assert set(RESULT) <= row.keys()
    assert (row["arm"], row["step"], row["checkpoint_id"], row["n"], row["correct"]) == ("base", 0, None, 2, 1)
    sent = server.requests[0]
    assert server.paths == ["/v1/completions"] * 2
    assert sent["prompt"].startswith("Please solve the following math problem.\nQuestion: ")
    assert sent["prompt"].endswith("\nAnswer: Let's think step by step.\n")
    assert (sent["temperature"], "stop" in sent) == (0.0, False)
    (same,) = json.loads(run("sql", "pass_at_1", "--format", "json")[1])
    assert {key: same[key] for key in RESULT} == pytest.approx({key: row[key] for key in RESULT})
    code, table, _ = run("eval", "--profile", profile)
    assert code == 0
    assert "50.0%" in table
    assert server.calls == 2


def test_an_evaluation_that_misses_a_reply_says_so_and_exits_with_1(
    run: Run, server: ScriptedServer, write_profile: Callable[..., Path]
) -> None:
    server.script = [completion("", finish_reason="length"), Say(400, b"{}")]
    server.then = lambda _: Say(400, b"{}")
    profile = write_profile(concurrency=1)
    code, table, _ = run("eval", "--profile", profile)
    assert code == 1
    assert [line.split()[2:] for line in table.splitlines() if line.startswith("base")] == [
        ["0/2", "0.0%", "0.0%", "to", "65.8%", "1/2", "1/2", "1/2"]
    ]
    assert "missing: no reply yet" in table
    code, out, _ = run("eval", "--profile", profile, "--json")
    (row,) = json.loads(out)
    assert (code, row["no_answer"], row["missing"], row["not_evaluated"]) == (1, 1, 1, [])
    assert server.calls == 3  # the reply without an answer is not bought again
    (same,) = json.loads(run("sql", "pass_at_1", "--format", "json")[1])
    assert (same["n"], same["no_answer"], same["missing"]) == (1, 1, 1)


ANSI = "\x1b[2J\x1b]0;owned\x07\u202eevil\nline"


@pytest.fixture
def filled(run: Run) -> Run:
    """A database with one problem whose text would drive a terminal."""
    with Writer(Path("lema.duckdb")) as store:
        store.add(Problem("d", "train", ANSI, "1"))
    return run


def test_sql_takes_a_name_a_view_or_a_select(filled: Run) -> None:
    for query in ("kept_corrections", "self_correction_rate", "select 1 as one"):
        code, out, err = filled("sql", query)
        assert (code, err) == (0, "")
        assert out.strip()
    assert json.loads(filled("sql", "select 1 as one", "--json")[1]) == [{"one": 1}]
    assert filled("sql", "select 1 as one, 'a,b' as two", "--format", "csv")[1] == 'one,two\n1,"a,b"\n'
    assert json.loads(filled("sql", "select $x as x", "--param", "x=a=b", "--json")[1]) == [{"x": "a=b"}]


def test_json_holds_numbers_that_json_has(filled: Run, tmp_path: Path) -> None:
    query = (
        "select 'nan'::double as a, '-inf'::float as b, 1.50::decimal(9, 2) as c, 3::decimal(9, 2) as d, 0.1 as e, "
        "{'x': ['inf'::double, 2.5]} as f, 1::hugeint << 100 as g, 'é' as h"
    )
    wanted = {"a": None, "b": None, "c": 1.5, "d": 3, "e": 0.1, "f": {"x": [None, 2.5]}, "g": 1 << 100, "h": "é"}

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    assert json.loads(filled("sql", query, "--format", "json")[1], parse_constant=refuse) == [wanted]
    flat = "select 'nan'::double as a, '-inf'::float as b, 1.50::decimal(9, 2) as c"
    assert filled("export", "--query", flat, "--format", "jsonl", "--output", str(tmp_path / "o.jsonl"))[0] == 0
    exported = json.loads((tmp_path / "o.jsonl").read_text(encoding="utf-8"), parse_constant=refuse)
    assert exported == {"a": None, "b": None, "c": 1.5}


def test_sql_lists_names_first(filled: Run) -> None:
    lines = filled("sql", "--list")[1].splitlines()
    names = [line.split()[0] for line in lines]
    assert {"self_correction_rate", "pass_at_1", "rejections", "gained_and_lost"} <= set(names)
    assert all(len(line.split()) > 3 for line in lines)


def test_sql_says_what_the_columns_of_a_query_are(filled: Run) -> None:
    out = filled("sql", "lineage", "--describe")[1]
    assert "made_from" in out
    assert "--param id=...  how the record's id begins" in out
    assert "did you mean 'lineage'" in error_of(filled("sql", "linage", "--describe"))


DOUBLED = "select a.id, b.id, a.question, b.Question, a.split from problem as a, problem as b"


@pytest.mark.parametrize(
    "command",
    [
        ("sql", DOUBLED, "--json"),
        ("sql", DOUBLED, "--format", "parquet", "--output", "rows"),
        ("export", "--query", DOUBLED, "--output", "rows"),
        ("export", "--query", DOUBLED, "--format", "datasets", "--output", "rows"),
    ],
    ids=["json", "parquet", "jsonl", "datasets"],
)
def test_columns_of_one_name_are_refused_where_one_would_be_lost(filled: Run, command: tuple[str, ...]) -> None:
    err = error_of(filled(*command))
    assert "Several columns are called id, question: give each its own name, e.g. select a.id as a_id" in err
    assert not Path("rows").exists()


def test_a_table_on_a_terminal_may_have_columns_of_one_name(filled: Run) -> None:
    code, out, _ = filled("sql", "select 1 as a, 2 as a")
    assert (code, out.split()) == (0, ["a", "a", "-", "-", "1", "2"])


@pytest.mark.parametrize("text", ["/* c */", "\n-- c", ";"])
def test_text_without_a_statement_is_one_line_everywhere(filled: Run, text: str) -> None:
    said = "SQL: there is no statement in it."
    assert said in error_of(filled("sql", text))
    assert said in error_of(filled("sql", text, "--format", "parquet", "--output", "o.parquet"))
    assert said in error_of(filled("export", "--query", text, "--output", "o.jsonl"))


def test_sql_and_export_write_files_and_take_parameters(filled: Run) -> None:
    select = ("select question from problem where split = $split", "--param", "split=train")
    for form in ("csv", "json", "parquet"):
        code, out, err = filled("sql", *select, "--format", form, "--output", f"o.{form}")
        assert (code, out, err) == (0, "", f"1 rows written to o.{form}\n")
    assert duckdb.from_parquet("o.parquet").fetchall() == [(ANSI,)]
    assert json.loads(Path("o.json").read_text()) == [{"question": ANSI}]
    assert filled("export", "--query", *select, "--format", "parquet", "--output", "e.parquet")[0] == 0
    assert duckdb.from_parquet("e.parquet").fetchall() == [(ANSI,)]
    assert "is the database itself" in error_of(filled("sql", "cost", "--output", "lema.duckdb"))
    assert "Cannot write none/x" in error_of(filled("sql", "cost", "--output", "none/x"))
    assert "add --output FILE.parquet" in error_of(filled("sql", "cost", "--format", "parquet"))


def test_model_text_cannot_drive_the_terminal(filled: Run) -> None:
    table = filled("sql", "select question from problem")[1]
    assert "evil line" in table
    assert all(character.isprintable() or character == "\n" for character in table)
    assert json.loads(filled("sql", "select question from problem", "--json")[1]) == [{"question": ANSI}]


def test_no_output_holds_a_control_character(filled: Run) -> None:
    select = "select chr(155) || chr(7) || 'a' as \"b\x9b\", chr(127) as c"
    for form in ("table", "csv", "json"):
        out = filled("sql", select, "--format", form)[1]
        assert not any(c != "\n" and category(c) == "Cc" for c in out), form
    assert "a" in error_of(filled("sql", 'select * from "a\x9b"'))
    assert not any(c != "\n" and category(c) == "Cc" for c in filled("sql", 'select * from "a\x9b"')[2])


def test_cells_of_csv_are_no_formulas_unless_they_are_asked_for(filled: Run) -> None:
    select = ("sql", "select '=1+1' as a, '-5' as b, -5 as c, '@x' as d", "--format", "csv")
    assert filled(*select)[1] == "a,b,c,d\n'=1+1,-5,-5,'@x\n"
    assert filled(*select, "--formulas")[1] == "a,b,c,d\n=1+1,-5,-5,@x\n"


@pytest.mark.parametrize("query", ["", "no_such", "selec", "delete from problem", "drop table problem; select 1"])
def test_sql_that_cannot_be_is_one_line_and_changes_nothing(filled: Run, query: str) -> None:
    assert error_of(filled("sql", query))
    assert json.loads(filled("status", "--json")[1])["problems"] == 1


def test_export_writes_an_arm_that_is_not_built_yet(
    filled: Run, server: ScriptedServer, write_profile: Callable[..., Path]
) -> None:
    code, out, _ = filled("export", "--profile", write_profile(), "--arm", "cot", "--output", "cot.jsonl")
    assert (code, out) == (0, "")
    rows = [json.loads(line) for line in Path("cot.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    assert {row["kind"] for row in rows} == {"cot"}
    assert rows[0].keys() == {"kind", "prompt", "output", "source_id", "problem_id"}
    assert server.calls == 0


def test_export_wants_one_thing_to_export(run: Run) -> None:
    assert "Give one of --arm, --training-set, --table and --query" in error_of(run("export", "--output", "x.jsonl"))


def test_train_is_a_command_and_a_group_that_loses_no_option(run: Run) -> None:
    code, out, _ = run("train", "--dry-run", "--profile", "smoke", "--model", "smollm2-135m-instruct", "--json")
    assert (code, json.loads(out)["model"]) == (0, "smollm2-135m-instruct")
    assert "No such command 'mrege'" in error_of(run("train", "mrege"))


def test_an_unknown_arm_is_refused_with_the_nearest(run: Run) -> None:
    code, _, err = run("train", "--arms", "cot,lma", "--dry-run")
    assert code != 0
    assert "no arm 'lma' (did you mean 'lema'?)" in err


def test_the_arm_that_is_named_first_sets_the_measure(run: Run) -> None:
    what = ("--profile", "a100", "--model", "llama-2-70b", "--dataset", "gsm8k", "--gpus", "4xA100-80GB")
    code, out, err = run("train", *what, "--arms", "lema,cot", "--match", "tokens", "--dry-run", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["arms"] == ["lema", "cot"]
    assert plan["runs"]["lema"]["max_steps"] == 2000 < plan["runs"]["cot"]["max_steps"]
