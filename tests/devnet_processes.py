"""`cherrydag devnet --json` as a process of a test: what it tells, and how it is ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from waiting import PATIENCE_S, wait_until

from cherrydag.bench.ports import free_ports

DEVNET = [sys.executable, "-m", "cherrydag", "devnet"]


class Devnet:
    """A devnet whose folder for temporary files is ours. `with` waits until it is ready, and kills it if it
    runs still."""

    def __init__(self, temporary: Path, *options: object) -> None:
        self.temporary = temporary
        temporary.mkdir(exist_ok=True)
        self._errors = temporary.with_name(f"{temporary.name}.stderr")
        ports = ("--api-port", str(free_ports(1)[0]))
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*DEVNET, "--json", *ports, *map(str, options)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "TMPDIR": str(temporary)},
            )

    def __enter__(self) -> "Devnet":
        try:
            self.ready = self.next("ready")
            self.pids = [node["pid"] for node in self.next("figures")["nodes"]]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)

    def next(self, event: str, until: Callable[[Any], object] = lambda _: True) -> Any:
        """The next document of this kind, and of which this holds."""
        assert self.process.stdout is not None
        ends_s = time.monotonic() + PATIENCE_S
        for line in self.process.stdout:  # figures come once a second
            document = json.loads(line)
            if document["event"] == event and until(document):
                return document
            assert time.monotonic() < ends_s, f"no {event}: {document}"
        raise AssertionError(f"no {event}: {self._errors.read_text()}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode

    @property
    def url(self) -> str:
        return str(self.ready["nodes"][0]["url"])


def is_alive(pid: int) -> bool:
    """A zombie, which nobody has waited for, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until_gone(pids: list[int]) -> None:
    wait_until(lambda: not any(map(is_alive, pids)))
