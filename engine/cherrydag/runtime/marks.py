"""What a node's process leaves in its folder: whether it runs, how it has ended, what it must not do again.

running               locked by the process that runs the node; a line for each start that has not ended well
safe-mode             it has crashed too often: until an operator takes this away, it is only to be read
run.json              while it runs: its number, and where its API is
divergence-N.json     at checkpoint N a quorum has signed another state than this node's: evidence, and until
                      it is cleared the reason to sign nothing
"""

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from cherrydag.consensus.effects import Diverged
from cherrydag.errors import ConfigError, InUse, StorageError
from cherrydag.storage.directory import sync_folder
from cherrydag.storage.private_file import FILE_MODE, folder_to_oneself, read_private, write_private

RUNNING: Final = "running"
SAFE_MODE: Final = "safe-mode"
RUN_INFO: Final = "run.json"
DIVERGENCE: Final = "divergence-"

CRASHES_MAX: Final = 3
"""So many starts in a row that have not ended well, and none but the first has got further than those before:
the next one begins in safe mode. A node that is killed, or whose power is cut, does get further."""

CRASH_WINDOW_MS: Final = 60 * 60 * 1000
"""They count if they lie within this time."""

_BYTES_MAX: Final = 1 << 16
_STARTS_KEPT: Final = 16
_LOCK_ATTEMPTS: Final = 4
_LOCK_PAUSE_S: Final = 0.005


class RunMark:
    """Holds a node's folder for this process. InUse if another process has it.

    crashes: starts of the last hour that have not ended well. A killed process leaves its start behind.
    """

    def __init__(self, folder: Path, now_ms: int) -> None:
        self._path = folder / RUNNING
        self._descriptor = -1
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            if not self._lock():
                raise InUse(f"{folder} is in use: {_owner(folder)} runs its node")
            self._starts = _starts(os.pread(self._descriptor, _BYTES_MAX, 0))[-_STARTS_KEPT:]
        except OSError as error:
            self.release()
            raise StorageError(f"{self._path}: {error.strerror}") from error
        except InUse:
            self.release()
            raise
        self._now_ms = now_ms
        self.crashes = sum(0 <= now_ms - start < CRASH_WINDOW_MS for start in self._starts)

    @property
    def is_crash_loop(self) -> bool:
        """Whether the node has crashed so often that what it does must not be done again unseen."""
        return self.crashes >= CRASHES_MAX

    def forget(self) -> None:
        """An operator's word that the crashes are understood."""
        self._starts, self.crashes = [], 0

    def begin(self) -> None:
        """Write down that the node begins: what kills it from now on is a crash."""
        self._write([*self._starts, self._now_ms])

    def got_further(self) -> bool:
        """The node has executed what no start before this one had: whatever ended those, it is no loop.
        Returns whether there were any."""
        if not self._starts:
            return False
        self._starts, self.crashes = [], 0
        self._write([self._now_ms])
        return True

    def end(self, *, is_well: bool) -> None:
        """Let the folder go; is_well: and forget this start, and those before it. Idempotent."""
        if self._descriptor >= 0 and is_well:
            self._write([])
        self.release()

    def abandon(self) -> None:
        """Let the folder go as it was found: the node has not begun."""
        if self._descriptor >= 0:
            self._write(self._starts)
        self.release()

    def release(self) -> None:
        """Let the folder go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _lock(self) -> bool:
        """Whether the file is ours. Who only looks has it for a moment."""
        for attempt in range(_LOCK_ATTEMPTS):
            with suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            time.sleep(_LOCK_PAUSE_S * attempt)
        return False

    def _write(self, starts: list[int]) -> None:
        text = "".join(f"{start}\n" for start in starts).encode()
        try:
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))
            os.fsync(self._descriptor)
            sync_folder(self._path.parent)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error


def _starts(text: bytes) -> list[int]:
    """Lines that are whole; a power cut may have left another."""
    return [int(line) for line in text.split(b"\n") if line.isdigit() and len(line) < 20]


# Safe mode


def enter_safe_mode(folder: Path, crashes: int) -> None:
    """From now on the node is only to be read."""
    with folder_to_oneself(folder):
        write_private(folder / SAFE_MODE, f"{crashes} crashes in a row\n".encode())


def is_safe_mode(folder: Path) -> bool:
    """Whether it is, until leave_safe_mode."""
    return (folder / SAFE_MODE).exists()


def leave_safe_mode(folder: Path) -> None:
    """An operator's word that the crashes are understood."""
    (folder / SAFE_MODE).unlink(missing_ok=True)
    sync_folder(folder)


