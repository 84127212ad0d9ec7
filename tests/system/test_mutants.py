"""The tool that plants mistakes: what it says of those that are found, missed, or no longer there."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS = "engine/cherrydag/consensus/rounds.py"
COUNTS_TWICE = "        if authors >> author & 1:\n            return\n"


def plant(
    tmp_path: Path, *mutants: tuple[str, str, str, str], json_lines: bool = True
) -> tuple[int, str, str]:
    """Plant mutants (name, file, old, new) for the tests of rounds: exit status, stdout, stderr."""
    listed = "".join(
        f"Mutant({name!r}, 'planted', {file!r}, {old!r}, {new!r}, 'tests/unit/test_rounds.py'),"
        for name, file, old, new in mutants
    )
    source = tmp_path / "mutants.py"
    source.write_text(f"from mutant_list import Mutant\nSECTIONS = {{'planted': ({listed})}}\n")
    arguments = ["--from", str(source), "--jobs", "1", *(["--json"] if json_lines else [])]
    command = [sys.executable, "tools/mutants.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_mistake_is_killed_and_a_harmless_change_survives(tmp_path: Path) -> None:
    before = (ROOT / ROUNDS).read_text()
    code, output, errors = plant(
        tmp_path,
        ("counts-twice", ROUNDS, COUNTS_TWICE, ""),
        ("harmless", ROUNDS, COUNTS_TWICE, COUNTS_TWICE.replace("& 1", "& 1 == 1")),
    )
    assert code == 1, errors
    killed, survives, sums = map(json.loads, output.splitlines())
    assert killed["name"] == "counts-twice"
    assert killed["killed_by"] == "tests/unit/test_rounds.py::test_an_equivocator_counts_once"
    assert (survives["name"], survives["killed_by"]) == ("harmless", None)
    assert sums["mutants"] == 2
    assert sums["survivors"] == ["harmless"]
    assert (ROOT / ROUNDS).read_text() == before


def test_a_mutant_that_does_not_apply_is_an_error(tmp_path: Path) -> None:
    gone = ("gone", ROUNDS, "no such text", "")
    twice = ("twice", ROUNDS, "authors", "")
    same = ("same", ROUNDS, COUNTS_TWICE, COUNTS_TWICE)
    code, output, errors = plant(tmp_path, gone, twice, same, ("no-file", "engine/none.py", "a", "b"))
    assert (code, output) == (2, "")
    assert [line.split(":")[0].strip() for line in errors.splitlines()[1:]] == [
        "gone",
        "twice",
        "same",
        "no-file",
    ]


def test_a_mutant_that_does_not_import_is_an_error(tmp_path: Path) -> None:
    code, _, errors = plant(tmp_path, ("broken", ROUNDS, COUNTS_TWICE, "        if\n"))
    assert code == 2
    assert "broken: exit status" in errors


def test_what_fails_without_a_mutant_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "mutants.py"
    source.write_text(
        "from mutant_list import Mutant\n"
        f"SECTIONS = {{'': (Mutant('a', '', {ROUNDS!r}, {COUNTS_TWICE!r}, '', 'tests/unit/none.py'),)}}\n"
    )
    command = [sys.executable, "tools/mutants.py", "--from", str(source), "--only", "a"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 2
    assert "without a mutant this fails" in done.stderr
