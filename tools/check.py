#!/usr/bin/env python3
"""The one developer command: format (Python and C), lint, types, layers and the fast tests.

`python3 tools/check.py` runs every step, shows the output of those that fail and exits 1 if any did.
--fix first applies the formatting and the safe fixes.
"""

import argparse
import subprocess
import sys
import time

import _setup

_setup.bootstrap()

BIN = _setup.VENV / "bin"
C_FILES = [
    str(path) for folder in ("ext", "tests") for path in sorted((_setup.ROOT / folder).rglob("*.[ch]"))
]

STEPS = {
    "C format": [str(BIN / "clang-format"), "--dry-run", "--Werror", *C_FILES],
    "format": [str(BIN / "ruff"), "format", "--check", "."],
    "lint": [str(BIN / "ruff"), "check", "."],
    "types": [str(BIN / "mypy")],
    "layers": [str(BIN / "lint-imports")],
    "tests": [sys.executable, "tools/test.py", "--fast"],
}


def main() -> int:
    """Run every step; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--fix", action="store_true", help="apply formatting and safe fixes first")
    if parser.parse_args().fix:
        subprocess.run([BIN / "clang-format", "-i", *C_FILES], cwd=_setup.ROOT, check=False)
        for fix in (["check", "--fix", "."], ["format", "."]):
            subprocess.run([BIN / "ruff", "--quiet", *fix], cwd=_setup.ROOT, check=False)
    failed = False
    for name, command in STEPS.items():
        started = time.monotonic()
        done = subprocess.run(
            command, cwd=_setup.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        failed |= report(name, done.returncode == 0, done.stdout, started)
    return int(failed)


def report(name: str, passed: bool, output: str, started: float) -> bool:
    """One line a step, and the output if it failed; whether it failed."""
    print(f"{name:8} {'PASS' if passed else 'FAIL'} {time.monotonic() - started:6.1f} s", flush=True)
    if not passed:
        print(output.rstrip(), flush=True)
    return not passed


if __name__ == "__main__":
    sys.exit(main())
