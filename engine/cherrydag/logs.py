"""The log of a node: one event a line on stderr, as JSON, or as text for a terminal.

What peers say is in it, so nothing in a line can break the line, steer a terminal or turn its direction; and
no event can fill a disk: of each name so many lines are written in a time, and the others counted. The last
lines are kept in the node's folder, too, for a support bundle.

Who may write in that folder and signal the process sets the level while the node runs: a request lies in the
folder, and SIGUSR2 says that it is there. So the kernel decides who is an operator, and nothing listens.
"""

import logging
import os
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.types import EventDict, Processor

from cherrydag.errors import ConfigError, StorageError
from cherrydag.storage.private_file import FILE_MODE, folder_to_oneself, read_private, write_private

LEVELS: Final = ("debug", "info", "warning", "error")

EVENTS: Final = {
    "start": "info",  # the process begins; with its version and folder
    "config_warning": "warning",
    "crashes": "warning",  # starts before this one that have not ended well
    "got_further": "info",  # it has executed what no start before had: those crashes count no more
    "safe_mode": "error",  # too many of them: it is only to be read
    "replaying": "info",
    "derived_state": "warning",  # what of it could not be used at the start
    "listening": "info",  # it is up: where it is reached
    "ready": "info",  # it is of use to clients
    "not_ready": "warning",  # what has begun to keep it from being of use
    "peer_opened": "info",
    "peer_closed": "info",
    "penalty": "warning",
    "ban": "warning",
    "peers_file_set_aside": "warning",  # it was damaged: peers are found anew
    "peers_file_not_written": "warning",
    "commits_stalled": "warning",
    "commits_resumed": "info",
    "checkpoint_certified": "debug",
    "disk_low": "warning",
    "disk_recovered": "info",
    "diverged": "error",
    "divergence_cleared": "warning",
    "equivocation": "warning",
    "evidence_kept": "warning",  # of an equivocation: a file that `cherrydag evidence` shows
    "evidence_not_kept": "warning",
    "clock_step": "warning",
    "library": "warning",  # what a library says through Python's own logging
    "loop_error": "error",  # a callback has failed that nobody waits for
    "failed": "error",  # the host has stopped by itself
    "log_level": "info",
    "backup": "info",  # asked for by who owns the folder
    "suppressed": "warning",  # lines of an event that were not written
    "drain": "info",
    "stop": "info",
}
"""The events, and their levels. Another's is "warning"."""

WINDOW_MS: Final = 10_000
"""The time in which an event may be written so often."""

TEXT_CHARS_MAX: Final = 500
"""Longer texts are cut."""

_INTEGER_MAX: Final = 2**53 - 1  # larger ones are texts: many readers of JSON have no others


class EventLog:
    """runtime.events.Tell, onto a stream.

    rate: lines of one event in WINDOW_MS. name: of the node, '' for none. clock: milliseconds, never steps.
    recent: who keeps the last lines.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], int],
        *,
        level: str = "info",
        as_json: bool = True,
        rate: int = 20,
        name: str = "",
        recent: "RecentLines | None" = None,
    ) -> None:
        self.level = level
        self._stream = stream
        self._clock = clock
        self._rate = rate
        self._windows: dict[str, _Window] = {}
        named = {"node": name} if name else {}
        processors: Sequence[Processor] = (_plain_facts, _timestamp, _json if as_json else _text)
        lines = _Lines(stream, recent)
        self._logger = structlog.wrap_logger(lines, processors, structlog.BoundLogger).bind(**named)

    def __call__(self, event: str, **facts: object) -> None:
        """Something has happened."""
        level = EVENTS.get(event, "warning")
        if LEVELS.index(level) < LEVELS.index(self.level):
            return
        window = self._windows.setdefault(event, _Window())
        suppressed = window.take(self._clock(), self._rate)
        if suppressed is None:
            return
        more = {"suppressed": suppressed} if suppressed else {}
        self._logger.bind(level=level).msg(event, **facts, **more)

    def flush(self) -> None:
        """Tell what was suppressed of events that have ceased."""
        now_ms = self._clock()
        for event, window in self._windows.items():
            if window.suppressed and window.is_over(now_ms):
                count, window.suppressed = window.suppressed, 0
                self._logger.bind(level="warning").msg("suppressed", of=event, count=count)

    def cycle_level(self) -> None:
        """Go to the next level; from the last to the first."""
        self.set_level(LEVELS[(LEVELS.index(self.level) + 1) % len(LEVELS)])

    def set_level(self, level: str) -> None:
        """Go to one of LEVELS, and say so whatever it is."""
        self.level = level
        self._logger.bind(level="info").msg("log_level", now=self.level)


class _LibraryLines(logging.Handler):
    """What libraries say."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        words = repr(error) if error is not None else None
        self._log("library", source=record.name, words=record.getMessage(), error=words)


