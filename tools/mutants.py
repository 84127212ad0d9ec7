#!/usr/bin/env python3
"""Plant the mistakes of mutant_list one by one and show that the suite finds each of them.

`python3 tools/mutants.py [--only NAME...] [--jobs N]` works on scratch copies of the checkout. There the
tests and simulations that the mutants name must pass; then each mutant is put in, and its own must fail. The
table says which did, and the processor time that it took. The exit code is 1 if a mutant survives, 2 if one
does not apply, compile or import, or if a command fails without any mutant.
"""

import argparse
import json
import os
import re
import resource
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.util import cache_from_source
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

import _setup

_setup.bootstrap()

from mutant_list import SECTIONS, Mutant

PYTHON = str(_setup.PYTHON)
# The seed: what kills a mutant today kills it tomorrow.
PYTEST = f"{PYTHON} -m pytest -x -q -p no:benchmark -p no:cacheprovider --hypothesis-seed=0"

RUN_TOOL = """
import runpy, sys, types
setup = types.ModuleType("_setup")
setup.bootstrap = lambda: None
sys.modules["_setup"] = setup
sys.argv = sys.argv[1:]
sys.path.insert(0, "tools")
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a tool of a copy, which has no .venv of its own and must not make one."""

CPU_LEAST_S = 30
CPU_FACTOR = 8
"""A run may take so much processor time, or so many times that of the unmutated one: then it has hung."""

WALL_MAX_S = 900
MEMORY_MAX = 4 << 30
ENDLESS = (-signal.SIGXCPU, -signal.SIGKILL)
FAILURE = re.compile(r"^(?:(?:FAILED|ERROR) (\S+::.+?)(?: - .*)?|VIOLATION (.+))$", re.MULTILINE)
TAIL_LINES = 30

Command = tuple[str, ...]
T = TypeVar("T")


class MutantsError(Exception):
    """Nothing can be said of a mutant, or of all of them."""


class Run(NamedTuple):
    """A command that has ended. code: exit status, negative for a signal."""

    code: int
    output: str
    cpu_s: float


class Verdict(NamedTuple):
    """What became of a mutant. killed_by: the first failing test or violation, empty if it survives."""

    mutant: Mutant
    killed_by: str
    cpu_s: float


