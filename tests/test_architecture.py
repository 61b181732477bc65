"""The rules of the house, read from the sources: who may import whom, how long a module may be, what a wheel holds.

ROOMS is the import table: from the ground up, each room with the rooms that it may import.
"""

import ast
import os
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"lema_local": "lema_local", "cli": "lema_local.cli", "servers": "lema_local.servers"}
MAX_LINES = 350

# A room, or a file of the ground floor -> what it may import beside errors. No row names a later one.
ROOMS = {
    "errors": "",
    "hardware": "",
    "printable": "",
    "markdown": "printable",
    "progress": "printable",
    "guard": "printable",
    "loopback": "",
    "statistics": "",
    "records": "",
    "typed_toml": "records",
    "answers": "records",
    "corrections": "answers records",
    "problems": "corrections answers records typed_toml",
    "calls": "corrections records printable progress",
    "prompts": "calls corrections records",
    "review": "prompts corrections records statistics loopback guard",
    "settings": "review problems corrections records typed_toml",
    "serving": "settings calls records hardware",
    "examples": "settings prompts corrections answers records markdown",
    "training": "settings prompts records hardware progress",
    "report": "settings review prompts corrections records statistics hardware loopback guard printable typed_toml",
    "stages": "training examples serving settings review prompts calls problems corrections answers records statistics "
    "hardware markdown progress",
    "doctor": "serving settings calls records hardware",
    "api": "stages report settings records",
    "lema_local": "api",
    "servers": "corrections answers",
    "cli": "doctor stages report training examples serving settings review calls problems answers records statistics "
    "printable",
}
# Who touches what others are kept clear of, so that what a record means is tested without any of it.
ONLY = {
    "duckdb": {"records", "problems"},
    "openai": {"calls"},
    "ray": {"serving", "stages"},
    "starlette": {"guard", "report", "review", "servers"},
    "uvicorn": {"loopback", "servers"},
}
HEAVY = {
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "llama_cpp", "gguf", "safetensors", "vllm",
    "reasoning_gym", "math_verify", "sympy", "scipy", "numpy", "openai", "httpx2", "aiohttp", "huggingface_hub",
    "genai_prices", "ray",
}  # fmt: skip


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, for all that goes into the wheel."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def code() -> list[str]:
    """The modules that hold any code: empty __init__.py files do not."""
    return [name for name, path in modules().items() if path.stat().st_size]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def imports(name: str, *, of: ast.AST | None = None) -> set[str]:
    """The dotted names that a module imports; a relative import in full."""
    package = name if modules()[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(of or tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            submodules = {f"{source}.{alias.name}" for alias in node.names}
            found |= (submodules & modules().keys()) or {source}
    return found


def at_import(name: str) -> set[str]:
    """What a module imports as soon as it is imported itself: nothing inside functions counts."""
    found = set()
    for node in tree(name).body:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.If | ast.Try):
            found |= imports(name, of=node)
    return found


def room(module: str) -> str:
    """The name under which ROOMS has a module: lema_local.stages.sample -> stages."""
    return module.removeprefix("lema_local.").partition(".")[0]


def test_the_rooms_stand_on_each_other_without_a_circle() -> None:
    names = list(ROOMS)
    assert all(names.index(other) < names.index(name) for name in names for other in ROOMS[name].split())
    assert {room(name) for name in code()} == set(ROOMS)


@pytest.mark.parametrize("name", code())
def test_a_module_imports_only_what_its_room_may(name: str) -> None:
    ours = {imported for imported in imports(name) if imported.startswith("lema_local.")}
    assert ours <= modules().keys()
    allowed = {room(name), "errors", *ROOMS.get(room(name), "").split()}
    assert {imported for imported in ours if room(imported) not in allowed} == set()


def test_a_room_imports_all_that_the_table_says() -> None:
    used = {(room(name), room(imported)) for name in code() for imported in imports(name) if imported in modules()}
    assert {(name, other) for name, others in ROOMS.items() for other in others.split()} - used == set()


@pytest.mark.parametrize(
    "name", [name for name in code() if not name.startswith(("lema_local.cli", "lema_local.servers"))]
)
def test_the_library_imports_neither_commands_nor_servers(name: str) -> None:
    outside = ("lema_local.cli", "lema_local.servers", "lema_local.db", "cli", "servers", "db")
    assert {i for i in imports(name) if i in outside or i.startswith(tuple(f"{o}." for o in outside))} == set()


@pytest.mark.parametrize("name", [name for name in code() if name.startswith(("lema_local.cli", "lema_local.servers"))])
def test_siblings_are_imported_relatively(name: str) -> None:
    """By their full name a type checker would not find them: the folder is mapped into the package."""
    absolute = {n.module for n in ast.walk(tree(name)) if isinstance(n, ast.ImportFrom) and n.module and not n.level}
    assert {m for m in absolute if m.startswith(("lema_local.cli", "lema_local.servers", "cli", "servers"))} == set()


@pytest.mark.parametrize("name", [name for name in code() if name.startswith("lema_local.cli.")])
def test_commands_print_through_one_module(name: str) -> None:
    """It cleans what it prints (cli/output.py)."""
    calls = {ast.unparse(node.func) for node in ast.walk(tree(name)) if isinstance(node, ast.Call)}
    assert name == "lema_local.cli.output" or calls & {"click.echo", "click.secho", "print"} == set()


@pytest.mark.parametrize("package", ONLY)
def test_only_some_rooms_touch_the_database_a_model_or_the_network(package: str) -> None:
    users = {room(name) for name in code() if package in {i.partition(".")[0] for i in imports(name)}}
    assert users == ONLY[package]


@pytest.mark.parametrize("name", code())
def test_nothing_heavy_is_imported_with_a_module(name: str) -> None:
    assert {i.partition(".")[0] for i in at_import(name)} & HEAVY == set()


@pytest.mark.parametrize("name", code())
def test_a_module_says_what_it_is_for_and_is_short(name: str) -> None:
    docstring = ast.get_docstring(tree(name))
    assert docstring, f"{modules()[name]} begins without a docstring"
    assert len(modules()[name].read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", sorted((ROOT / "db").rglob("*.sql")), ids=lambda path: path.stem)
def test_a_query_says_in_its_first_line_what_it_answers(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("-- ")
    assert len(first) > 20


@pytest.mark.slow
def test_the_wheel_holds_one_package_and_runs_elsewhere(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    source = tmp_path / "source"
    names = [*FOLDERS, "db", "pyproject.toml", "README.md", "LICENSE"]
    source.mkdir()
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in names), str(source)], check=True)  # no build/ of old
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        files = archive.namelist()
    top = {name.partition("/")[0] for name in files}
    assert {name for name in top if not name.endswith(".dist-info")} == {"lema_local"}
    for folder, package in (FOLDERS | {"db": "lema_local.db"}).items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".sql", ".toml", ".txt", ".typed"}:
                assert f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder)}" in files
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    subprocess.run(
        [*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True, capture_output=True
    )
    (site,) = (venv / "lib").glob("python*/site-packages")
    # dependencies from here; the checkout itself comes by an import hook that a plain path does not bring along
    here = [p for p in sys.path if p.endswith("site-packages") and "lema" not in Path(p).name]
    (site / "dependencies.pth").write_text("\n".join(here))
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    where: list[str | Path] = [python, "-c", "import lema_local; print(lema_local.__file__)"]

    def output(command: list[str | Path]) -> str:
        return subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout

    assert output(where).startswith(str(venv))
    lema = venv / "bin" / "lema"
    assert "learn from its own mistakes" in output([lema, "--help"])
    assert "laptop" in output([lema, "profiles"])
    assert "self_correction_rate" in output([lema, "sql", "--list"])
