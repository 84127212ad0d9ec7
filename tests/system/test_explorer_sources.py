"""The explorer's own tests, and its build made anew. Skipped where its packages are not installed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from waiting import PATIENCE_S

SOURCES = Path(__file__).parents[2] / "explorer"
STATIC = Path(__file__).parents[2] / "engine" / "cherrydag" / "explorer" / "static"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("npm") is None, reason="Node.js is not installed"),
    pytest.mark.skipif(
        not (SOURCES / "node_modules" / ".package-lock.json").is_file(),
        reason="its packages are not installed: npm ci in explorer/",
    ),
]


def npm(*arguments: str) -> str:
    done = subprocess.run(
        ["npm", *arguments],
        cwd=SOURCES,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_types_and_unit_tests_pass() -> None:
    npm("test")


def test_the_sources_build_what_ships(tmp_path: Path) -> None:
    npm("exec", "--", "vite", "build", "--outDir", str(tmp_path), "--emptyOutDir")
    made = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    ships = {file.relative_to(STATIC): file.read_bytes() for file in STATIC.rglob("*") if file.is_file()}
    del ships[Path("build.json")]
    assert made == ships
