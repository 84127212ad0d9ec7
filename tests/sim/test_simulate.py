"""tools/simulate.py as its users meet it: output, exit codes, and the same world in every process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def simulate(*words: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "tools/simulate.py", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )


WORLD = ("--validators", "4", "--byzantine", "1", "--operators", "1", "--rounds", "25", "--quiet")


def test_events_do_not_depend_on_the_hash_seed_or_on_jobs() -> None:
    ran = [
        simulate(*WORLD, "--seeds", "3:5", "--json", "--jobs", jobs, hash_seed=hash_seed)
        for jobs, hash_seed in (("1", "0"), ("1", "12345"), ("2", "7"))
    ]
    found = [json.loads(done.stdout) for done in ran]
    assert found[0]["event_hash"] == found[1]["event_hash"] == found[2]["event_hash"]
    assert all(figures["seeds"] == 2 for figures in found)


def test_json_names_its_figures_in_order() -> None:
    done = simulate(*WORLD, "--seeds", "1:2", "--faults", "none", "--adversaries", "none", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    first = ["seeds", "rounds", "commits", "faults", "violations", "latency_p50_ms", "latency_p99_ms"]
    assert list(figures)[:7] == first
    assert figures["violations"] == 0
    assert figures["commits"] > 20


def test_text_and_drawing(tmp_path: Path) -> None:
    file = tmp_path / "dag.svg"
    done = simulate(*WORLD, "--seeds", "1:2", "--faults", "none", "--adversaries", "none", "--svg", str(file))
    assert done.returncode == 0, done.stderr
    assert "latency_p99_ms" in done.stdout
    assert file.read_text().startswith("<svg ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seeds", "5:5"), "seeds"),
        (("--seeds", "x:5"), "invalid literal"),
        (("--faults", "rain"), "faults"),
        (("--byzantine", "2"), "at most 1"),
    ],
)
def test_wrong_arguments_are_named(words: tuple[str, ...], message: str) -> None:
    done = simulate("--validators", "4", *words)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.slow
def test_campaign_of_200_seeds() -> None:
    done = simulate(
        *("--validators", "7", "--byzantine", "2", "--seeds", "0:200", "--rounds", "200"),
        *("--jobs", "0", "--json", "--quiet"),
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["seeds"] == 200
    assert figures["violations"] == 0
