"""A backup of a node that runs, asked for by whoever owns its folder.

The request lies there as a private file and a signal says so; the node answers with another one. So the
kernel decides who may have a copy of the keys, and nothing listens.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from cherrydag.errors import CherrydagError, ConfigError, StorageError
from cherrydag.storage.private_file import folder_to_oneself, read_private, write_private

REQUEST: Final = "backup-request"
ANSWER: Final = "backup-answer"

_BYTES_MAX: Final = 16 << 10
_NUMBER_BYTES: Final = 8


class BackupRequest(NamedTuple):
    """number: hexadecimal, of this request alone. target: an absolute path."""

    number: str
    target: Path


def ask(folder: Path, target: Path) -> BackupRequest:
    """Ask for a copy; the signal comes next. StorageError if it cannot be written, ConfigError while another
    request waits."""
    request = BackupRequest(secrets.token_hex(_NUMBER_BYTES), target.absolute())
    with folder_to_oneself(folder):
        if (folder / REQUEST).exists():
            raise ConfigError(f"{folder / REQUEST}: another request waits to be taken")
        write_private(
            folder / REQUEST,
            json.dumps({"number": request.number, "target": str(request.target)}).encode() + b"\n",
        )
    return request


def _take(folder: Path) -> BackupRequest | None:
    """Once; None for what `ask` has not written."""
    fields = _fields(folder / REQUEST)
    (folder / REQUEST).unlink(missing_ok=True)
    number, target = fields.get("number"), fields.get("target")
    if not isinstance(number, str) or not isinstance(target, str):
        return None
    if not _is_number(number) or not Path(target).is_absolute():
        return None
    return BackupRequest(number, Path(target))


class BackupDesk:
    """Where the node takes requests: forget what was asked of the process before, then open and close as
    often as the node does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copy: Callable[[Path], Awaitable[int]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def forget(self) -> None:
        """Nobody waits for those requests and answers any more."""
        for path in (self._folder / REQUEST, *self._folder.glob(f"{ANSWER}.*")):
            path.unlink(missing_ok=True)

    def open(self, copy: Callable[[Path], Awaitable[int]]) -> None:
        """Requests are served by this, which copies to a folder and returns the last commit's index; one that
        waits, too."""
        self._copy = copy
        self.take()

    def take(self) -> Path | None:
        """Serve the request that waits; its target, or None if there is none or it has to wait."""
        request = None if self._copy is None else _take(self._folder)
        if self._copy is None or request is None:
            return None
        task = asyncio.ensure_future(self._serve(request, self._copy))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return request.target

    async def close(self) -> None:
        """Serve no more, once all that was taken is answered. Idempotent."""
        self._copy = None
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, request: BackupRequest, copy: Callable[[Path], Awaitable[int]]) -> None:
        """Of a copy whose answer finds no room nothing is told."""
        try:
            answer: dict[str, object] = {"commit": await copy(request.target)}
        except (CherrydagError, OSError) as error:
            answer = {"error": str(error), "is_config": isinstance(error, ConfigError)}
        with suppress(StorageError), folder_to_oneself(self._folder):
            write_private(_answer(self._folder, request), json.dumps(answer).encode() + b"\n")


def read_answer(folder: Path, request: BackupRequest) -> int | None:
    """Index of the last commit in the copy; None while there is no answer. ConfigError or StorageError if the
    copy could not be made."""
    path = _answer(folder, request)
    if not path.exists():
        return None
    fields = _fields(path)
    path.unlink(missing_ok=True)
    commit = fields.get("commit")
    if isinstance(commit, int):
        return commit
    kind = ConfigError if fields.get("is_config") else StorageError
    raise kind(str(fields.get("error", f"{path}: it is no answer")))


def _answer(folder: Path, request: BackupRequest) -> Path:
    return folder / f"{ANSWER}.{request.number}"


def _is_number(text: str) -> bool:
    return len(text) == 2 * _NUMBER_BYTES and set(text) <= set("0123456789abcdef")


def _fields(path: Path) -> dict[str, Any]:
    """Nothing for a file that is not private, too large, or no object."""
    with suppress(FileNotFoundError, ConfigError, StorageError, ValueError):
        found = json.loads(read_private(path, _BYTES_MAX))
        if isinstance(found, dict):
            return found
    return {}
