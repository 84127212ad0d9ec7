"""The code blocks of a page of docs/, and their run as a reader would type them.

A block is fenced and has a language. `console` blocks are commands behind "$ " with what they print below,
`...` standing for anything; `python` blocks run in the order of the page and share their names, and an
`output` block below one is what it prints. A comment on the line before a block says more:

    <!-- not run: why -->            it is shown only
    <!-- terminal: NAME -->          it runs beside the others until the page ends; what it shows must come
    <!-- stops: NAME -->             what runs there is told to stop before, by SIGTERM, and ends well
    <!-- exits: 5 -->                its last command ends with this code
    <!-- keep: NAME = REGEX -->      a part of what it prints stands for NAME in what follows

Ports and machines of the page are replaced by free ports of this one.
"""

import ast
import asyncio
import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from waiting import PATIENCE_S

from cherrydag.bench.ports import free_ports

LANGUAGES: Final = frozenset(["console", "python", "output", "text", "toml", "json", "html", "yaml"])
RUN: Final = frozenset(["console", "python"])

_FENCE: Final = re.compile(r"^```(.*)$")
_NOTE: Final = re.compile(r"^<!-- (not run|terminal|stops|exits|keep): (.+) -->$")
_FENCED: Final = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE: Final = re.compile(r"`([^`]+)`")
_CONTEXT: Final = re.compile(r"cherrydag \d{4}-\d\d-\d\d ")  # of a hashing key
_PLACES: Final = re.compile(r"10\.0\.0\.(\d+):(\d{4,5})|(?:127\.0\.0\.1|localhost):(\d{4,5})")
_DEVNET: Final = re.compile(r"\bcherrydag devnet\b")
_API_PORT: Final = "8645"
_MARK: Final = "\x01"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. line: of its fence. notes: what comments before it say, by their word."""

    page: str
    line: int
    language: str
    text: str
    notes: dict[str, str]

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All of a page. AssertionError for a fence that does not end."""
    found, notes, opened = [], {}, None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence, note = _FENCE.match(line), _NOTE.match(line)
        if opened is not None:
            if not fence:
                lines.append(line)
                continue
            language, at = opened
            found.append(Block(page.name, at, language, "\n".join(lines), notes))
            opened, notes, lines = None, {}, []
        elif fence:
            opened = fence[1].strip(), number
        elif note:
            notes[note[1]] = note[2]
        elif line.strip():
            notes = {}
    assert opened is None, f"{page.name}: a block does not end"
    return found


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of a console block, lines joined, and what it is to print."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1] = (f"{found[-1][0][:-1].rstrip()} {line.strip()}", [])
        else:
            assert found, f"no command before {line!r}"
            found[-1][1].append(line)
    return [(command, "\n".join(shown)) for command, shown in found]


def is_shown(expected: str, printed: str) -> bool:
    """Whether a text is what was expected, in which `...` stands for anything."""
    parts = [r"\s+".join(map(re.escape, part.split(" "))) for part in expected.strip().split("...")]
    return re.fullmatch(".*?".join(parts), printed.strip(), re.DOTALL) is not None


