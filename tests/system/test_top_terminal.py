"""`cherrydag top` in a terminal of its own: what is on the screen, and its keys."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from node_processes import ENVIRONMENT, NodeProcess, cherrydag
from waiting import PATIENCE_S

from cherrydag.cli.exits import Exit
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import create_solo


class Terminal:
    """A terminal of 80 columns and 24 lines with `cherrydag top` in it."""

    def __init__(self, *words: object) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cherrydag", "top", *map(str, words)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**ENVIRONMENT, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        self.seen = ""

    def read_until(self, *texts: str) -> None:
        """What is written has all of these."""
        self.seen = ""
        ends_s = time.monotonic() + PATIENCE_S
        while not all(text in self.seen for text in texts):
            assert time.monotonic() < ends_s and self.process.poll() is None, self.seen
            if select.select([self.ours], [], [], 0.1)[0]:
                self.seen += os.read(self.ours, 65536).decode("utf-8", "replace")

    def drain(self) -> None:
        while select.select([self.ours], [], [], 0.1)[0]:
            self.seen += os.read(self.ours, 65536).decode("utf-8", "replace")

    def press(self, key: str) -> None:
        os.write(self.ours, key.encode())

    def end(self) -> int:
        ends_s = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:  # it writes until the last
            self.drain()
            assert time.monotonic() < ends_s
        self.drain()
        return self.process.returncode


@pytest.fixture
def node(tmp_path: Path):
    folder = create_solo(tmp_path / "l", created_ms=TimestampMs(1_700_000_000_000)).folder
    with NodeProcess(folder, "--peers", "") as running:
        yield running


def test_it_shows_pauses_outlives_its_node_and_quits(node):
    terminal = Terminal(node.folder)
    terminal.read_until("ready", "chain", "finality", "mempool", "q quit", "\x1b[?1049h")
    terminal.press("p")
    terminal.read_until("paused")
    terminal.press("p")
    terminal.read_until("ready")
    node.kill()
    terminal.read_until("no answer")
    terminal.press("q")
    assert terminal.end() == 0
    assert "\x1b[?1049l" in terminal.seen
    assert termios.tcgetattr(terminal.theirs)[3] == terminal.before[3]  # echo and lines, as before


def test_once_prints_and_ends_and_a_node_that_is_away_is_told(node):
    told = json.loads(cherrydag("top", node.api, "--json"))
    assert told["is_ready"] and told["version"]
    assert "q quit" in cherrydag("top", node.folder, "--once")
    assert "there is no terminal" in cherrydag("top", node.api, code=Exit.USAGE)
    cherrydag("top", "http://127.0.0.1:9", "--once", code=Exit.UNREACHABLE)
