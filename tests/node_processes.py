"""`cherrydag run` as a process of a test: started, asked, told to stop, killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib import error, request

from waiting import PATIENCE_S

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CHERRYDAG_")}
QUICK = (
    *("--set", "store.preflight=false", "--set", "ledger.verify_threads=1"),
    *("--set", "mempool.transactions_max=4096", "--set", "mempool.recent_max=4096"),
    *("--set", "mempool.body_bytes_max=1048576"),
)


def cherrydag(*words: object, code: int = 0, stdin: str = "", environment: Mapping[str, str] = {}) -> str:
    """A command that ends: its stdout, or its stderr if it is to fail."""
    done = subprocess.run(
        [sys.executable, "-m", "cherrydag", *map(str, words)],
        input=stdin,
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **environment},
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr


class NodeProcess:
    """A node that runs. where: what it has printed when it was up; None if it has ended before."""

    def __init__(self, folder: Path, *words: object, environment: Mapping[str, str] = {}) -> None:
        self.folder = folder
        self._log_path = folder.parent / f"{folder.name}.log"
        with self._log_path.open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "cherrydag", "run", str(folder), "--json"),
                    *("--api", "127.0.0.1:0", *QUICK),
                    *map(str, words),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**ENVIRONMENT, **environment},
            )
        self.where: dict[str, str] | None = None

    def __enter__(self) -> "NodeProcess":
        self.await_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def await_ready(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.where = json.loads(line) if line else None

    @property
    def api(self) -> str:
        assert self.where is not None, self.log_text
        return self.where["api"]

    @property
    def log_text(self) -> str:
        return self._log_path.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The events of all processes of this folder so far."""
        return [json.loads(line) for line in self.log_text.splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.log if event["event"] == name]

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with request.urlopen(self.api + path, timeout=PATIENCE_S) as response:
                return response.status, json.loads(response.read())
        except error.HTTPError as refused:
            with refused:
                return refused.code, json.loads(refused.read())

    def call(self, method: str, **params: object) -> Any:
        """The answer of a method of the API, whole."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        asked = request.Request(self.api, body, {"Content-Type": "application/json"})
        with request.urlopen(asked, timeout=PATIENCE_S) as response:
            return json.loads(response.read())

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
