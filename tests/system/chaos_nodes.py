"""The processes of a network under faults, and where they run."""

import signal
import subprocess
import sys
from collections.abc import Sequence

from cherrydag.bench.netlab import LinkRule, NetLab
from cherrydag.runtime.home import Home


class Place:
    """Where node i runs: loopback, or whatever a lab of namespaces says. Faults of the net are its own."""

    has_faults = False

    def host(self, index: int) -> str:
        """The address that node `index` listens on."""
        return "127.0.0.1"

    def api_host(self, index: int) -> str:
        """The address that clients reach it at, whatever befalls the net between nodes."""
        return self.host(index)

    def command(self, index: int) -> list[str]:
        """What comes before the node's command line."""
        return []

    def cut(self, some: Sequence[int], others: Sequence[int]) -> None:
        """Nothing passes between these any more."""

    def worsen(self, one: int, other: int, delay_ms: int, loss: float) -> None:
        """Delay and lose what passes between two."""

    def heal(self) -> None:
        """As at the beginning."""


class Daemon:
    """One validator's process."""

    def __init__(self, index: int, home: Home, place: Place, peers: int, api: int) -> None:
        self.index = index
        self.url = f"http://{place.api_host(index)}:{api}"
        self.is_stopped = False
        self._command = [
            *place.command(index),
            sys.executable,
            "-m",
            "cherrydag",
            "run",
            str(home.folder),
            "--peers",
            f"{place.host(index)}:{peers}",
            "--api",
            f"{place.api_host(index)}:{api}",
            "--leave-safe-mode",  # who kills it without end while it gets nowhere knows why it ended
        ]
        self._log = home.folder / "log"
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_up(self) -> bool:
        """Whether there is a process that can answer."""
        return self._process is not None and not self.is_stopped

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process, self.is_stopped = None, False

    def close(self) -> str:
        """Ask it to end; what was wrong with how it ended, if anything. One that has not said yet that it is
        up may die of the signal."""
        process = self._process
        if process is None:
            return ""
        self.resume()
        process.terminate()
        try:
            code = process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"v{self.index} did not end within 30 s of SIGTERM"
        self._process = None
        if code == 0 or (code == -signal.SIGTERM and not self._is_ready):
            return ""
        return f"v{self.index} ended with {code} after SIGTERM: {self.last_words()}"

    def stop(self) -> None:
        """Freeze it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            self.is_stopped = True

    def resume(self) -> None:
        """Let it go on."""
        if self._process is not None and self.is_stopped:
            self._process.send_signal(signal.SIGCONT)
            self.is_stopped = False

    def died(self) -> str:
        """What it said if it has ended by itself, which it must not."""
        process = self._process
        if process is None or process.poll() is None:
            return ""
        self._process, self.is_stopped = None, False
        return f"v{self.index} ended by itself with {process.returncode}: {self.last_words()}"

    @property
    def _is_ready(self) -> bool:
        """Whether the process has printed that it is up."""
        return b"api" in self._log.read_bytes()[self._log_start :]

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_bytes()[-400:].decode(errors="replace")


class NetPlace(Place):
    """Each node in a network namespace of its own; needs root."""

    has_faults = True

    def __init__(self, lab: NetLab) -> None:
        self._lab = lab

    def host(self, index: int) -> str:
        return self._lab.address(index)

    def api_host(self, index: int) -> str:
        return self._lab.control_address(index)

    def command(self, index: int) -> list[str]:
        return list(self._lab.prefix(index))

    def cut(self, some: Sequence[int], others: Sequence[int]) -> None:
        self._lab.partition([some, others])

    def worsen(self, one: int, other: int, delay_ms: int, loss: float) -> None:
        self._lab.set_pair(one, other, LinkRule(delay_ms=delay_ms, jitter_ms=delay_ms / 4, loss=loss))

    def heal(self) -> None:
        self._lab.set_all(LinkRule())
