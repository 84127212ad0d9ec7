"""Pages of docs/ hold together: links, names of tests and commands, and what follows from the code."""

# ruff: noqa: E402 - the tool's parts are imported as the tool does it

import ast
import re
import sys
from functools import cache
from pathlib import Path

import click
import pytest
from places import ROOT
from snippets import LANGUAGES, RUN, blocks, said_commands

sys.path[1:1] = [str(ROOT / "tools")]

from cherrydag.cli.program import cli
from manual import drawings, markdown, pages, results

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "ARCHITECTURE.md"]
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
by_text = pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.stem)


def plain(text: str) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


@by_page
def test_what_follows_from_the_code_is_current(page: Path):
    text = page.read_text()
    assert pages.filled(text) == text, "python3 tools/docs.py makes it anew"


def test_every_part_that_can_be_made_stands_in_a_page():
    found = re.findall(r"<!-- made: ([a-z-]+) -->", "".join(page.read_text() for page in PAGES))
    assert sorted(found) == sorted(pages.PARTS)


@pytest.mark.parametrize("name", drawings.DRAWINGS)
def test_drawings_are_of_runs_of_this_code(name: str):
    drawn = drawings.drawn(drawings.DRAWINGS[name])
    assert (DOCS / "images" / f"{name}.svg").read_text() == drawn, "python3 tools/docs.py --drawings"


def test_every_image_is_shown_and_every_result_has_its_plot():
    shown = set(re.findall(r"\((images/[\w.-]+)\)", "".join(page.read_text() for page in PAGES)))
    assert shown == {f"images/{path.name}" for path in (DOCS / "images").iterdir()}
    assert {f"images/{name}.png" for name in results.kept() | results.searches()} <= shown


@by_text
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)]+)\)", plain(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(other), f"{page.name}: {target}"


@cache
def anchors(page: Path) -> frozenset[str]:
    """Of headings, as they are made of their words."""
    headings = re.findall(r"^#+ (.+)$", plain(page.read_text()), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings)


@by_page
def test_index_names_every_page(page: Path):
    assert page.name == "index.md" or f"({page.name})" in (DOCS / "index.md").read_text()


@by_page
def test_blocks_have_a_language_and_what_is_not_run_says_why(page: Path):
    for block in blocks(page):
        assert block.language in LANGUAGES, block.where
        assert block.language in RUN or "not run" not in block.notes, block.where


@by_text
def test_commands_and_their_options_exist(page: Path):
    for words in said_commands(page.read_text()):
        command: click.Command = cli
        for word in words:
            if not isinstance(command, click.Group) or word not in command.commands:
                break
            command = command.commands[word]
        options = {name for param in command.params for name in param.opts} | {"--help", "--version"}
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert command is not cli or not words or words[0] in options, f"{page.name}: {words}"
        assert used <= options, f"{page.name}: {words}"


@by_text
def test_tools_and_tests_that_are_named_exist(page: Path):
    text = page.read_text()
    for name in re.findall(r"\b(?:tools|bench|tests|examples|ext|engine)/[\w/.-]+\.\w+\b", text):
        assert (ROOT / name).exists(), f"{page.name}: {name}"
    for name, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert test in functions_of(ROOT / name), f"{page.name}: {name}::{test}"


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Their names."""
    found = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, found))


def test_every_attack_of_the_table_names_its_test():
    rows = re.findall(r"^\| (.+?) \|.*\| (.+?) \|$", (DOCS / "security.md").read_text(), re.MULTILINE)
    attacks = [(name, shown) for name, shown in rows if "tests/" in shown]
    assert len(attacks) > 20 and all("::test_" in shown for _, shown in attacks)


def test_figures_of_performance_stand_in_readme_or_architecture():
    text = (DOCS / "performance.md").read_text()
    written = re.sub(r"<!-- made.*?<!-- /made -->|^!\[.*?\*$", "", text, flags=re.DOTALL | re.MULTILINE)
    known = (ROOT / "README.md").read_text() + (ROOT / "ARCHITECTURE.md").read_text()
    known_figures = set(re.findall(r"\d+", known.replace(",", "")))
    for figure in re.findall(r"\d{3,}", plain(written).replace(",", "")):
        assert figure in known_figures, f"performance.md: {figure}"


def test_kept_results_are_of_runs_without_a_fault():
    for name, figures in results.kept().items():
        assert figures["failures"] == [] and figures["transfers"]["not_applied"] == 0, name
        assert f"--rate {figures['settings']['rate']:.0f}" in figures["command"]


def test_kept_searches_are_of_runs_without_a_loss():
    for figures in results.searches().values():
        assert "--ramp" in figures["command"] and figures["steps"]
        assert all("drain" in fault for run in figures["runs"] for fault in run["failures"])
        assert figures["knee"] in figures["steps"]


def test_a_page_that_is_stale_is_found(tmp_path: Path):
    text = "a\n<!-- made: exit-codes -->\nold\n<!-- /made -->\nb\n"
    made = pages.filled(text)
    assert made != text and pages.filled(made) == made and made.startswith("a\n") and made.endswith("\nb\n")
    with pytest.raises(KeyError):
        pages.filled(text.replace("exit-codes", "nothing"))


def test_bars_in_cells_are_escaped():
    assert markdown.table(("a",), [("x | y",)]).endswith("| x \\| y |")
