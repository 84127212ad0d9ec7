"""The files of one sorted-run index: what they are called, and the jobs that make them.

FOLDER/NAME-00000007.run        a run; its number is never used again while any file of a higher one is there
FOLDER/NAME-00000007.run.new    a run in the making, of no worth until it is renamed
"""

import re
from collections.abc import Collection, Iterator
from enum import Enum, auto
from pathlib import Path
from typing import Final

from cherrydag import crypto
from cherrydag._native import runs as native
from cherrydag.errors import ConfigError, NoRoom, ShapeError, StorageError, write_error
from cherrydag.storage.directory import make_folder, sync_folder

_CONTEXT: Final = "cherrydag 2026-11-22 run page v1"
_NAME: Final = re.compile(r"[a-z0-9_]{1,32}")
_SUFFIX: Final = ".run"
_UNFINISHED: Final = ".new"


class RunFolder:
    """The run files of the index `name` in a folder that this process alone uses.

    Raises ConfigError unless the name is of 1 to 32 small letters, digits and underscores, StorageError
    if the folder cannot be made or read.
    """

    __slots__ = ("_pattern", "folder", "name")

    def __init__(self, folder: Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"name: expected 1 to 32 of a-z, 0-9 and _, got {name!r}")
        self.folder = folder.absolute()
        self.name = name
        self._pattern = re.compile(rf"{name}-([0-9]{{8,}}){_SUFFIX}({_UNFINISHED})?")
        try:
            make_folder(self.folder)
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror}") from error

    def run_name(self, number: int) -> str:
        """What the run of this number is called."""
        return f"{self.name}-{number:08d}{_SUFFIX}"

    def next_number(self) -> int:
        """A number above those of all files that are there, finished or not."""
        return max((number for _, number in self._files()), default=0) + 1

    def open(self, name: str) -> native.Run:
        """Open a run. StorageError if it is missing, damaged in footer or fences, or not of this index."""
        match = self._pattern.fullmatch(name)
        if match is None or match[2]:
            raise StorageError(f"{self.folder / name}: no run of the index {self.name!r} is called so")
        return native.Run(str(self.folder / name), self._seal_key(name))

    def write(self, name: str, sources: native.Sources) -> native.Run:
        """Write the entries of all sources into a new run, and open it. It is durable on return.

        StorageError if that fails; what was written is deleted then, as far as possible.
        """
        unfinished = self.folder / f"{name}{_UNFINISHED}"
        try:
            sources.write(str(unfinished), self._seal_key(name))
            unfinished.rename(self.folder / name)
            sync_folder(self.folder)
            return self.open(name)
        except OSError as error:
            self._delete(unfinished.name)
            raise write_error(error.errno, f"{unfinished}: {error.strerror}") from error
        except BaseException:
            self._delete(unfinished.name)
            raise

    def discard(self, keep: Collection[str]) -> list[str]:
        """Delete every file but those kept, and but those in the making of a kept name; which they were."""
        deleted = []
        for name, _ in self._files():
            if name.removesuffix(_UNFINISHED) not in keep:
                self._delete(name)
                deleted.append(name)
        return deleted

    def _files(self) -> Iterator[tuple[str, int]]:
        """Name and number of each file of this index, in order."""
        try:
            names = sorted(path.name for path in self.folder.iterdir())
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror}") from error
        for name in names:
            match = self._pattern.fullmatch(name)
            if match is not None:
                yield name, int(match[1])

    def _delete(self, name: str) -> None:
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self.folder / name}: {error.strerror}") from error

    def _seal_key(self, name: str) -> bytes:
        """The key binds a page to its file: one of another run or index does not pass."""
        return crypto.derive_key(_CONTEXT, f"{self.name}/{name}".encode())


class _State(Enum):
    WAITING = auto()
    RUNNING = auto()
    ENDED = auto()


class Job:
    """Writes one run. `run` may be called in any thread until it has succeeded; all else is the index's.

    name: of the file. is_merge: whether it is made of other files, and not of what is in memory.
    """

    __slots__ = ("_files", "_result", "_sources", "_state", "is_merge", "name")

    def __init__(
        self, files: RunFolder, name: str, sources: tuple[native.Source, ...], *, is_merge: bool
    ) -> None:
        self.name = name
        self.is_merge = is_merge
        self._files = files
        self._sources: native.Sources | None = native.Sources(sources)
        self._state = _State.WAITING
        self._result: native.Run | None = None

    def run(self) -> None:
        """Write the file; it is durable on return. Lets go of the GIL.

        NoRoom if the disk is full: it may run again. StorageError if it cannot be written, or if what it is
        made of is damaged. In both cases the file is gone. ShapeError if the job has ended or was given back.
        """
        sources = self._sources
        if self._state is not _State.WAITING or sources is None:
            raise ShapeError(f"job: {self.name} has run or has been given back")
        self._state = _State.RUNNING
        try:
            self._result = self._files.write(self.name, sources)
        except NoRoom:
            self._state = _State.WAITING
            raise
        except BaseException:
            self._end()
            raise
        self._end()

    def finish(self) -> native.Run | None:
        """The run, if there is one; the job cannot be run any more. ShapeError while it is running."""
        if self._state is _State.RUNNING:
            raise ShapeError(f"job: {self.name} is still running")
        self._end()
        return self._result

    def _end(self) -> None:
        self._sources = None
        self._state = _State.ENDED
