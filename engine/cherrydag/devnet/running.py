"""A devnet from its first process to its last: started, watched, told of, and taken down."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, Self

from cherrydag.address import address_of
from cherrydag.client import AsyncClient
from cherrydag.devnet.apart import apart
from cherrydag.devnet.bonding import place_bonds
from cherrydag.devnet.figures import Figures, LoadFigures
from cherrydag.devnet.folder import (
    BONDS,
    PROBE,
    USER,
    Devnet,
    DevnetNode,
    DevnetSpec,
    create_devnet,
    is_devnet,
    load_devnet,
)
from cherrydag.devnet.load import LoadSpec, decode_figures, run_load
from cherrydag.devnet.processes import ChildProcess, age_s, preload
from cherrydag.devnet.temporary import temporary_folder
from cherrydag.devnet.view import Ended, Started, View
from cherrydag.devnet.watch import Member, Prober, Watch
from cherrydag.errors import CherrydagError
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import VALIDATOR, Home

READY_S: Final = 60.0
"""How long a network may take to be ready."""

STOP_S: Final = 15.0
"""How long a node may take to stop; then it is killed."""

_POLL_S: Final = 0.05
_TELL_S: Final = 1.0
_LOAD: Final = "load"
_LOG_LINES: Final = 8
_PIPE_BYTES: Final = 1 << 16

RunNode = Callable[[DevnetNode], int]
"""What a node's process does, in that process: `cherrydag run`. Its exit code."""


class DevnetError(CherrydagError, ConnectionError):
    """A devnet did not come up, or did not stay up."""


@dataclass(frozen=True, slots=True)
class DevnetOptions:
    """folder: where it lies, and stays; one that is there is continued. None: a temporary one. load:
    transfers a second, for load_s, 0 for without an end. duration_s: 0 for until it is told to stop, or
    load_s is over. delay_ms: of each packet between two nodes, one way."""

    spec: DevnetSpec
    folder: Path | None = None
    load: int = 0
    load_s: float = 0.0
    duration_s: float = 0.0
    delay_ms: float = 0.0


@dataclass(slots=True)
class Outcome:
    """How it went. ended: names of processes that ended by themselves, though they should not; was_told:
    whether a signal has stopped it; figures: the last ones."""

    ended: list[str]
    was_told: bool = False
    figures: Figures | None = None


Check = Callable[[Devnet], Awaitable[None]]
"""Called at the end, while all nodes are up."""


def run_devnet(options: DevnetOptions, run_node: RunNode, view: View, check: Check | None = None) -> Outcome:
    """Start it, show it until SIGINT, SIGTERM or the end of its duration, and stop it. DevnetError if it does
    not come up. Must be called where there are no threads and is no event loop."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would not be forked, but waited for
    with (
        _told_to_stop(),
        _devnet_of(options) as made,
        apart(made, options.delay_ms) as (devnet, enter),
        _Processes() as processes,
    ):
        preload()
        members = [
            Member(node, processes.start_node(node, run_node, partial(enter, number)))
            for number, node in enumerate(devnet.nodes)
        ]
        if options.load:
            processes.start_load(devnet, options)
        run = _Run(devnet, options, view, members, processes)
        return asyncio.run(run.run(check))


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """SIGTERM is as good as Ctrl-C, also before there is a loop."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt), signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


@contextmanager
def _devnet_of(options: DevnetOptions) -> Iterator[Devnet]:
    if options.folder is not None:
        if is_devnet(options.folder):
            yield load_devnet(options.folder)
        else:
            yield create_devnet(options.folder, options.spec, _now_ms())
        return
    with temporary_folder() as folder:
        yield create_devnet(folder / "devnet", options.spec, _now_ms())


def _now_ms() -> TimestampMs:
    return TimestampMs(time.time_ns() // 1_000_000)


class _Processes:
    """All children; leaving the block ends those that run."""

    def __init__(self) -> None:
        self.nodes: list[ChildProcess] = []
        self.load: ChildProcess | None = None
        self.load_pipe = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        until_s = time.monotonic() + STOP_S

        def hurry(*_: object) -> None:
            nonlocal until_s
            until_s = 0.0

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, hurry)
        children = [*self.nodes, *([self.load] if self.load is not None else [])]
        for child in children:
            child.send(signal.SIGTERM)
        for child in children:
            while child.poll() is None and time.monotonic() < until_s:
                time.sleep(_POLL_S)
            child.send(signal.SIGKILL)
            child.wait()
        if self.load_pipe >= 0:
            os.close(self.load_pipe)

    def start_node(self, node: DevnetNode, run_node: RunNode, enter: Callable[[], None]) -> ChildProcess:
        """Fork it. enter: called there first."""

        def main() -> int:
            enter()
            return run_node(node)

        child = ChildProcess(node.name, node.log, main)
        self.nodes.append(child)
        return child

    def start_load(self, devnet: Devnet, options: DevnetOptions) -> None:
        """Fork it. What it tells comes through load_pipe."""
        urls = tuple(node.url for node in devnet.nodes if node.takes_transactions)
        spec = LoadSpec(options.load, urls, devnet.load_spec(), options.load_s)
        self.load_pipe, writing = os.pipe()
        self.load = ChildProcess(_LOAD, devnet.log(_LOAD), lambda: run_load(spec, writing))
        os.close(writing)
        os.set_blocking(self.load_pipe, False)


