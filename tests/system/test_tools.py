"""The tools as their users meet them: separate processes, exit codes, output."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
JSON_KEYS = ["name", "value", "unit", "baseline", "baseline_value", "ratio", "backend", "n"]

PLANTED_BUG = """
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size >= 2 && data[0] == 'C' && data[1] == 'D') return data[size];
    return 0;
}
"""


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end with the environment changed."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing has been set up, as far as the setup looks at it."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    for name in ("pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "ext").mkdir()
    return tmp_path


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_missing_compiler_is_named_with_its_package(checkout: Path) -> None:
    done = run("tools/test.py", cwd=checkout, CC="no-such-compiler")
    assert done.returncode == 1
    assert "missing: a C compiler (no-such-compiler is not on the PATH)" in done.stderr
    assert "apt install gcc libc6-dev" in done.stderr


def test_missing_header_is_named_with_its_package(checkout: Path, tmp_path: Path) -> None:
    refusal = "cat > src.c\nif grep -q Python.h src.c; then echo 'no Python.h' >&2; exit 1; fi"
    compiler = script(tmp_path / "headerless", f'cd "{tmp_path}"\n{refusal}')
    done = run("tools/test.py", cwd=checkout, CC=compiler)
    assert done.returncode == 1
    assert "missing: the header Python.h of Python 3." in done.stderr
    assert "apt install python3-dev" in done.stderr


def test_compiler_that_cannot_build_is_named(checkout: Path, tmp_path: Path) -> None:
    compiler = script(tmp_path / "broken", "echo 'stdlib.h: No such file' >&2; exit 1")
    done = run("tools/test.py", cwd=checkout, CC=compiler)
    assert done.returncode == 1
    assert f"a working C compiler ({compiler}: stdlib.h: No such file)" in done.stderr


def test_old_python_is_told_so() -> None:
    code = "import _setup, sys; _setup.OLDEST = (99, 0); _setup.bootstrap()"
    done = run("-c", code, PYTHONPATH=str(ROOT / "tools"))
    assert done.returncode == 1
    assert "Python 99.0 or newer is needed" in done.stderr


def test_second_setup_takes_no_time() -> None:
    code = "import _setup, time; t = time.process_time(); _setup.bootstrap(); print(time.process_time() - t)"
    done = run("-c", code, PYTHONPATH=str(ROOT / "tools"))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.5


def test_bench_json_has_exactly_the_promised_keys() -> None:
    name = "digest.hash_records/size=112"
    done = run("tools/bench.py", name, "--json", "--quick")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result) == [*JSON_KEYS, "p50", "p99", "min", "rounds", "seed"]
    assert result["name"] == name
    assert result["unit"] == "ns/hash"
    assert result["ratio"] > 0
    assert "machine:" in done.stderr


def test_bench_of_an_unknown_name_lists_the_names() -> None:
    done = run("tools/bench.py", "verify.nonsense")
    assert done.returncode != 0
    assert "'verify.nonsense'" in done.stderr
    assert "verify.batch/n=1024,signers=128" in done.stderr


@pytest.mark.slow
def test_demo_ends_with_final_transfers_and_nodes_that_agree() -> None:
    done = run("tools/demo.py", "--validators", "3", "--seconds", "2", "--rate", "200")
    assert done.returncode == 0, done.stdout + done.stderr
    *_, load, chain, state = done.stdout.splitlines()
    assert load.startswith("load:      400 transfers final in ")
    assert chain.endswith("on all 3 nodes")
    assert state.endswith("proven by all 3 nodes")


@pytest.mark.slow
def test_demo_ends_cleanly_on_ctrl_c() -> None:
    with subprocess.Popen(
        [sys.executable, "tools/demo.py", "--validators", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        assert "devnet of 2 nodes, ready" in demo.stdout.readline()
        os.killpg(demo.pid, signal.SIGINT)
        _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 130, errors
    assert errors.strip() == "interrupted"


@pytest.mark.slow
def test_every_fuzz_target_runs_without_a_finding() -> None:
    done = run("tools/fuzz.py", "--seconds", "2", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert results
    assert all(result["executions"] > 0 for result in results)


@pytest.mark.slow
def test_fuzzer_finds_a_planted_overflow_and_replays_it(tmp_path: Path) -> None:
    target = tmp_path / "fuzz_planted.c"
    target.write_text(PLANTED_BUG)
    done = run("tools/fuzz.py", target, "--seconds", "60", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    (finding,) = json.loads(done.stdout)["findings"]
    replay = done.stderr.partition("replay: ")[2].split()
    assert replay[1] == finding
    again = subprocess.run(replay, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode != 0
    assert "heap-buffer-overflow" in again.stderr
    (ROOT / finding).unlink()
