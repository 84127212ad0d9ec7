"""tools/tips.py as its users meet it: a separate process, its output and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent.parent
SHORT = ("--rates", "20,40", "--delays", "100", "--parents", "2,3", "--seconds", "8")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/tips.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)


def test_json_has_a_line_for_each_setting_and_repeats_under_one_seed() -> None:
    first, second = run(*SHORT, "--committed", "--json"), run(*SHORT, "--committed", "--json")
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    results = [json.loads(line) for line in first.stdout.splitlines()]
    assert [result["name"] for result in results] == [
        f"tips.pool/rate={rate},delay=100,k={k}" for k in (2, 3) for rate in (20, 40)
    ]
    assert all(result["mean"] > 0 and result["committed"] == 1 for result in results)


def test_the_drawing_has_a_dot_for_each_setting_and_a_line_for_each_k(tmp_path: Path) -> None:
    done = run(*SHORT, "--plot", tmp_path / "tips.svg")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    drawn = ElementTree.parse(tmp_path / "tips.svg")
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == 4


def test_a_wrong_argument_is_named() -> None:
    done = run("--rates", "0")
    assert done.returncode == 2
    assert "rate: expected 1..1000000, got 0" in done.stderr
