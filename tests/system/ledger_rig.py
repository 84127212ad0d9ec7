"""Kills a process that runs a whole ledger under load, again and again, and looks at what it left.

The parent keeps what each process told (`Told`); the next one, forked with it, holds the ledger to it. One
cycle is one process. Kills fall under load, at any moment of a start, or into the making of a new ledger.
"""

import os
import random
import select
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from system.ledger_worker import Block, Outcome, Task, Told, serve

STUCK_S: Final = 120.0
"""A process that has got nothing done for so long is a finding."""

LOAD_LINES, LOAD_S = 60, 0.05
"""A kill under load comes after up to so many acknowledgements, and up to that time."""

CHECKPOINTS: Final = (64, 256, 2000)
"""Transactions between two checkpoints, by the cycle."""

PREFLIGHT_SHARE, CLOSE_SHARE, START_SHARE, BIRTH_SHARE = 0.1, 0.05, 0.25, 0.06

START_MS: Final = 300
"""How long a start is thought to take before one has been seen."""


class Moment(StrEnum):
    """When a process is ended."""

    LOAD = "load"
    """Some time after its first acknowledgement."""
    START = "start"
    """At any moment of its start."""
    CLOSE = "close"
    """It is told to close, under load."""
    BIRTH = "birth"
    """While it makes a new ledger."""


@dataclass(slots=True)
class Crashes:
    """cycles: processes. moments: how they were ended. loaded, progress: those that were to do something, and
    of them those that acknowledged anything. ready_ms, replayed: of the starts. restored: starts from a
    checkpoint. findings: broken promises."""

    cycles: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    loaded: int = 0
    progress: int = 0
    acknowledged: int = 0
    commits: int = 0
    restored: int = 0
    unfinished: int = 0
    ready_ms: list[int] = field(default_factory=list)
    replayed: list[int] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def crash(cycles: int, seed: int, folder: Path | None = None) -> Crashes:
    """End a ledger `cycles` times, then look at all of it."""
    rng = random.Random(seed)
    crashes = Crashes()
    with tempfile.TemporaryDirectory() as scratch:
        base = folder or Path(scratch)
        subject = _Subject(base / "ledger", rng, crashes)
        while crashes.cycles < cycles and len(crashes.findings) < 20:
            if rng.random() < BIRTH_SHARE:
                _birth(base / f"new-{crashes.cycles}", rng, crashes)
            else:
                subject.cycle(_moment(rng))
        subject.finish()
        crashes.unfinished = len(list(base.glob(".*.new")))
    return crashes


def _moment(rng: random.Random) -> Moment:
    drawn = rng.random()
    if drawn < CLOSE_SHARE:
        return Moment.CLOSE
    return Moment.START if drawn < CLOSE_SHARE + START_SHARE else Moment.LOAD


def _birth(folder: Path, rng: random.Random, crashes: Crashes) -> None:
    """A new ledger, whose making is cut off; it must come to life all the same."""
    subject = _Subject(folder, rng, crashes)
    subject.cycle(Moment.BIRTH)
    subject.cycle(Moment.LOAD)
    subject.finish()
    shutil.rmtree(folder)