# Where it is reached


class RunInfo(NamedTuple):
    """A node's process. api: the URL of its API, '' for none. peers: where it listens for peers, or ''.
    namespace: in which its number counts: a container has one of its own."""

    pid: int
    api: str
    peers: str
    namespace: int


def pid_namespace() -> int:
    """Of this process."""
    return Path("/proc/self/ns/pid").stat().st_ino


def check_namespace(folder: Path, info: RunInfo) -> None:
    """ConfigError if the number of the node's process means another one here, or none."""
    if info.namespace != pid_namespace():
        raise ConfigError(
            f"{folder}: its node runs in another container: run this command there, as in "
            "`docker exec CONTAINER cherrydag ...`"
        )


def write_run_info(folder: Path, info: RunInfo) -> None:
    """Say where the node is reached. The caller has its RunMark."""
    write_private(folder / RUN_INFO, json.dumps(info._asdict()).encode() + b"\n")


def remove_run_info(folder: Path) -> None:
    """It is reached no more."""
    (folder / RUN_INFO).unlink(missing_ok=True)


def running_node(folder: Path) -> RunInfo | None:
    """The process that runs the node in a folder; None if there is none, whatever a killed one has left."""
    try:
        descriptor = os.open(folder / RUNNING, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        return None
    finally:
        os.close(descriptor)
    with suppress(OSError, ValueError, LookupError, TypeError, StorageError):
        found = json.loads(read_private(folder / RUN_INFO, _BYTES_MAX))
        return RunInfo(int(found["pid"]), str(found["api"]), str(found["peers"]), int(found["namespace"]))
    return RunInfo(0, "", "", 0)  # it has begun, and is not up


def _owner(folder: Path) -> str:
    info = running_node(folder)
    return f"process {info.pid}" if info is not None and info.pid else "another process"


# Divergence


class Divergence(NamedTuple):
    """A divergence that is not cleared, at a checkpoint. served_index: of the last commit whose state is
    told: a quorum has signed it, or it is the checkpoint's before."""

    commit_index: int
    served_index: int
    path: Path


def write_divergence(folder: Path, found: Diverged, served_index: int, facts: dict[str, Any]) -> Divergence:
    """Keep the evidence, durably. facts: of this process, for whoever looks for the cause."""
    index = found.own.index
    certificate = found.certificate
    document = {
        "commit_index": index,
        "served_index": served_index,
        "commit_digest": found.own.commit_digest.hex(),
        "own_root": found.own.state_root.hex(),
        "certificate": {
            "chain": certificate.checkpoint.chain.hex(),
            "epoch": certificate.checkpoint.epoch,
            "commit_digest": certificate.checkpoint.commit_digest.hex(),
            "state_root": certificate.checkpoint.state_root.hex(),
            "signatures": [
                {"author": one.author, "signature": one.signature.hex()} for one in certificate.signatures
            ],
        },
        **facts,
    }
    path = folder / f"{DIVERGENCE}{index}.json"
    with folder_to_oneself(folder):
        write_private(path, json.dumps(document, indent=2).encode() + b"\n")
    return Divergence(index, served_index, path)


def divergence_in(folder: Path) -> Divergence | None:
    """The first one that is not cleared. StorageError if it cannot be read: then nothing may be signed."""
    found = []
    for path in folder.glob(f"{DIVERGENCE}*.json"):
        digits = path.name[len(DIVERGENCE) : -len(".json")]
        if not digits.isdecimal():
            continue
        try:
            document = json.loads(read_private(path, _BYTES_MAX))
            found.append(Divergence(int(digits), int(document["served_index"]), path))
        except ConfigError:  # of its mode
            raise
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise StorageError(f"{path}: cannot be read: {error}") from error
    return min(found, default=None)


def clear_divergence(found: Divergence) -> Path:
    """An operator's word that the cause is gone: where the evidence lies from now on."""
    cleared = found.path.with_suffix(".cleared")
    found.path.rename(cleared)
    sync_folder(cleared.parent)
    return cleared
