#!/usr/bin/env python3
"""Fuzz the native code: `python3 tools/fuzz.py [TARGET ...] [--seconds N] [--seed S] [--json]`, or a node:
`python3 tools/fuzz.py live [--cases N] [--seed S] [--case K] [--json]`.

A target is tests/fuzz/fuzz_NAME.c with a LLVMFuzzerTestOneInput; TARGET is NAME or the path of such a
file. Each is linked with the C code of ext/, built with AddressSanitizer, UndefinedBehaviorSanitizer and
the invariant checks, and driven by libFuzzer where clang is, else by tests/fuzz/driver.c. A finding is
written to build/fuzz/, its replay command is printed, and the exit status is 1.

"live" starts four of five validators as processes and says N cases (default 100,000) to one of them, over
links under keys of strangers and of the fifth validator and over the API; --case says one of them alone.
"""

import argparse
import ast
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import _setup

_setup.bootstrap()

ROOT = _setup.ROOT
FOLDER = ROOT / "tests" / "fuzz"
BUILD = _setup.BUILD / "fuzz"
CFLAGS = [
    "-std=gnu11",
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fno-strict-aliasing",
    "-DCD_VERIFY",
    "-Iext",
]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


@dataclass(frozen=True, slots=True)
class Compiler:
    """What builds the targets, and how it counts coverage."""

    command: str
    coverage: list[str]
    link: list[str]
    driver: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One target's run."""

    target: str
    executions: int
    seconds: float
    corpus: int
    findings: list[str]
    output: str


def main() -> int:
    """Build and run every target that was asked for; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="a name, or the path of a C file")
    parser.add_argument("--seconds", type=float, default=10, help="for each target (default 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object per target")
    parser.add_argument("--cases", type=int, default=100_000, help="of live (default 100,000)")
    parser.add_argument("--case", type=int, help="of live: this one alone")
    options = parser.parse_args()
    if options.targets == ["live"]:
        first, count = (0, options.cases) if options.case is None else (options.case, 1)
        return live(options.seed, first, count, options.json)
    targets = find_targets(options.targets)
    compiler = find_compiler()
    with _setup.locked():
        programs = build(compiler, targets)
    found = False
    for name, program in programs.items():
        result = fuzz(name, program, options.seconds, options.seed)
        report(result, program, compiler, options.json)
        found |= bool(result.findings)
    return int(found)


def live(seed: int, first: int, count: int, as_json: bool) -> int:
    """Fuzz a live node."""
    from attacks.live import run_live

    return run_live(seed, first, count, as_json=as_json)


def find_targets(wanted: list[str]) -> dict[str, Path]:
    """Names and C files of the targets; all of them if none is named."""
    known = {path.stem.removeprefix("fuzz_"): path for path in sorted(FOLDER.glob("fuzz_*.c"))}
    if not wanted:
        return known
    targets = {}
    for word in wanted:
        path = known.get(word, Path(word))
        if not path.is_file():
            sys.exit(f"fuzz: no target {word}; there are: {', '.join(known) or 'none'}")
        targets[path.stem.removeprefix("fuzz_")] = path.resolve()
    return targets


def find_compiler() -> Compiler:
    """Use clang, which brings libFuzzer, or gcc with our own driver."""
    if clang := shutil.which("clang"):
        return Compiler(clang, ["-fsanitize=fuzzer-no-link"], ["-fsanitize=fuzzer"], driver=False)
    return Compiler(os.environ.get("CC") or "gcc", ["-fsanitize-coverage=trace-pc"], [], driver=True)


def isa_flags() -> dict[str, list[str]]:
    """Read ISA_FLAGS from setup.py, which cannot be imported without starting a build."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ISA_FLAGS":
            table: dict[str, list[str]] = ast.literal_eval(node.value)
            return table if platform.machine() in ("x86_64", "AMD64") else {}
    sys.exit("fuzz: setup.py has no ISA_FLAGS")