def take_library_lines(log: EventLog) -> None:
    """From now on what libraries say through Python's logging goes to this log, and nowhere else."""
    logging.basicConfig(handlers=[_LibraryLines(log)], level=logging.WARNING, force=True)


class _Window:
    """What was written of one event in the window under way."""

    __slots__ = ("_ends_ms", "_written", "suppressed")

    def __init__(self) -> None:
        self._ends_ms = 0
        self._written = 0
        self.suppressed = 0

    def is_over(self, now_ms: int) -> bool:
        return now_ms >= self._ends_ms

    def take(self, now_ms: int, rate: int) -> int | None:
        """How many were not written since the last line; None if this one is not either."""
        if self.is_over(now_ms):
            self._ends_ms, self._written = now_ms + WINDOW_MS, 0
        if self._written >= rate:
            self.suppressed += 1
            return None
        self._written += 1
        suppressed, self.suppressed = self.suppressed, 0
        return suppressed


class _Lines:
    """A logger of structlog: a line for each event. A stream that takes nothing stops no node."""

    def __init__(self, stream: TextIO, recent: "RecentLines | None") -> None:
        self._stream = stream
        self._recent = recent

    def msg(self, line: str) -> None:
        if self._recent is not None:
            self._recent.keep(line)
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):
            return


# The last lines


RECENT: Final = "recent.log"
RECENT_OLD: Final = "recent.log.old"
RECENT_BYTES: Final = 1 << 20
"""One file of the two is at most so large, but for the line that makes it full."""


class RecentLines:
    """The last lines, in two private files of a node's folder that take turns. It stops no node either."""

    def __init__(self, folder: Path, bytes_max: int = RECENT_BYTES) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._descriptor = -1
        self._size = 0

    def keep(self, line: str) -> None:
        """One more."""
        with suppress(OSError):
            if self._descriptor < 0:
                self._open()
            self._size += os.write(self._descriptor, f"{line}\n".encode(errors="backslashreplace"))
            if self._size >= self._bytes_max:
                self.close()
                (self._folder / RECENT).rename(self._folder / RECENT_OLD)

    def close(self) -> None:
        """Until the next line."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._folder / RECENT, flags, FILE_MODE)
        self._size = os.fstat(self._descriptor).st_size


# The level while the node runs


LEVEL_REQUEST: Final = "log-level"
CONFIGURED: Final = "configured"
"""What asks for the level that the configuration has now."""

_REQUEST_BYTES_MAX: Final = 64


def request_level(folder: Path, level: str) -> None:
    """Ask for one of LEVELS, or CONFIGURED; SIGUSR2 to the process comes next. StorageError if it cannot be
    written."""
    with folder_to_oneself(folder):
        write_private(folder / LEVEL_REQUEST, f"{level}\n".encode())


def is_level_requested(folder: Path) -> bool:
    """Whether the node has not taken the request yet."""
    return (folder / LEVEL_REQUEST).exists()


def forget_request(folder: Path) -> None:
    """A process begins: what was asked of the one before is over."""
    (folder / LEVEL_REQUEST).unlink(missing_ok=True)


def take_request(folder: Path) -> str | None:
    """The level that is asked for, once; None if none is, or CONFIGURED. ConfigError if it is no level, or if
    others could have written it."""
    path = folder / LEVEL_REQUEST
    try:
        text = read_private(path, _REQUEST_BYTES_MAX).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except StorageError as error:
        raise ConfigError(str(error)) from error
    finally:
        path.unlink(missing_ok=True)
    if text not in (*LEVELS, CONFIGURED):
        raise ConfigError(f"{path}: expected one of {', '.join(LEVELS)}")
    return None if text == CONFIGURED else text


# Processors


def plain(value: object) -> object:
    """A fact as a line may hold it: numbers, bytes as hex digits, printable text of bounded size."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) <= _INTEGER_MAX:
        return value
    if isinstance(value, bytes):
        value = value.hex()
    elif isinstance(value, list | tuple):
        return [plain(item) for item in value]
    text = str(value)
    cut = text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}..."
    return cut if cut.isprintable() else "".join(map(_printable, cut))


def _printable(char: str) -> str:
    """Controls, surrogates and what turns the direction of writing are spelled out."""
    return char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _plain_facts(_: object, __: str, event: EventDict) -> EventDict:
    return {name: plain(value) for name, value in event.items()}


def _timestamp(_: object, __: str, event: EventDict) -> EventDict:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    head = {"time": now.replace("+00:00", "Z"), "level": event.pop("level"), "event": event.pop("event")}
    return {**head, **event}


def _json(_: object, __: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str).decode()


def _text(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    time, level, name = (str(event.pop(key)) for key in ("time", "level", "event"))
    facts = " ".join(f"{key}={_word(value)}" for key, value in event.items() if value is not None)
    return f"{time[11:23]} {level:<7} {name:<20} {facts}".rstrip()


def _word(value: object) -> str:
    text = str(value)
    return text if text and " " not in text and '"' not in text else orjson.dumps(text).decode()
