"""The pure core compiled by mypyc: the same modules and results in about half the processor time.

Only campaigns that run for hours use it, since making it takes minutes. It is a copy under build/, so
neither the daemon nor the tests ever meet it.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import _setup

CORE = ("node.py", "consensus/*.py", "dag/*.py", "gossip/*.py", "sim/*.py")
"""What the simulator spends its time in. Vertices and their checks gained nothing by it."""

LEFT_OUT = ("__init__.py", "chance.py", "scenario.py", "outcome.py", "violation.py")
"""Packages stay open to their native modules; mypyc cannot make classes on top of those of C; its frozen
dataclasses cannot be pickled, as the values must be that go between the processes of a campaign."""

COMPILE = """
import sys
from mypyc.build import mypycify
from setuptools import setup
modules = mypycify(sys.argv[1:], opt_level="2")
setup(name="core", ext_modules=modules, script_args=["-q", "build_ext", "--inplace"])
"""


def core() -> Path:
    """The folder to put first on sys.path. Compiles what has changed since: minutes, told on stderr."""
    engine = _setup.ROOT / "engine"
    sources = sorted(path for path in engine.rglob("*.py") if path.is_file())
    key = _setup.hash_of([*sources, Path(__file__).resolve()], [_setup.toolchain_key(), _setup.source_key()])
    folder = _setup.BUILD / f"compiled-{key[:16]}"
    with _setup.locked():
        if not folder.exists():
            for old in _setup.BUILD.glob("compiled-*"):
                shutil.rmtree(old)
            _compile(engine, folder)
    return folder


def _compile(engine: Path, folder: Path) -> None:
    new = folder.with_suffix(".new")
    shutil.copytree(engine, new, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    files = sorted(
        str(path.relative_to(new))
        for pattern in CORE
        for path in (new / "cherrydag").glob(pattern)
        if path.name not in LEFT_OUT
    )
    config = f"--config-file={_setup.ROOT / 'pyproject.toml'}"
    command = [sys.executable, "-c", COMPILE, config, *files]
    _setup.say("compiling the core ...")
    done = subprocess.run(command, cwd=new, capture_output=True, text=True, check=False)
    if done.returncode:
        _setup.stop(f"compiling the core: exit status {done.returncode}\n{done.stderr[-4000:]}")
    shutil.rmtree(new / "build")
    new.rename(folder)
