"""Lets every tool run from a fresh checkout: `_setup.bootstrap()` comes before other imports.

It checks what the machine must have, makes .venv, installs the dependencies and the package (editable),
builds the native modules, and continues the calling tool inside .venv. Whatever is up to date is
skipped, so a second run costs milliseconds. Only the standard library is used here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
BUILD = ROOT / "build"
LOG = BUILD / "setup.log"
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"

DEPENDENCY_STAMP = VENV / "dependencies.stamp"
NATIVE_STAMP = BUILD / "native.stamp"


def bootstrap() -> None:
    """Return inside .venv with everything built, or exit with a message that names what is missing."""
    if sys.version_info[:2] < OLDEST:
        stop(f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {VERSION} ({sys.executable})")
    if not (dependencies_current() and native_current()):
        with locked():
            prepare()
    if Path(sys.prefix).resolve() != VENV.resolve():
        sys.stdout.flush()
        os.execv(PYTHON, [str(PYTHON), *sys.orig_argv[1:]])


def prepare() -> None:
    """Do the steps that are still needed; another process may have done them while we waited."""
    whole = venv_whole()
    missing = missing_parts(need_venv=not whole)
    if missing:
        names = "\n".join(f"  missing: {what}" for what, _ in missing)
        packages = " ".join(dict.fromkeys(package for _, package in missing))
        stop(f"this machine lacks what the build needs\n{names}\n  On Debian: apt install {packages}")
    if not whole:
        base = str(getattr(sys, "_base_executable", sys.executable))
        run_step("making .venv", [base, "-m", "venv", "--clear", str(VENV)])
    if not dependencies_current():
        install_dependencies()
    if not native_current():
        build_native()


def venv_whole() -> bool:
    """Whether .venv is for this Python version, in its place, and has its interpreter and pip."""
    try:
        lines = (VENV / "pyvenv.cfg").read_text().splitlines()
    except OSError:
        return False
    facts = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    return (
        facts.get("version", "").split(".")[:2] == VERSION.split(".")
        and facts.get("command", "").endswith(f" {VENV}")
        and os.access(PYTHON, os.X_OK)
        and (VENV / "lib" / f"python{VERSION}" / "site-packages" / "pip").is_dir()
    )


def dependencies_current() -> bool:
    """Whether .venv holds what pyproject.toml asks for, and the package points at this checkout."""
    installed = (VENV / "lib" / f"python{VERSION}" / "site-packages").glob("__editable__.cherrydag-*.pth")
    return venv_whole() and read(DEPENDENCY_STAMP) == dependency_key() and any(installed)


def install_dependencies() -> None:
    """Install the build requirements, then the package itself, editable, with what the tools use."""
    import tomllib

    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    run_step("installing the build requirements", [*pip, *requires])
    # No module is built here: pip would do it file by file and keep nothing for the next build.
    environment = {**os.environ, "CHERRYDAG_MODULES": "none"}
    run_step("installing dependencies", [*pip, "--no-build-isolation", "-e", ".[dev]"], environment)
    DEPENDENCY_STAMP.write_text(dependency_key())


def native_current() -> bool:
    """Whether every module was built from the sources as they are now."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    built = ROOT / "engine" / "cherrydag" / "_native"
    modules = [pyx.parent.name for pyx in (ROOT / "ext").glob("*/*.pyx")]
    return read(NATIVE_STAMP) == f"{toolchain_key()} {source_key()}" and all(
        (built / f"{name}{suffix}").exists() for name in modules
    )


def build_native() -> None:
    """Build the modules in place; all of them anew if the compiler or its flags may have changed."""
    toolchain, sources = toolchain_key(), source_key()
    force = [] if read(NATIVE_STAMP).split(" ")[0] == toolchain else ["--force"]
    command = [str(PYTHON), "setup.py", "build_ext", "--inplace", f"-j{os.cpu_count() or 1}", *force]
    run_step("building the native modules", command)
    NATIVE_STAMP.write_text(f"{toolchain} {sources}")