def main() -> int:
    """Plant them; 1 if one survives, 2 if nothing can be said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutants alone")
    parser.add_argument("--list", action="store_true", help="say what there is, and plant nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="copies at work")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each, and one of sums")
    parser.add_argument(
        "--from", dest="source", metavar="FILE", help="another list: a Python file's SECTIONS"
    )
    options = parser.parse_args()
    try:
        sections = runpy.run_path(options.source)["SECTIONS"] if options.source else SECTIONS
        chosen = choose(sections, options.only)
        if options.list:
            print_list(sections, chosen)
            return 0
        check_applies(chosen)
        return plant(chosen, options.jobs, as_json=options.json)
    except MutantsError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2


def choose(sections: dict[str, tuple[Mutant, ...]], names: Sequence[str] | None) -> list[Mutant]:
    """The mutants of these names, or all."""
    known = {mutant.name: mutant for mutants in sections.values() for mutant in mutants}
    if len(known) != sum(map(len, sections.values())):
        raise MutantsError("two mutants have one name")
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise MutantsError(f"no mutant of this name: {' '.join(unknown)}")
    return [mutant for name, mutant in known.items() if names is None or name in names]


def check_applies(mutants: Sequence[Mutant]) -> None:
    """Each must change one place of the checkout."""
    wrong = []
    for mutant in mutants:
        path = _setup.ROOT / mutant.file
        count = path.read_text().count(mutant.old) if path.is_file() else 0
        if count != 1 or mutant.old == mutant.new:
            wrong.append(f"  {mutant.name}: its text is {count} times in {mutant.file}")
    if wrong:
        raise MutantsError("these do not apply any more\n" + "\n".join(wrong))


def plant(mutants: Sequence[Mutant], jobs: int, *, as_json: bool) -> int:
    """Run what must pass, then each mutant; print the table."""
    started = time.monotonic()
    with TemporaryDirectory(prefix="cherrydag-mutants-") as folder:
        copies = [Copy(Path(folder) / str(number)) for number in range(min(jobs, len(mutants)))]
        commands = list(dict.fromkeys(command_of(mutant) for mutant in mutants))
        runs = spread([partial(baseline, command=command) for command in commands], copies)
        passed = dict(zip(commands, runs, strict=True))
        spent_s = sum(run.cpu_s for run in passed.values())
        if not as_json:
            print(f"unmutated: {len(commands)} commands pass, {spent_s:.0f} s of processor time", flush=True)
        verdicts = []
        for verdict in spread([partial(judge, mutant=mutant, passed=passed) for mutant in mutants], copies):
            print_verdict(verdict, max(len(mutant.name) for mutant in mutants), as_json=as_json)
            verdicts.append(verdict)
    survivors = [verdict.mutant for verdict in verdicts if not verdict.killed_by]
    spent_s += sum(verdict.cpu_s for verdict in verdicts)
    wall_s = time.monotonic() - started
    if as_json:
        names = [mutant.name for mutant in survivors]
        sums = {"mutants": len(mutants), "killed": len(mutants) - len(survivors), "survivors": names}
        print(json.dumps({**sums, "cpu_s": round(spent_s, 1), "wall_s": round(wall_s, 1)}))
    else:
        print(
            f"{len(mutants)} mutants, {len(mutants) - len(survivors)} killed, {len(survivors)} survive; ",
            end="",
        )
        print(f"{spent_s:.0f} s of processor time, {wall_s:.0f} s")
        for mutant in survivors:
            print(f"SURVIVES {mutant.name} ({mutant.file}): {mutant.breaks}")
    return 1 if survivors else 0


class Copy:
    """A scratch copy of the checkout with its built modules. For one thread at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=_setup.ROOT, capture_output=True, text=True, check=True).stdout
        for name in listed.split("\0"):
            if (_setup.ROOT / name).is_file():
                self._take(name)
        for module in sorted((_setup.ROOT / "engine").rglob("*.so")):
            self._take(str(module.relative_to(_setup.ROOT)))
        seen = self.run((PYTHON, "-c", "import cherrydag; print(cherrydag.__file__)"), CPU_LEAST_S)
        if not Path(seen.output.strip()).is_relative_to(root / "engine"):
            raise MutantsError(f"a copy would test another package than its own: {seen.output.strip()}")

    def run(self, command: Command, cpu_max_s: float) -> Run:
        """Run a command in the copy, with the copy's package, to its end or its limit."""
        log = self.root / "build" / "output"
        log.parent.mkdir(exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(self.root / "engine")}
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=self.root, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (int(cpu_max_s), int(cpu_max_s) + 5))
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (MEMORY_MAX, MEMORY_MAX))
        alarm = threading.Timer(WALL_MAX_S, process.kill)
        alarm.start()
        _, status, usage = os.wait4(process.pid, 0)
        alarm.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        return Run(process.returncode, log.read_text(errors="replace"), usage.ru_utime + usage.ru_stime)

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[float]:
        """The copy with this mutant, its module rebuilt if it is native; afterwards as it was.

        Gives the processor time of the build.
        """
        path = self.root / mutant.file
        text = path.read_text()
        path.write_text(text.replace(mutant.old, mutant.new))
        self._forget(path)
        try:
            yield self._build(mutant) if mutant.module else 0.0
        finally:
            path.write_text(text)
            self._forget(path)
            for built in (_setup.ROOT / "engine").rglob(f"{mutant.module or '-'}.*.so"):
                self._take(str(built.relative_to(_setup.ROOT)))

    def _take(self, name: str) -> None:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(_setup.ROOT / name, target)

    def _forget(self, path: Path) -> None:
        """Bytecode is told from its source by second and size alone: two mutants may have both in common."""
        if path.suffix == ".py":
            Path(cache_from_source(str(path))).unlink(missing_ok=True)

    def _build(self, mutant: Mutant) -> float:
        setup = f"{PYTHON} setup.py -q build_ext --inplace --force"
        run = self.run(("env", f"CHERRYDAG_MODULES={mutant.module}", *shlex.split(setup)), WALL_MAX_S)
        if run.code:
            raise MutantsError(f"{mutant.name}: {mutant.file} does not compile\n{tail(run.output)}")
        return run.cpu_s


