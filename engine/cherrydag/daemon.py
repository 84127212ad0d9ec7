"""A node as a process: its ledger, its peers and its API, from one folder, until it is told to stop.

    mark the start → open (replay) → join the peers, serve the API
                   → a signal: drain → goodbye, durable → unmark

A start that does not end well leaves its mark; after three that got no further the node is only to be read
(safe mode), until an operator says otherwise. So it is after a divergence, in the state that a quorum has
signed.
"""

import asyncio
import gc
import os
import resource
import signal
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple

from cherrydag import __version__
from cherrydag.daemon_options import DaemonOptions
from cherrydag.errors import ConfigError, StorageError
from cherrydag.logs import EventLog, is_level_requested
from cherrydag.rpc.health import readiness
from cherrydag.rpc.server import RpcServer
from cherrydag.runtime.backup_request import BackupDesk
from cherrydag.runtime.clock import Clock
from cherrydag.runtime.evidence import DIVERGED
from cherrydag.runtime.freeze import Freeze
from cherrydag.runtime.home import Home
from cherrydag.runtime.marks import (
    RunInfo,
    RunMark,
    clear_divergence,
    divergence_in,
    enter_safe_mode,
    is_safe_mode,
    leave_safe_mode,
    pid_namespace,
    remove_run_info,
    write_run_info,
)
from cherrydag.runtime.node_runner import RunningNode, start_node
from cherrydag.signing import KeyPair
from cherrydag.watch import Sample, Watch

SAFE_MODE: Final = "safe_mode"
DRAINING: Final = "draining"

LOOK_S: Final = 1.0
"""How often the node is looked at for its log."""

_DRAIN_STEP_S: Final = 0.02
_REPLAY_TOLD_S: Final = 2.0


class Listening(NamedTuple):
    """Where a node is reached; '' where it does not listen. freeze: the code of why it is only to be read."""

    peers: str
    api: str
    freeze: str


