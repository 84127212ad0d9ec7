"""Where the network under attack is, and its start and end: real processes on loopback.

Of five validators four run, just a quorum, so a victim that stops stops the chain; the fifth's key is the
attacker's. Honest nodes are at 127.0.0.1; strangers come from other addresses of 127.0.0.0/8, since where
validators are expected to come from nothing is counted.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

from cherrydag.bench.ports import free_ports
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import TREASURY, VALIDATOR, Home, create_network
from cherrydag.signing import KeyPair

HONEST: Final = 4
ATTACKER: Final = 4
"""Index of the validator whose key the attacks have."""
VICTIM: Final = 0
WITNESS: Final = 1
"""The honest node that the load goes to and the chain is watched at."""

READY_S: Final = 90.0
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Site:
    """A network as an attack's process knows it. folder: of the homes; ports and pids by node."""

    folder: str
    peer_ports: tuple[int, ...]
    api_ports: tuple[int, ...]
    pids: tuple[int, ...]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` gave."""
        told = json.loads(text)
        ports = tuple(told["peer_ports"]), tuple(told["api_ports"])
        return cls(told["folder"], *ports, tuple(told["pids"]))

    def to_json(self) -> str:
        """For the command line of another process."""
        return json.dumps(asdict(self))

    @cached_property
    def home(self) -> Home:
        """The attacker's home."""
        return Home.load(Path(self.folder) / f"v{ATTACKER}")

    @cached_property
    def validator_key(self) -> KeyPair:
        """The attacker's key, a validator's."""
        return self.home.key(VALIDATOR)

    @cached_property
    def treasury(self) -> KeyPair:
        """Who owns all coins in the beginning."""
        return Home.load(Path(self.folder) / "v0").key(TREASURY)

    def api(self, node: int = VICTIM) -> str:
        """URL of a node's API."""
        return f"http://127.0.0.1:{self.api_ports[node]}"

    def rss_bytes(self, node: int = VICTIM) -> int:
        """Resident memory of a node, without pages of files: the database's come and go with its reads."""
        fields = Path(f"/proc/{self.pids[node]}/statm").read_text().split()
        return (int(fields[1]) - int(fields[2])) * resource.getpagesize()

    def verifying_s(self, node: int = VICTIM) -> float:
        """Processor time that a node's threads for signatures have used."""
        total_ns = 0
        for task in Path(f"/proc/{self.pids[node]}/task").iterdir():
            if (task / "comm").read_text().startswith("cherry-w"):
                total_ns += int((task / "schedstat").read_text().split()[0])
        return total_ns / 1e9

    def cpu_s(self, node: int = VICTIM) -> float:
        """CPU time that a node has used."""
        fields = Path(f"/proc/{self.pids[node]}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def stranger_address(number: int) -> str:
    """An address of nobody's, each in a /24 of its own for 40,000 numbers."""
    return f"127.{20 + number // 256 % 160}.{number % 256}.{1 + number // 40_960 % 250}"


def command(folder: Path, peers: int, api: int) -> list[str]:
    """How a node is run."""
    places = ["--peers", f"127.0.0.1:{peers}", "--api", f"127.0.0.1:{api}"]
    return [sys.executable, "-m", "cherrydag", "run", str(folder), *places]


class Network:
    """The homes and the running nodes; a context manager that stops what it has started."""

    def __init__(self, folder: Path, nodes: int = HONEST) -> None:
        self.folder = folder
        ports = free_ports(2 * (HONEST + 1))
        self._peers, self._apis = ports[: HONEST + 1], ports[HONEST + 1 :]
        hosts = [f"127.0.0.1:{port}" for port in self._peers]
        created_ms = TimestampMs(int(time.time() * 1000))
        self.homes = create_network(folder / "homes", hosts, created_ms=created_ms)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        try:
            for node in range(nodes):
                self.start(node)
            for node in range(nodes):
                wait_until_answered(f"http://127.0.0.1:{self._apis[node]}/readyz", self.processes[node])
        except BaseException:
            stop(list(self.processes.values()))
            raise

    @property
    def site(self) -> Site:
        """For the attacks."""
        pids = tuple(process.pid for process in self.processes.values())
        return Site(str(self.folder / "homes"), tuple(self._peers), tuple(self._apis), pids)

    def log(self, node: int) -> Path:
        """What a node has printed."""
        return self.folder / f"v{node}.log"

    def start(self, node: int) -> None:
        """Start a node, without waiting for it."""
        run = command(self.homes[node].folder, self._peers[node], self._apis[node])
        with self.log(node).open("ab") as log:
            self.processes[node] = subprocess.Popen(run, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def dead(self) -> list[str]:
        """The nodes that have ended, and how."""
        ended = [(node, process.poll()) for node, process in self.processes.items()]
        return [f"v{node} exit {status}" for node, status in ended if status is not None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        stop(list(self.processes.values()))


def stop(processes: Sequence[subprocess.Popen[bytes]], patience_s: float = 20.0) -> None:
    """End processes, by force if they do not follow."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fetch(url: str, timeout_s: float = 2.0) -> tuple[int, Any]:
    """Status and JSON of a GET; status 0 if there was no answer."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except (OSError, ValueError):
        return 0, None


def wait_until_answered(
    url: str,
    process: subprocess.Popen[bytes],
    patience_s: float = READY_S,
    good: Callable[[int], bool] = (200).__eq__,
) -> None:
    """Until a URL is answered with 200. RuntimeError if the process ends first, or it takes too long."""
    until_s = time.monotonic() + patience_s
    while time.monotonic() < until_s:
        if process.poll() is not None:
            raise RuntimeError(f"node: it has ended with {process.returncode}")
        if good(fetch(url)[0]):
            return
        time.sleep(0.1)
    raise RuntimeError(f"node: {url} did not answer within {patience_s} s")