def spread(pieces: Sequence[Callable[[Copy], T]], copies: Sequence[Copy]) -> Iterator[T]:
    """The results of pieces of work, in order; each has a copy for itself meanwhile."""
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def do(piece: Callable[[Copy], T]) -> T:
        copy = free.get()
        try:
            return piece(copy)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        try:
            yield from pool.map(do, pieces)
        finally:
            pool.shutdown(cancel_futures=True)


def command_of(mutant: Mutant) -> Command:
    """What is to kill it: a tool with its arguments, or tests."""
    words = shlex.split(mutant.killer)
    if words[0].startswith("tools/"):
        return (PYTHON, "-c", RUN_TOOL, *words)
    return (*shlex.split(PYTEST), *words)


def baseline(copy: Copy, command: Command) -> Run:
    """The command without a mutant, which must pass."""
    run = copy.run(command, WALL_MAX_S)
    if run.code:
        words = shlex.join(command[command.index(RUN_TOOL) + 1 :] if RUN_TOOL in command else command)
        raise MutantsError(f"without a mutant this fails with status {run.code}: {words}\n{tail(run.output)}")
    return run


def judge(copy: Copy, mutant: Mutant, passed: dict[Command, Run]) -> Verdict:
    """Plant a mutant in the copy and run what is to kill it."""
    command = command_of(mutant)
    with copy.mutated(mutant) as build_s:
        run = copy.run(command, max(CPU_LEAST_S, CPU_FACTOR * passed[command].cpu_s))
    spent_s = build_s + run.cpu_s
    if run.code == 0:
        return Verdict(mutant, "", spent_s)
    failure = FAILURE.search(run.output)
    if run.code == 1 and failure is not None:
        return Verdict(mutant, failure[1] or failure[2], spent_s)
    if run.code in ENDLESS:
        return Verdict(mutant, f"no end within {CPU_FACTOR} times as long", spent_s)
    raise MutantsError(f"{mutant.name}: exit status {run.code} tells nothing\n{tail(run.output)}")


def print_list(sections: dict[str, tuple[Mutant, ...]], chosen: Sequence[Mutant]) -> None:
    """Name and meaning of each, by section."""
    for title, mutants in sections.items():
        listed = [mutant for mutant in mutants if mutant in chosen]
        if listed:
            print(title)
        for mutant in listed:
            print(f"  {mutant.name:32} {mutant.breaks}")


def print_verdict(verdict: Verdict, width: int, *, as_json: bool) -> None:
    """A row of the table, or a line of JSON."""
    mutant, killed_by, cpu_s = verdict
    if as_json:
        facts = {"name": mutant.name, "file": mutant.file, "breaks": mutant.breaks}
        print(json.dumps({**facts, "killed_by": killed_by or None, "cpu_s": round(cpu_s, 2)}), flush=True)
    else:
        print(f"{mutant.name:{width}} {cpu_s:6.1f} s  {killed_by or 'SURVIVES'}", flush=True)


def tail(output: str) -> str:
    """The last lines of an output."""
    return "\n".join(output.rstrip().splitlines()[-TAIL_LINES:])


if __name__ == "__main__":
    sys.exit(main())