class Page:
    """Runs the blocks of one page in a folder. `with` ends what runs beside."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports: dict[tuple[str, str], int] = {}
        self._kept: dict[str, str] = {}
        self._names: dict[str, object] = {"__name__": "page"}
        self._printed = ""
        self._terminals: dict[str, subprocess.Popen[bytes]] = {}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CHERRYDAG_")}
        self._environment = kept | {"PATH": path, "COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"}
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self._terminals.values(), self._shell):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in (*self._terminals.values(), self._shell):
            try:
                process.communicate(timeout=PATIENCE_S / 10)
            except (subprocess.TimeoutExpired, ValueError):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def run(self, block: Block) -> None:
        """AssertionError if it is not as the page says."""
        if "not run" in block.notes:
            return
        if "stops" in block.notes:
            self._stop(block.notes["stops"])
        if block.language == "python":
            self._run_python(block)
        elif block.language == "output":
            assert is_shown(block.text, self._printed), f"{block.where}: printed {self._printed!r}"
        elif block.language == "console" and "terminal" in block.notes:
            self._run_beside(block)
        elif block.language == "console":
            self._run_commands(block)

    def _replaced(self, text: str) -> str:
        """As it is on this machine."""
        for name, value in self._kept.items():
            text = re.sub(rf"\b{name}\b", value, text)
        text = _PLACES.sub(
            lambda found: f"127.0.0.1:{self._port(found[1] or '', found[2] or found[3])}", text
        )
        return _DEVNET.sub(f"cherrydag devnet --api-port {self._port('', _API_PORT)}", text)

    def _port(self, machine: str, port: str) -> int:
        """The port here that stands for one of the page's."""
        known = self._ports
        if (machine, port) not in known:
            (known[machine, port],) = free_ports(1, besides=known.values())
        return known[machine, port]

    # Commands

    def _run_commands(self, block: Block) -> None:
        told = commands(block.text)
        printed = ""
        for number, (command, expected) in enumerate(told, 1):
            wanted = int(block.notes.get("exits", 0)) if number == len(told) else 0
            code, printed = self._type(self._replaced(command))
            assert code == wanted, f"{block.where}: {command}\nended with {code}: {printed}"
            shown = self._replaced(expected)
            assert not shown or is_shown(shown, printed), f"{block.where}: {command}\nprinted {printed}"
        if "keep" in block.notes:
            self._keep(block, printed)

    def _keep(self, block: Block, printed: str) -> None:
        name, _, pattern = block.notes["keep"].partition(" = ")
        found = re.search(pattern, printed)
        assert found, f"{block.where}: no {pattern} in {printed}"
        self._kept[name] = found[1]

    def _type(self, command: str) -> tuple[int, str]:
        """Exit code and output of a command in the shell of the page."""
        assert self._shell.stdin is not None and self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {command}\n}} < /dev/null; printf '\\1%d\\1\\n' $?\n".encode())
        self._shell.stdin.flush()
        printed = ""
        for line in iter(self._shell.stdout.readline, b""):
            before, mark, rest = line.decode().partition(_MARK)
            printed += before
            if mark:
                return int(rest.rstrip("\n\x01")), printed
        raise AssertionError(f"the shell has ended: {command}\n{printed}")

    def _run_beside(self, block: Block) -> None:
        """Each node of a network that the page has on machines of their own gets an API of its own here."""
        ((command, expected),) = commands(block.text)
        name = block.notes["terminal"]
        own = {}
        if command.startswith("cherrydag run"):
            own["CHERRYDAG_API_LISTEN"] = (
                f"127.0.0.1:{self._port(name if self._terminals else '', _API_PORT)}"
            )
        path = self._folder / f".{name}.out"
        with path.open("wb") as out:
            self._terminals[name] = subprocess.Popen(
                ["bash", "-c", f"exec {self._replaced(command)}"],
                cwd=self._folder,
                env=self._environment | own,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wanted = f"...{self._replaced(expected)}..."
        ends_s = time.monotonic() + PATIENCE_S
        while not is_shown(wanted, path.read_text(errors="replace")):
            ended = self._terminals[name].poll()
            assert ended is None, f"{block.where}: {command}\nended with {ended}: {path.read_text()}"
            assert time.monotonic() < ends_s, f"{block.where}: {command}\nprinted {path.read_text()}"
            time.sleep(0.05)

    def _stop(self, name: str) -> None:
        self._terminals[name].terminate()
        assert self._terminals[name].wait(PATIENCE_S) == 0, (self._folder / f".{name}.out").read_text()

    # Python

    def _run_python(self, block: Block) -> None:
        code = compile(
            "\n" * block.line + self._replaced(block.text),
            block.page,
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.chdir(self._folder):
            made = eval(code, self._names)
            if asyncio.iscoroutine(made):
                asyncio.run(made)
        self._printed = out.getvalue()


# What is said of commands, whether they run or not


def said_commands(text: str) -> Iterator[list[str]]:
    """The words of every `cherrydag ...` in code of a page, remarks and what is behind a pipe left out."""
    for code in (*_FENCED.findall(text), *_INLINE.findall(_FENCED.sub("", text))):
        for line in code.replace("\\\n", " ").splitlines():
            for part in re.split(r"[|;&]+|\$\(", line.removeprefix("$ ").partition(" #")[0]):
                words = part.replace(")", " ").split()
                if words[:1] == ["cherrydag"] and not _CONTEXT.match(code):
                    yield words[1:]
