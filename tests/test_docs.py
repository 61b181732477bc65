"""The documentation: links lead somewhere, and the page of commands has all of them."""

import importlib.util
import re
from pathlib import Path

import click
import pytest
from lema_local.cli.main import cli

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_to_files(page: Path) -> None:
    links = [link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
    local = [link for link in links if link and not link.startswith(("http://", "https://", "mailto:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_site_and_in_its_index() -> None:
    names = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    site, index = (ROOT / "mkdocs.yml").read_text(), (ROOT / "docs" / "README.md").read_text()
    assert {name for name in names if f"- {name}\n" not in site} == set()
    assert {name for name in names if f"]({name})" not in index} == set()


def test_the_page_of_commands_has_every_command_with_its_help() -> None:
    path = ROOT / "docs" / "site_pages.py"
    spec = importlib.util.spec_from_file_location("site_pages", path)
    assert spec is not None
    assert spec.loader is not None
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    text = pages.command_line()
    headings = re.findall(r"^## (lema.*)$", text, re.MULTILINE)
    assert {f"lema {name}" for name in cli.list_commands(click.Context(cli))} <= set(headings)
    assert "lema train merge" in headings
    assert text.count("Usage: lema") == len(headings)