def dependency_key() -> str:
    """Changes with anything that decides what is installed."""
    return hash_of([ROOT / "pyproject.toml", ROOT / "setup.py"], [str(ROOT), VERSION])


def toolchain_key() -> str:
    """Changes with the compiler, its flags or the interpreter."""
    settings = [os.environ.get(name, "") for name in ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS")]
    return hash_of([ROOT / "setup.py"], [str(sysconfig.get_config_var("EXT_SUFFIX")), *settings])


def source_key() -> str:
    """Changes with any file of ext/."""
    return hash_of(sorted(path for path in (ROOT / "ext").rglob("*") if path.is_file()), [])


def hash_of(files: list[Path], words: list[str]) -> str:
    """A short fingerprint of files (names and contents) and words."""
    state = hashlib.sha256()
    for path in files:
        state.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    state.update("\0".join(words).encode())
    return state.hexdigest()[:32]


def missing_parts(need_venv: bool) -> list[tuple[str, str]]:
    """What this machine lacks: (the part by name, its Debian package)."""
    missing = []
    if need_venv and importlib.util.find_spec("ensurepip") is None:
        missing.append((f"the venv module of Python {VERSION} (ensurepip)", "python3-venv"))
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc")
    includes = list(dict.fromkeys([sysconfig.get_path("include"), sysconfig.get_path("platinclude")]))
    headers = any((Path(folder) / "Python.h").exists() for folder in includes)
    if shutil.which(compiler[0]) is None:
        missing.append((f"a C compiler ({compiler[0]} is not on the PATH)", "gcc libc6-dev"))
    elif problem := probe(compiler, "#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n"):
        missing.append((f"a working C compiler ({compiler[0]}: {problem})", "gcc libc6-dev"))
    else:
        flags = [f"-I{folder}" for folder in includes]
        headers = not probe([*compiler, *flags], "#include <Python.h>\nint main(void) { return 0; }\n")
        source = "#include <lmdb.h>\nint main(void) { return mdb_version(0, 0, 0) == 0; }\n"
        if problem := probe(compiler, source, "-llmdb"):
            missing.append((f"the database library LMDB and its header lmdb.h ({problem})", "liblmdb-dev"))
    if not headers:
        missing.append((f"the header Python.h of Python {VERSION} ({includes[0]})", "python3-dev"))
    return missing


def probe(compiler: list[str], source: str, *libraries: str) -> str:
    """Compile and link a tiny program: the first line of complaint, or nothing if it builds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*compiler, "-x", "c", "-", "-o", f"{folder}/probe", *libraries]
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it failed"])[0]


def run_step(title: str, command: list[str], environment: Mapping[str, str] | None = None) -> None:
    """Run one step with its output in the log; one line with the time it took, or the log's tail."""
    say(f"setup: {title} ...", end="")
    started = time.monotonic()
    with LOG.open("a+", errors="replace") as log:
        log.write(f"\n$ {shlex.join(command)}\n")
        log.flush()
        code = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        ).returncode
        if code:
            log.seek(0)
            tail = "".join(log.readlines()[-30:]).rstrip()
            say(" FAILED")
            stop(f"{title}: exit status {code}\n{tail}\n  the whole log: {LOG}")
    say(f" {time.monotonic() - started:.1f} s")


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the setup for one process at a time."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            LOG.write_text("")
        except BlockingIOError:
            say("setup: waiting for another run to finish its setup")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read(path: Path) -> str:
    """The file's text, or nothing if there is no such file."""
    try:
        return path.read_text()
    except OSError:
        return ""


def say(text: str, end: str = "\n") -> None:
    """Progress goes to stderr: stdout belongs to the tool."""
    print(text, end=end, file=sys.stderr, flush=True)


def stop(message: str) -> NoReturn:
    """Leave with a message and status 1."""
    say(f"setup: {message}")
    raise SystemExit(1)