class _Run:
    """While all processes are there."""

    def __init__(
        self,
        devnet: Devnet,
        options: DevnetOptions,
        view: View,
        members: Sequence[Member],
        processes: _Processes,
    ) -> None:
        self._devnet = devnet
        self._options = options
        self._view = view
        self._members = members
        self._processes = processes
        self._outcome = Outcome([])
        self._load_figures: LoadFigures | None = None
        self._load_line = b""
        self._is_up = False

    async def run(self, check: Check | None) -> Outcome:
        self._stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        for member in self._members:
            member.process.watch(self._on_end)
        if self._processes.load is not None:
            self._processes.load.watch(self._on_end)
            loop.add_reader(self._processes.load_pipe, self._on_load)
        home = self._devnet.home
        to = address_of(self._devnet.key(USER).public_key)
        prober = Prober(self._members, home.genesis.chain(), self._devnet.key(PROBE), to)
        watch = Watch(self._members, prober)
        try:
            await self._until_ready(watch)
            if not self._outcome.was_told:
                await self._bond_operators()
                self._is_up = True
                self._view.started(self._started(age_s()))
                await watch.begin()
                prober.start()
                await self._show(watch)
                if check is not None and not self._outcome.ended and not self._outcome.was_told:
                    await check(self._devnet)
        finally:
            self._view.close()
            await prober.close()
            await watch.close()
            if self._processes.load is not None:
                loop.remove_reader(self._processes.load_pipe)
        return self._outcome

    async def _until_ready(self, watch: Watch) -> None:
        until_s = time.monotonic() + READY_S
        while not self._outcome.was_told and not await watch.ready():
            for process in (member.process for member in self._members):
                if not process.is_running:
                    told = "; ".join(process.last_lines(_LOG_LINES)) or "it said nothing"
                    raise DevnetError(f"{process.name} ended with {process.code} before it was ready: {told}")
            if time.monotonic() > until_s:
                raise DevnetError(f"devnet: not all nodes were ready within {READY_S:.0f} s")
            await asyncio.sleep(_POLL_S)

    async def _bond_operators(self) -> None:
        """Those that have no bond yet; a devnet that is continued has placed them."""
        nodes = self._devnet.nodes
        async with AsyncClient(nodes[0].url) as client:
            keys = [Home.load(node.folder).key(VALIDATOR) for node in nodes if node.is_operator]
            if keys and not (await client.account(address_of(self._devnet.key(BONDS).public_key))).next_nonce:
                await place_bonds(nodes[0].url, self._devnet.key(BONDS), keys)

    async def _show(self, watch: Watch) -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        for second in count(1):
            due_s = begin_s + second * _TELL_S
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    await self._stop.wait()
            is_last = self._stop.is_set()  # what happens while the nodes are asked is not in these figures
            self._outcome.figures = figures = await watch.figures(self._load_figures)
            self._view.figures(figures)
            if is_last or 0 < self._options.duration_s <= figures.time_s:
                return

    def _on_signal(self) -> None:
        self._outcome.was_told = True
        self._stop.set()

    def _on_end(self, process: ChildProcess) -> None:
        """A child has ended while the network runs."""
        if process is self._processes.load:
            with suppress(BlockingIOError):
                self._on_load()  # its last words
        is_done = process is self._processes.load and process.code == 0
        if not is_done:
            self._outcome.ended.append(process.name)
            if self._is_up:
                self._view.ended(self._ended(process))
        if not any(member.process.is_running for member in self._members) or (
            process is self._processes.load and self._options.load_s
        ):
            self._stop.set()

    def _on_load(self) -> None:
        told = os.read(self._processes.load_pipe, _PIPE_BYTES)
        if not told:
            asyncio.get_running_loop().remove_reader(self._processes.load_pipe)
        *lines, self._load_line = (self._load_line + told).split(b"\n")
        if lines:
            self._load_figures = decode_figures(lines[-1])

    def _ended(self, process: ChildProcess) -> Ended:
        commands = {node.name: node.command for node in self._devnet.nodes}
        restart = commands.get(process.name, "")
        lines = process.last_lines(_LOG_LINES)
        return Ended(process.name, process.code or 0, str(process.log), lines, restart)

    def _started(self, seconds: float) -> Started:
        devnet = self._devnet
        nodes = devnet.nodes
        sender = f"--keystore {devnet.key_file(USER).parent} --from {USER}"
        return Started(
            seconds,
            str(devnet.folder),
            self._options.folder is not None,
            [(node.name, node.url, node.peers) for node in nodes],
            devnet.address(USER),
            str(devnet.key_file(USER)),
            devnet.home.genesis.digest.hex(),
            (
                ("faucet", f"cherrydag faucet {nodes[0].url} ADDRESS"),
                ("send", f"cherrydag send {nodes[0].url} {sender} --to ADDRESS --amount 5coin"),
                ("look", f"cherrydag status {nodes[0].url}"),
            ),
            self._options.delay_ms,
        )