class _Subject:
    """One ledger's folder and what it has told."""

    def __init__(self, folder: Path, rng: random.Random, crashes: Crashes) -> None:
        self._folder = folder
        self._rng = rng
        self._crashes = crashes
        self._told = Told()

    def cycle(self, moment: Moment) -> None:
        """Run a process and end it."""
        crashes = self._crashes
        number = crashes.cycles
        crashes.cycles += 1
        crashes.moments[moment] += 1
        process = _Process(self._task(is_whole=False), self._told)
        is_loaded = moment in (Moment.LOAD, Moment.CLOSE)
        words: list[str] = []
        if is_loaded:
            crashes.loaded += 1
            if not process.read_until("final", STUCK_S, self._rng.randint(1, LOAD_LINES)):
                words.append(f"it ended by itself, or was stuck for {STUCK_S} s")
            process.read_for(self._rng.uniform(0, LOAD_S))
        elif moment is Moment.BIRTH:  # its first part is making the folder
            process.read_for(self._rng.random() ** 2 * self._ready_s())
        else:
            process.read_for(self._rng.uniform(0, 1.2) * self._ready_s())
        if moment is Moment.CLOSE:
            process.signal(signal.SIGTERM)
            if not process.read_until("closed", STUCK_S):
                words.append(f"not closed within {STUCK_S} s")
        before = len(self._told.finals)
        words += self._take(process.end())
        crashes.progress += is_loaded and len(self._told.finals) > before
        crashes.findings += [f"cycle {number} ({moment}): {finding}" for finding in words]

    def _ready_s(self) -> float:
        """How long a start takes here: the median of all."""
        known = sorted(self._crashes.ready_ms) or [START_MS]
        return known[len(known) // 2] / 1e3

    def finish(self) -> None:
        """Hold the ledger to all that it has told, in peace."""
        process = _Process(self._task(is_whole=True), self._told)
        words: list[str] = []
        if not process.read_until("closed", 10 * STUCK_S):
            words.append("the last check did not come to its end")
        words += self._take(process.end())
        self._crashes.findings += [f"at the end: {finding}" for finding in words]
        self._crashes.acknowledged += len(self._told.finals)
        self._crashes.commits += len(self._told.blocks)

    def _task(self, is_whole: bool) -> Task:
        rng = self._rng
        return Task(
            self._folder,
            rng.getrandbits(32),
            rng.choice(CHECKPOINTS),
            rng.random() < PREFLIGHT_SHARE,
            is_whole,
        )

    def _take(self, lines: list[str]) -> list[str]:
        """Remember what a process told; what contradicts what was told before."""
        told, crashes, found = self._told, self._crashes, []
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "found":
                found.append(rest)
            elif word == "root":
                index, root = rest.split(" ")
                found += self._check_root(int(index), root)
            elif word == "commit":
                index, *block = rest.split(" ")
                found += self._check_block(int(index), Block(*block))
            elif word == "ready":
                ready_ms, replayed, last = map(int, rest.split(" "))
                crashes.ready_ms.append(ready_ms)
                crashes.replayed.append(replayed)
                crashes.restored += replayed < last
            elif word == "checked":
                told.fresh.clear()
            elif word == "final":
                for item in rest.split(" "):
                    name, place, status = item.split(":")
                    told.finals[bytes.fromhex(name)] = Outcome(int(place), int(status))
                    told.fresh.append(bytes.fromhex(name))
        return found

    def _check_block(self, index: int, block: Block) -> list[str]:
        """A commit that is executed again, in a replay, is the one that was told, with the same root."""
        told = self._told.blocks.setdefault(index, block)
        return [] if block == told else [f"commit {index} is {block}, told {told}"]

    def _check_root(self, index: int, root: str) -> list[str]:
        """The state that a start begins with is the one that was told for its commit."""
        block = self._told.blocks.get(index)
        told = block.root if block else self._told.roots.setdefault(index, root)
        return [] if root == told else [f"the state of commit {index} has root {root}, told {told}"]


class _Process:
    """A forked worker and the lines that it has written."""

    def __init__(self, task: Task, told: Told) -> None:
        self._data = bytearray(b"\n")
        self._reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._reading)
            serve(task, told, writing)
        os.close(writing)

    def read_until(self, word: str, limit_s: float, lines: int = 1) -> bool:
        """Read until so many lines begin with the word; whether they do. Ends early if the process does."""
        end, wanted = time.monotonic() + limit_s, f"\n{word}".encode()
        while self._data.count(wanted) < lines and time.monotonic() < end:
            if not self._read(end - time.monotonic()):
                break
        return self._data.count(wanted) >= lines

    def read_for(self, seconds: float) -> None:
        """Let it run for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not self._read(left):
                time.sleep(max(0.0, end - time.monotonic()))

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self._pid, number)

    def end(self) -> list[str]:
        """Kill it; all lines that it wrote whole."""
        self.signal(signal.SIGKILL)
        while self._read(STUCK_S):
            pass
        os.close(self._reading)
        os.waitpid(self._pid, 0)
        return self._data.decode().split("\n")[1:-1]

    def _read(self, timeout_s: float) -> bool:
        """Read what comes within that time; False at the end of what can come."""
        ready, _, _ = select.select([self._reading], [], [], max(0.0, timeout_s))
        if not ready:
            return True
        data = os.read(self._reading, 1 << 16)
        self._data += data
        return bool(data)
