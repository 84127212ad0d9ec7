#!/usr/bin/env python3
"""Build what is not built and run the test suite: `python3 tools/test.py [--sanitize] [--fast] [pytest ...]`.

Several processes share the tests, one for each core; `-n 0` runs all in one, as --pdb and -s want it.
--sanitize runs the native and unit tests on a build with AddressSanitizer, UndefinedBehaviorSanitizer
and the native code's own invariant checks; it lives under build/sanitize, apart from the usual build.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import _setup

_setup.bootstrap()

SANITIZED = _setup.BUILD / "sanitize"
LIBRARY = SANITIZED / "lib"

WORKERS_MAX = 4
"""More would have more networks of real processes at a time than one machine's timeouts are made for."""

# A read one byte past the end: what the sanitizer must catch if it is awake.
CANARY = """
#include <stdlib.h>
int canary(int index) {
    volatile char *bytes = calloc(8, 1);
    return bytes[index];
}
"""


def main() -> int:
    """Run the suite; the exit status is pytest's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sanitize", action="store_true", help="test a sanitizer build")
    parser.add_argument("--fast", action="store_true", help="leave out the tests marked slow")
    options, arguments = parser.parse_known_args()
    if options.fast:
        arguments = ["-m", "not slow", *arguments]
    environment = dict(os.environ)
    if options.sanitize:
        environment = sanitize()
        arguments = ["-o", "testpaths=tests/native tests/unit", *arguments]  # unless paths are given
    workers = min(len(os.sched_getaffinity(0)), WORKERS_MAX)
    shared = ["-n", str(workers if workers > 1 else 0), "--dist", "worksteal", "-p", "no:benchmark"]
    command = [sys.executable, "-m", "pytest", *shared, *arguments]
    return subprocess.run(command, cwd=_setup.ROOT, env=environment, check=False).returncode


def sanitize() -> dict[str, str]:
    """Build with the sanitizers, prove that they are awake, and return the environment to test in."""
    compiler = os.environ.get("CC") or "gcc"
    environment = sanitizer_environment(compiler)
    folders = [f"--build-lib={LIBRARY}", f"--build-temp={SANITIZED / 'temp'}"]
    with _setup.locked():
        stamp = SANITIZED / "stamp"
        key = f"{_setup.toolchain_key()} {_setup.source_key()}"
        if _setup.read(stamp) != key:
            shutil.rmtree(SANITIZED, ignore_errors=True)
        _setup.run_step(
            "building with the sanitizers",
            [sys.executable, "setup.py", "build", *folders, f"-j{os.cpu_count() or 1}"],
            {**os.environ, "CHERRYDAG_SANITIZE": "1"},
        )
        stamp.write_text(key)
    check_canary(compiler, environment)
    check_modules(environment)
    return environment


def sanitizer_environment(compiler: str) -> dict[str, str]:
    """The runtimes come first in the process; malloc instead of Python's pools lets them see every buffer."""
    preload = []
    for name in ("libasan.so", "libubsan.so", "libstdc++.so.6"):
        found = subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if Path(found).is_absolute():
            preload.append(str(Path(found).resolve()))
        elif name != "libstdc++.so.6":
            _setup.stop(f"missing: {name}, which {compiler} needs\n  On Debian: apt install libgcc-12-dev")
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(preload),
        # Python leaks on purpose at exit; the small quarantine lets the memory-growth tests mean something.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=8",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(LIBRARY),
    }


def check_canary(compiler: str, environment: dict[str, str]) -> None:
    """A deliberate overflow must be caught, or a green run would mean nothing."""
    library = SANITIZED / "canary.so"
    build = [compiler, "-x", "c", "-", "-fsanitize=address,undefined", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run(build, input=CANARY, text=True, check=True)
    for index, caught in ((7, False), (8, True)):
        code = f"import ctypes; ctypes.CDLL({str(library)!r}).canary({index})"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if ("heap-buffer-overflow" in done.stderr) != caught or (done.returncode != 0) != caught:
            _setup.stop(f"the sanitizer does not work here: reading byte {index} of 8\n{done.stderr}")
    print("sanitizer: a deliberate overflow was caught")


def check_modules(environment: dict[str, str]) -> None:
    """The native modules that the tests will import must be the instrumented ones."""
    code = (
        "import importlib, pkgutil, cherrydag._native as native\n"
        "for found in pkgutil.iter_modules(native.__path__, 'cherrydag._native.'):\n"
        "    print(importlib.import_module(found.name).__file__)"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if found.returncode:
        _setup.stop(f"the sanitized modules do not import\n{found.stderr}")
    for path in map(Path, found.stdout.split()):
        if not path.is_relative_to(LIBRARY) or b"__asan_report_load" not in path.read_bytes():
            _setup.stop(f"not a sanitized module: {path}")
        print(f"sanitizer: testing {path.relative_to(_setup.ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
