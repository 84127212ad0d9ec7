"""A network of real processes on this machine: the folders of its validators, and the validators."""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cherrydag.address import Network, address_of
from cherrydag.bench.node_api import NodeApi
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.errors import CherrydagError
from cherrydag.genesis import Allocation, Genesis, Validator
from cherrydag.keystore import Keystore
from cherrydag.primitives import Amount, Stake, TimestampMs
from cherrydag.runtime.home import GENESIS_KEPT, KEYS, VALIDATOR, Home, complete
from cherrydag.runtime.marks import running_node
from cherrydag.signing import SEED_BYTES, KeyPair
from cherrydag.workload import WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CREATED_MS: Final = TimestampMs(1_790_000_000_000)
"""A fixed moment: equal specs give equal chains, so that signed transfers can be kept."""

FUNDS: Final = Amount(10**24)
"""What each account begins with."""

CHECKPOINT_COMMITS: Final = 100

STOP_S: Final = 20.0
"""How long a node may take to stop before it is killed."""

_READY_POLL_S: Final = 0.05
_LOG_LINES: Final = 15
_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None)


class NodeFailed(CherrydagError):  # noqa: N818 - it says what happened
    """A node has ended by itself, or does not become ready. The message has the end of its log."""


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Equal specs give the same genesis and keys.

    peers, apis: "host:port" of each node, where the others and where clients reach it. accounts: of the
    workload, funded at genesis. seed: of all keys, which keep nothing secret. observers: how many of the
    nodes, the last ones, do not vote.
    """

    peers: tuple[str, ...]
    apis: tuple[str, ...]
    accounts: int
    seed: int = 1
    checkpoint_commits: int = CHECKPOINT_COMMITS
    observers: int = 0

    def keys(self) -> tuple[list[KeyPair], list[KeyPair]]:
        """Of the accounts, and of the nodes. The accounts' are a WorkloadSpec's of this seed."""
        count = self.accounts + len(self.peers)
        keys = WorkloadSpec(seed=self.seed, accounts=count, transfers=0).key_pairs()
        return keys[: self.accounts], keys[self.accounts :]

    def genesis(self, accounts: Sequence[KeyPair], nodes: Sequence[KeyPair]) -> Genesis:
        """The chain with these keys."""
        validators = len(nodes) - self.observers
        return Genesis(
            "bench",
            Network.DEV,
            CREATED_MS,
            tuple(
                Validator(f"v{index}", key.public_key, Stake(1), (host,))
                for index, (key, host) in enumerate(zip(nodes[:validators], self.peers, strict=False))
            ),
            tuple(Allocation(address_of(key.public_key), FUNDS) for key in accounts),
            (),
            ChainParams(checkpoint_commits=self.checkpoint_commits),
        )


def make_homes(spec: NetworkSpec, folder: Path) -> list[Home]:
    """Make the nodes' folders, FOLDER/v0 and so on."""
    accounts, nodes = spec.keys()
    genesis = spec.genesis(accounts, nodes)
    homes = []
    for index, key in enumerate(nodes):
        home = Home(folder / f"v{index}", genesis)
        home.folder.mkdir(mode=0o700, parents=True)
        Keystore(home.folder / KEYS).add(VALIDATOR, key.secret_key[:SEED_BYTES], None)
        complete(home, key.public_key)
        homes.append(home)
    Home.load(homes[0].folder)  # it keeps the genesis as bytes, so that no node reads so many addresses
    for home in homes[1:]:
        shutil.copyfile(homes[0].folder / GENESIS_KEPT, home.folder / GENESIS_KEPT)
    return homes


class LocalNetwork:
    """The nodes of a spec as processes. `with` ends them, whatever happens.

    prefixes: words before each one's command line, as those that put it into a network namespace.
    programs: what runs as `cherrydag`, by number, where it is something else.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        homes: Sequence[Home],
        *,
        prefixes: Sequence[Sequence[str]] = (),
        programs: dict[int, Sequence[str]] | None = None,
    ) -> None:
        self.spec = spec
        self.homes = homes
        self.apis = [NodeApi(f"http://{api}") for api in spec.apis]
        self.killed: set[int] = set()
        self._prefixes = prefixes or [()] * len(homes)
        self._programs = programs or {}
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> LocalNetwork:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    @property
    def urls(self) -> tuple[str, ...]:
        """Of the APIs."""
        return tuple(api.url for api in self.apis)

    @property
    def pids(self) -> list[int]:
        """Of the nodes."""
        return [process.pid for process in self._processes]

    @property
    def living(self) -> list[int]:
        """Numbers of those that were started and not killed."""
        return [number for number in range(len(self._processes)) if number not in self.killed]

    def start(self, ready_s: float = 120.0, without: int = 0) -> None:
        """Start all but the last `without`, and wait until each is linked with a quorum. NodeFailed if one
        does not get there.

        What answers at its port must be ours: another network with the same seed has the same keys.
        """
        count = len(self.homes) - without
        for number in range(count):
            self._processes.append(self._spawn(number))
        until_s = time.monotonic() + ready_s
        for number, api in enumerate(self.apis[:count]):
            while not self._is_up(number) or not api.is_ready():
                self.check()
                if time.monotonic() > until_s:
                    raise NodeFailed(f"v{number} is not ready after {ready_s:.0f} s{self._log_end(number)}")
                time.sleep(_READY_POLL_S)

    def start_next(self) -> int:
        """Start one that `start` left out, without waiting for anything; its number."""
        self._processes.append(self._spawn(len(self._processes)))
        return len(self._processes) - 1

    def _is_up(self, number: int) -> bool:
        told = running_node(self.homes[number].folder)
        return told is not None and told.api != ""

    def check(self) -> None:
        """NodeFailed if one has ended that was not killed."""
        for number, process in enumerate(self._processes):
            if process.poll() is not None and number not in self.killed:
                words = f"v{number} has ended with status {process.returncode}"
                raise NodeFailed(words + self._log_end(number))

    def kill(self, number: int) -> None:
        """End one as a power cut would, as far as a process can tell."""
        self.killed.add(number)
        self._processes[number].kill()
        self._processes[number].wait()

    def stop(self) -> None:
        """Let all stop in order. NodeFailed if one does not, or not well."""
        for number in self.living:
            self._processes[number].send_signal(signal.SIGTERM)
        until_s = time.monotonic() + STOP_S
        for number in self.living:
            try:
                code = self._processes[number].wait(max(0.1, until_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._processes[number].kill()
                raise NodeFailed(f"v{number} did not stop within {STOP_S:.0f} s") from None
            if code:
                raise NodeFailed(f"v{number} stopped with status {code}{self._log_end(number)}")

    def _spawn(self, number: int) -> subprocess.Popen[bytes]:
        program = self._programs.get(number, (sys.executable, "-m", "cherrydag"))
        words = ["run", str(self.homes[number].folder)]
        places = ["--peers", self.spec.peers[number], "--api", self.spec.apis[number]]
        with self._log(number).open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own program
                [*self._prefixes[number], *program, *words, *places],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )

    def _log(self, number: int) -> Path:
        return self.homes[number].folder / "log"

    def _log_end(self, number: int) -> str:
        lines = self._log(number).read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return "".join(f"\n  {line}" for line in lines)


def _die_with_parent() -> None:
    """In the child, before it becomes the node: end when the measuring process does."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