def build(compiler: Compiler, targets: dict[str, Path]) -> dict[str, Path]:
    """Compile the C code that the targets use once, then link a program for each target."""
    started = time.monotonic()
    objects = BUILD / Path(compiler.command).name
    objects.mkdir(parents=True, exist_ok=True)
    newest_header = max(path.stat().st_mtime for path in [*ROOT.glob("ext/**/*.h"), ROOT / "setup.py"])
    isa = isa_flags()

    def compile_one(source: Path, instruments: list[str]) -> Path:
        target = objects / ("_".join(source.parts[-2:]) + ".o")
        if target.exists() and target.stat().st_mtime > max(source.stat().st_mtime, newest_header):
            return target
        flags = [flag for suffix, flags in isa.items() if source.stem.endswith(suffix) for flag in flags]
        execute([compiler.command, *CFLAGS, *instruments, *flags, "-c", str(source), "-o", str(target)])
        return target

    instruments = [*SANITIZERS, *compiler.coverage]
    folders = folders_used(targets.values())
    files = [path for folder in folders for path in sorted((ROOT / "ext" / folder).glob("*.c"))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = [str(part) for part in pool.map(lambda path: compile_one(path, instruments), files)]
    library = objects / "library.a"
    library.unlink(missing_ok=True)
    execute(["ar", "rcs", str(library), *parts])
    driver = [str(compile_one(FOLDER / "driver.c", ["-O2"]))] if compiler.driver else []
    link = [compiler.command, *SANITIZERS, *compiler.link, "-pthread"]
    programs = {}
    for name, source in targets.items():
        programs[name] = objects / f"fuzz_{name}"
        target = compile_one(source, instruments)
        execute([*link, str(target), *driver, str(library), "-o", str(programs[name])])
    how = "our driver" if compiler.driver else "libFuzzer"
    spent = time.monotonic() - started
    print(f"fuzz: built with {compiler.command} and {how}, {spent:.1f} s", file=sys.stderr)
    return programs


def folders_used(files: Iterable[Path]) -> list[str]:
    """The folders of ext/ whose headers these files include, and what those folders need in turn."""
    folders: set[str] = set()
    waiting = list(files)
    while waiting:
        text = waiting.pop().read_text()
        for folder in set(re.findall(r'^#include "(\w+)/', text, re.MULTILINE)) - folders:
            folders.add(folder)
            waiting += (ROOT / "ext" / folder).glob("*.[ch]")
    return sorted(folders)


def execute(command: list[str]) -> None:
    """Run a compiler; its complaint ends the run."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"fuzz: {shlex.join(command)}\n{done.stderr}")


def fuzz(name: str, program: Path, seconds: float, seed: int) -> Result:
    """Run one target on its corpus: the seeds under tests/fuzz/corpus/NAME, and what earlier runs kept."""
    corpus = BUILD / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for path in (FOLDER / "corpus" / name).glob("*"):
        shutil.copy(path, corpus)
    prefix = f"{BUILD.relative_to(ROOT)}/{name}-"
    started = time.monotonic()
    limits = [f"-seed={seed}", f"-max_total_time={seconds:g}", f"-artifact_prefix={prefix}"]
    command = [str(program), *limits, "-print_final_stats=1", str(corpus)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    spent = time.monotonic() - started
    executions = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    findings = re.findall(r"(?:artifact:|Test unit written to) (\S+)", done.stderr)
    if done.returncode and not findings:
        findings = ["(no input was saved)"]
    count = len(list(corpus.iterdir()))
    return Result(name, int(executions[1]) if executions else 0, spent, count, findings, done.stderr)


def report(result: Result, program: Path, compiler: Compiler, as_json: bool) -> None:
    """One line a target; a finding comes with the sanitizer's words and how to replay it."""
    if as_json:
        facts = {
            "target": result.target,
            "executions": result.executions,
            "seconds": round(result.seconds, 2),
            "corpus": result.corpus,
            "findings": result.findings,
            "compiler": Path(compiler.command).name,
        }
        print(json.dumps(facts), flush=True)
    else:
        verdict = "FOUND" if result.findings else "ok"
        figures = f"{result.executions:>10,} executions {result.seconds:6.1f} s  corpus {result.corpus}"
        print(f"{result.target:20} {verdict:6} {figures}", flush=True)
    for finding in result.findings:
        print(result.output.strip()[-4000:], file=sys.stderr)
        print(f"fuzz: {finding}\n  replay: {program.relative_to(ROOT)} {finding}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
