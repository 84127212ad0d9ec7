"""Every command and every piece of Python in docs/ runs as it is printed, and prints what the page shows."""

from pathlib import Path

import pytest
from places import ROOT
from snippets import RUN, Page, blocks, commands, is_shown

PAGES = sorted((ROOT / "docs").glob("*.md"))
RUNNING = [
    page for page in PAGES if any(b.language in RUN and "not run" not in b.notes for b in blocks(page))
]


@pytest.mark.slow
@pytest.mark.parametrize("path", RUNNING, ids=lambda path: path.stem)
def test_the_blocks_of_a_page_run_in_their_order(path: Path, tmp_path: Path):
    with Page(tmp_path) as page:
        for block in blocks(path):
            page.run(block)


def page_of(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text)
    return path


def run(folder: Path, text: str) -> None:
    with Page(folder) as page:
        for block in blocks(page_of(folder, text)):
            page.run(block)


def test_what_a_command_prints_and_how_it_ends_is_compared(tmp_path: Path):
    run(
        tmp_path,
        "```console\n$ echo one two\none ...\n$ true\n```\n<!-- exits: 3 -->\n```console\n$ (exit 3)\n```\n",
    )
    with pytest.raises(AssertionError, match=r"page\.md:1: echo one"):
        run(tmp_path, "```console\n$ echo one\ntwo\n```\n")
    with pytest.raises(AssertionError, match="ended with 1"):
        run(tmp_path, "```console\n$ false\n$ true\n```\n")


def test_blocks_of_a_page_share_a_shell_and_names(tmp_path: Path):
    run(tmp_path, "```console\n$ A=5; mkdir x\n```\n\n```console\n$ echo $A; ls\n5\npage.md\nx\n```\n")
    run(tmp_path, "```python\na = 5\n```\ntext\n```python\nprint(a)\n```\n```output\n5\n```\n")
    with pytest.raises(AssertionError, match="printed '5"):
        run(tmp_path, "```python\nprint(5)\n```\n```output\n6\n```\n")


def test_python_may_await(tmp_path: Path):
    run(tmp_path, "```python\nimport asyncio\nawait asyncio.sleep(0)\nprint(1)\n```\n```output\n1\n```\n")


def test_what_is_kept_stands_for_its_name(tmp_path: Path):
    kept = "<!-- keep: NAME = is (\\w+) -->\n```console\n$ echo it is so\n```\n"
    run(tmp_path, f"{kept}```console\n$ echo NAME NAMES\nso NAMES\n```\n")


def test_what_runs_beside_is_waited_for_and_ended(tmp_path: Path):
    script = "echo up; trap 'exit 0' TERM; sleep 900 & wait"
    beside = f'<!-- terminal: one -->\n```console\n$ bash -c "{script}"\nup\n```\n'
    run(tmp_path, f"{beside}<!-- stops: one -->\n```console\n$ true\n```\n")
    run(tmp_path, beside)
    with pytest.raises(AssertionError, match="ended with 0"):
        run(tmp_path, "<!-- terminal: one -->\n```console\n$ true\nup\n```\n")


def test_machines_and_ports_are_replaced_alike(tmp_path: Path):
    places = "10.0.0.1:7100 10.0.0.2:7100 10.0.0.1:7100"
    run(tmp_path, f"```console\n$ echo {places} > a; read x y z < a; test $x = $z; test $x != $y\n```\n")


def test_commands_of_several_lines_are_joined():
    assert commands("$ one \\\n    two\nout\n\n$ three") == [("one two", "out\n"), ("three", "")]


@pytest.mark.parametrize(
    ("expected", "printed", "shown"),
    [
        ("a  b", "a     b\n", True),
        ("a ...\nc", "a b\nd\nc", True),
        ("a", "a b", False),
        ("...", "", True),
        ("a.c", "abc", False),
    ],
)
def test_three_dots_stand_for_anything_and_columns_may_shift(expected: str, printed: str, shown: bool):
    assert is_shown(expected, printed) is shown