class Daemon:
    """One node's process. key: the node's. ready: called whenever it is up. level: reads the log's level
    anew where the configuration comes from; ConfigError if that is not as it must be."""

    def __init__(
        self,
        home: Home,
        options: DaemonOptions,
        log: EventLog,
        key: KeyPair,
        ready: Callable[[Listening], None],
        level: Callable[[], str] | None = None,
    ) -> None:
        self._home = home
        self._options = options
        self._log = log
        self._key = key
        self._ready = ready
        self._level = level
        self._clock = Clock()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._told_s = 0.0
        self._backups = BackupDesk(home.folder)

    async def run(self, *, leaves_safe_mode: bool = False, clears_divergence: bool = False) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP; a second one shortens the drain. Raises what stopped it."""
        mark = RunMark(self._home.folder, self._clock.wall_ms())
        try:
            self._backups.forget()
            self._listen_to_signals()
            _allow_files(self._options.files)
            self._log("start", version=__version__, folder=self._home.folder, process=os.getpid())
            self._clear(mark, safe_mode=leaves_safe_mode, divergence=clears_divergence)
            freeze = self._freeze(mark)
            mark.begin()
            while await self._live(freeze, mark):
                pass
        except BaseException as error:
            # What an operator can mend is no crash: a setting, the disk, an address that is taken.
            if isinstance(error, ConfigError | StorageError | OSError):
                mark.abandon()
            else:
                mark.end(is_well=False)
            self._fail(error)
            raise
        mark.end(is_well=True)
        self._log("stop")
        notify("STOPPING=1\nSTATUS=stopped")

    def _fail(self, error: BaseException) -> None:
        where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
        self._log("failed", error=type(error).__name__, words=str(error), where=where)

    def _clear(self, mark: RunMark, *, safe_mode: bool, divergence: bool) -> None:
        """What an operator says is over."""
        if safe_mode:
            mark.forget()
            leave_safe_mode(self._home.folder)
        found = divergence_in(self._home.folder) if divergence else None
        if found is not None:
            kept = clear_divergence(found)
            self._log("divergence_cleared", commit=found.commit_index, evidence=kept.name)

    def _freeze(self, mark: RunMark) -> Freeze | None:
        """Why the node begins only to be read, if it does."""
        folder = self._home.folder
        if mark.crashes:
            self._log("crashes", count=mark.crashes)
        if mark.is_crash_loop:
            enter_safe_mode(folder, mark.crashes)
        if not is_safe_mode(folder):
            return None
        how = f"cherrydag run {folder} --leave-safe-mode"
        self._log("safe_mode", leave_with=how)
        return Freeze(SAFE_MODE, f"it has crashed too often in a row; once that is understood: {how}")

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_loop_error)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
                loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGUSR1, self._log.cycle_level)
        loop.add_signal_handler(signal.SIGUSR2, self._on_request)

    def _on_stop(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _on_request(self) -> None:
        """Who owns the folder wants something: a backup, another level of the log, or both."""
        target = self._backups.take()
        if target is not None:
            self._log("backup", target=target)
        if target is None or is_level_requested(self._home.folder):
            self._reload_level()

    def _reload_level(self) -> None:
        if self._level is None:
            return
        try:
            self._log.set_level(self._level())
        except (ConfigError, OSError) as error:  # somebody is editing: go on as before
            self._log("config_warning", words=f"the log's level stays: {error}")

    def _on_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._log("loop_error", words=context.get("message", ""), error=repr(error) if error else "")

    # One life: from open to close

    async def _live(self, freeze: Freeze | None, mark: RunMark) -> bool:
        """Open, serve, close; whether to begin again, which is after a divergence."""
        opened = asyncio.ensure_future(self._open(freeze))
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({opened, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not opened.done():  # told to stop while it replays
            opened.cancel()
            with suppress(asyncio.CancelledError):
                await (await opened).close()
            return False
        node = opened.result()
        server = None
        try:
            if self._options.api is not None:
                server = RpcServer(node.ledger, node, self._options.api)
                await server.start()
            self._backups.open(node.ledger.backup)
            self._tell_ready(node, server)
            await self._serve(node, mark)
            if self._stop.is_set():
                await self._drain(node)
        finally:
            remove_run_info(self._home.folder)
            if server is not None:
                await server.close()
            await node.close()
            await self._backups.close()
        return not self._stop.is_set()

    async def _open(self, freeze: Freeze | None) -> RunningNode:
        options = self._options
        node = await start_node(
            self._home, options.network, options.ledger, self._on_replay, self._key, freeze, self._log
        )
        for note in node.ledger.notes:
            self._log("derived_state", words=note)
        return node

    def _on_replay(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if now_s >= self._told_s + _REPLAY_TOLD_S:
            self._told_s = now_s
            self._log("replaying", commit=done, of=total)

    def _tell_ready(self, node: RunningNode, server: RpcServer | None) -> None:
        """It is up: for whoever starts it, and for commands that look into the folder."""
        network, freeze = self._options.network, node.ledger.freeze
        peers = ""
        if network.listen is not None and freeze is None:
            peers = _place(network.listen[0], node.peers.transport.port)
        api = ""
        if server is not None and self._options.api is not None:
            api = f"http://{_place(_reached(self._options.api.listen[0]), server.port)}"
            listen = (self._options.api.listen[0], server.port)
            # The same port, should it open anew.
            self._options = replace(self._options, api=replace(self._options.api, listen=listen))
        write_run_info(self._home.folder, RunInfo(os.getpid(), api, peers, pid_namespace()))
        listening = Listening(peers, api, "" if freeze is None else freeze.code)
        host = node.ledger.host
        self._log(
            "listening",
            peers=peers or None,
            api=api or None,
            validator=None if host is None else host.node.me,
            commit=node.ledger.books.commit_index,
            replayed=node.ledger.replayed,
            only_reads=listening.freeze or None,
        )
        self._ready(listening)
        # What is here now stays: going through all of it would hold up the loop for 60 ms now and then.
        gc.collect()
        gc.freeze()
        notify("READY=1")

    async def _serve(self, node: RunningNode, mark: RunMark) -> None:
        """Until it is told to stop, or diverges. Raises what has stopped the host."""
        genesis, ledger = self._home.genesis, node.ledger
        expects_commits = len(genesis.validators) > 1 and ledger.freeze is None
        watch = Watch(self._log, expects_commits=expects_commits)
        failed = asyncio.ensure_future(_until_failure(node))
        stopped = asyncio.ensure_future(self._stop.wait())
        before: int | None = ledger.books.commit_index
        try:
            while not self._stop.is_set():
                watch.look(self._sample(node))
                if before is not None and ledger.books.commit_index > before:
                    before = None
                    if mark.got_further():
                        self._log("got_further", commit=ledger.books.commit_index)
                self._log.flush()
                await asyncio.wait({failed, stopped}, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if failed.done():
                    failed.result()
                if ledger.freeze is None and DIVERGED in ledger.refusals:
                    return
        finally:
            failed.cancel()
            stopped.cancel()

    def _sample(self, node: RunningNode) -> Sample:
        disk = os.statvfs(self._home.data)
        return Sample(
            self._clock.now_ms(),
            self._clock.wall_offset_ms(),
            node.ledger.books.commit_index,
            disk.f_bavail * disk.f_frsize,
            tuple(reason.code for reason in readiness(node.ledger, node)),
        )

    async def _drain(self, node: RunningNode) -> None:
        """Take nothing new, and let what was accepted become final, within bounds."""
        ledger = node.ledger
        mempool = ledger.service.mempool
        notify("STOPPING=1\nSTATUS=draining")
        ledger.refusals[DRAINING] = "it stops"
        self._log("drain", waiting=mempool.stats().waiting, taken=mempool.stats().taken)
        if ledger.freeze is not None:
            return
        ends_ms = self._clock.now_ms() + self._options.drain_ms
        while self._clock.now_ms() < ends_ms and not self._hurry.is_set():
            stats, host = mempool.stats(), ledger.host
            if host is None or host.failure is not None:
                return
            if not stats.waiting and not stats.taken and host.is_idle:
                break
            await asyncio.sleep(_DRAIN_STEP_S)
        left = mempool.stats()
        if left.waiting or left.taken:
            self._log("drain", unsettled=left.waiting + left.taken)


async def _until_failure(node: RunningNode) -> None:
    while True:
        await node.ledger.service.progress()


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reached(host: str) -> str:
    """Where this machine reaches what listens there."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is compared


def _allow_files(needed: int) -> None:
    """So many descriptors, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def notify(text: str) -> None:
    """Tell the service manager, if it asks to be told (sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
            unix.sendto(text.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
