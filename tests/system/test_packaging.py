"""The package as others install it: sdist -> wheel -> a fresh environment, without this checkout.

The wheel is built by `pip install .` in the unpacked sdist, with build isolation, so its own files and its
own stated requirements have to suffice.
"""

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = sorted(path.parent.name for path in (ROOT / "ext").glob("*/*.pyx"))

USER_SCRIPT = """
from nacl.signing import SigningKey
from cherrydag import crypto
key, digest = SigningKey.generate(), crypto.hash_bytes(b"hello")
signature = key.sign(digest).signature
assert crypto.verify_signatures(bytes(key.verify_key), digest, signature) == b"\\x01"
assert crypto.verify_signatures(bytes(key.verify_key), digest, signature[::-1]) == b"\\x00"
"""

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command as a stranger would: nothing of this environment reaches it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CHERRYDAG"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=kept,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment into which the unpacked sdist was installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", ".", cwd=source)
    return python


def test_sdist_holds_every_source_and_nothing_built(source: Path) -> None:
    ours = {
        path.relative_to(ROOT)
        for folder in ("ext", "engine", "tests", "bench", "tools")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".pyi", ".pyx", ".pxi", ".pxd", ".c", ".h", ".typed")
    }
    shipped = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    assert ours - shipped == set()
    assert [path for path in shipped if path.suffix in (".so", ".o", ".pyc")] == []
    assert {"LICENSE", "README.md", "pyproject.toml", "setup.py"} <= {str(path) for path in shipped}


def test_installed_modules_are_the_new_environments_own(installed: Path, tmp_path: Path) -> None:
    names = [f"cherrydag._native.{module}" for module in MODULES]
    code = f"import importlib\nfor name in {names}: print(importlib.import_module(name).__file__)"
    files = [Path(line) for line in run(installed, "-c", code, cwd=tmp_path).splitlines()]
    assert [path.name.split(".")[0] for path in files] == MODULES
    assert all(path.is_relative_to(installed.parent.parent) and path.suffix == ".so" for path in files)


def test_types_ship_and_sources_do_not(installed: Path) -> None:
    (package,) = installed.parent.parent.glob("lib/python*/site-packages/cherrydag")
    assert (package / "py.typed").is_file()
    stubs = {path.name for path in (ROOT / "engine" / "cherrydag" / "_native").glob("*.pyi")}
    assert {path.name for path in (package / "_native").glob("*.pyi")} == stubs
    assert [path for path in package.rglob("*") if path.suffix in (".c", ".h", ".pyx")] == []


def test_a_users_script_hashes_and_verifies(installed: Path, tmp_path: Path) -> None:
    run(installed, "-c", USER_SCRIPT, cwd=tmp_path)
