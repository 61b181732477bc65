"""The rules of the house, read from the sources: who may import whom, how long a module may be, what a wheel holds.

A row of LAYERS may import the rows below it and its own. Pure modules touch no database, no model and no network, so
that what a record means can be tested, and changed, without any of them.
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

# From the top. A name stands for a module of lema_local, or for all of a package.
LAYERS = (
    ("cli",),
    ("doctor",),
    ("stages", "report", "review", "queries", "upkeep", "exports"),
    ("training", "serving", "serving_command"),
    (
        *("client", "transport", "batch_api", "pacing", "progress"),
        *("store", "access", "schema", "journal", "shared_journal", "bulk", "runlock"),
        *("grading", "problems", "problem_files", "hub", "published"),
    ),
    ("pure",),
    ("records", "keys", "errors"),
)
PURE = {
    "answers", "authors_answers", "latex_notation", "latex_values", "numerals",
    "rationales", "reply_text", "corrections", "splicing", "structured", "checks", "arithmetic", "amounts", "faults",
    "resolving", "prompts", "examples", "augmentation", "arms", "tokens", "shapes",
    "statistics", "selection", "seeds", "sample_metrics", "trends",
    "endpoint", "endpoint_profile", "replies", "prices", "batches",
    "profiles", "profile_tables", "evaluation_profile", "variants",
    "evolution", "reasoners", "typed_toml", "models", "recipes", "hardware",
    "gsm_symbolic",
    "datasets", "problem_rows", "decontamination",
    "review.rubric", "review.sampling", "review.items", "review.progress", "review.agreement",
    "review.judging",
    "report.paper", "report.evidence", "report.results", "report.evaluation",
    "report.claims", "report.corrector_claims", "report.figures", "report.tables",
}  # fmt: skip
# What the layers do not allow and good sense does, with the reason.
ALLOWED = {
    ("profiles", "training"): "TrainingSettings is a table of a profile and needs no torch",
    ("models", "training"): "Architecture is plain arithmetic over shapes and needs no torch",
    ("servers", "pure"): "the oracle is a process of its own that reuses the pure modules",
    ("servers", "errors"): "the same",
    ("servers", "keys"): "the same",
    ("servers", "records"): "the same",
}
HEAVY = {
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "llama_cpp", "gguf", "safetensors", "vllm",
    "reasoning_gym", "math_verify", "sympy", "scipy", "numpy", "openai", "httpx2", "aiohttp", "huggingface_hub",
}  # fmt: skip
NOT_PURE = {"duckdb", "openai", "torch", "aiohttp", "httpx2", "starlette", "uvicorn", "requests"}


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


def layer_name(module: str) -> str:
    """The name under which LAYERS has a module: lema_local.stages.sample -> stages."""
    name = module.removeprefix("lema_local.")
    part = name.partition(".")[0]
    return "pure" if part in PURE or name in PURE else part


def depth(layer: str) -> int | None:
    return next((k for k, row in enumerate(LAYERS) if layer in row), None)


def may_import(importer: str, imported: str) -> bool:
    one, other = layer_name(importer), layer_name(imported)
    short = importer.removeprefix("lema_local.").partition(".")[0]
    if one == other or (short, other) in ALLOWED or (one, other) in ALLOWED:
        return True
    above, below = depth(one), depth(other)
    return above is not None and below is not None and above <= below


def test_every_module_has_a_place_in_the_layers() -> None:
    homeless = {name for name in code() if depth(layer_name(name)) is None and layer_name(name) != "servers"}
    assert homeless == set()


@pytest.mark.parametrize("name", code())
def test_a_module_imports_only_what_its_layer_may(name: str) -> None:
    ours = {imported for imported in imports(name) if imported.startswith("lema_local.")}
    assert ours <= modules().keys()
    assert {imported for imported in ours if not may_import(name, imported)} == set()


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


def test_every_exception_to_the_layers_is_still_needed() -> None:
    used = set()
    for name in code():
        short = name.removeprefix("lema_local.").partition(".")[0]
        used |= {(short, layer_name(i)) for i in imports(name) if i in modules()}
    assert set(ALLOWED) - used <= {("servers", "keys"), ("servers", "records")}


@pytest.mark.parametrize("name", sorted(f"lema_local.{name}" for name in PURE))
def test_a_pure_module_imports_no_database_model_or_network(name: str) -> None:
    assert {i.partition(".")[0] for i in imports(name)} & NOT_PURE == set()


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
