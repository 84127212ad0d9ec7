"""Disks as a power cut may leave them, made from a recorded run of the store (disk_recorder.c, recorded.py).

What was synced is there. Of what was not, an image holds nothing, all, a beginning, or any of the writes,
whole or by sectors of 512 bytes; where writes overlap, whichever of them. Names in a folder appear in order,
those of unsynced folders up to any point.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import NamedTuple, TypeAlias

from compiled import ROOT, compile_shared
from storage.persists import IDENTITY, check, execute, persist_of, steps
from storage.recorded import SMALL, state_name, state_of

from cherrydag.storage.generation import DERIVED, load_manifest
from cherrydag.storage.lmdb import LmdbStore

SECTOR = 512
BATCH = 25
_HEAD = Struct("<BQQI")
_WRITE, _SYNC, _SYNC_RANGE, _TRUNCATE, _CREATE, _MAKE, _RENAME, _REMOVE, _NOTE = range(1, 10)
_IGNORED = ("lock", "lock.mdb")
_SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

Write: TypeAlias = tuple[int, bytes]


class Act(NamedTuple):
    kind: int
    inode: int
    offset: int
    data: bytes


class Names(NamedTuple):
    """A change of a folder: `name` is `inode` from now on; 0 for nothing."""

    folder: int
    changes: tuple[tuple[str, int], ...]


@dataclass
class Disk:
    """What is durable after some acts, and what is not yet."""

    root: int
    files: dict[int, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    pending: dict[int, list[Write]] = field(default_factory=lambda: defaultdict(list))
    names: dict[tuple[int, str], int] = field(default_factory=dict)
    unnamed: dict[int, list[Names]] = field(default_factory=lambda: defaultdict(list))
    paths: dict[str, int] = field(default_factory=dict)
    folders: set[int] = field(default_factory=set)
    acknowledged: int = 0

    def __post_init__(self) -> None:
        self.paths[""] = self.root

    def apply(self, act: Act) -> None:
        kind, inode, offset, data = act
        if kind == _WRITE:
            self.pending[inode].append((offset, data))
        elif kind == _SYNC:
            for write in self.pending.pop(inode, []):
                _overwrite(self.files[inode], *write)
            for change in self.unnamed.pop(inode, []):
                self._name(self.names, change)
        elif kind == _SYNC_RANGE:
            _overwrite(self.files[inode], *self.pending[inode].pop())
        elif kind == _NOTE:
            self.acknowledged = offset
        elif kind in (_CREATE, _MAKE):
            if kind == _MAKE:
                self.folders.add(inode)
            self._rename(inode, None, data.decode())
        elif kind == _RENAME:
            source, _, target = data.decode().partition("\0")
            self._rename(inode, source, target)
        elif kind != _TRUNCATE and inode:
            raise NotImplementedError(f"act {kind}: the model has no removal")

    def _rename(self, inode: int, source: str | None, target: str) -> None:
        folder, _, name = target.rpartition("/")
        place = self.paths[folder]
        changes = [(name, inode)]
        if source is not None:
            del self.paths[source]
            changes.insert(0, (source.rpartition("/")[2], 0))
        self.paths[target] = inode
        self.unnamed[place].append(Names(place, tuple(changes)))

    @staticmethod
    def _name(names: dict[tuple[int, str], int], change: Names) -> None:
        for name, inode in change.changes:
            names[change.folder, name] = inode

    def image(self, rng: random.Random, target: Path) -> None:
        """Write one of the disks that a power cut now may leave."""
        names = dict(self.names)
        for changes in self.unnamed.values():
            for change in changes[: rng.randint(0, len(changes))]:
                self._name(names, change)
        self._write_folder(self.root, names, rng, target)

    def _write_folder(
        self, folder: int, names: dict[tuple[int, str], int], rng: random.Random, target: Path
    ) -> None:
        target.mkdir()
        for (place, name), inode in names.items():
            if place != folder or not inode or name in _IGNORED:
                continue
            if inode in self.folders:
                self._write_folder(inode, names, rng, target / name)
            else:
                (target / name).write_bytes(self._content(inode, rng))

    def _content(self, inode: int, rng: random.Random) -> bytes:
        content = bytearray(self.files.get(inode, b""))
        writes = list(self.pending.get(inode, []))
        how = rng.choice(["none", "all", "beginning", "some", "sectors"])
        if how == "none":
            writes = []
        elif how == "beginning":
            writes = writes[: rng.randint(0, len(writes))]
        elif how != "all":
            if how == "sectors":
                writes = [part for write in writes for part in _sectors(write)]
            share = rng.choice([0.1, 0.5, 0.9])
            writes = [write for write in writes if rng.random() < share]
            rng.shuffle(writes)
        for write in writes:
            _overwrite(content, *write)
        return bytes(content)


def _overwrite(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _sectors(write: Write) -> Iterator[Write]:
    """The write cut at the borders of sectors."""
    offset, data = write
    at = 0
    while at < len(data):
        size = min(SECTOR - (offset + at) % SECTOR, len(data) - at)
        yield offset + at, data[at : at + size]
        at += size


class Recording(NamedTuple):
    """root: inode of the folder in which the store was made."""

    root: int
    acts: list[Act]


def record(numbers: int, seed: int) -> Recording:
    """What a store does that is made and then written with these numbers."""
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as scratch:
        folder, log = Path(scratch, "root"), Path(scratch, "log")
        folder.mkdir()
        _run_recorded(str(log), str(folder), str(numbers), str(seed))
        return Recording(folder.stat().st_ino, list(_parse(log.read_bytes(), str(folder))))


def crash_creation(folder: Path) -> int:
    """Kill the making of a store at each of its acts; what a restart makes of it is checked. The acts."""
    return int(_run_recorded("--crash", str(folder)))


def fail(folder: Path, kind: str, code: int) -> list[str]:
    """What recorded.py prints of a store one of whose acts, a "write", "sync" or "meta" write, fails."""
    number = {"write": _WRITE, "sync": _SYNC, "meta": _SYNC_RANGE}[kind]
    return _run_recorded("--fail", str(folder), str(number), str(code)).splitlines()


def _run_recorded(*arguments: str) -> str:
    """Run recorded.py with the recorder preloaded; its output."""
    library = compile_shared(ROOT / "tests" / "storage" / "disk_recorder.c", "disk_recorder", [])._name
    command = [sys.executable, str(ROOT / "tests" / "storage" / "recorded.py"), *arguments]
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{os.environ.get('LD_PRELOAD', '')} {library}".strip(),
        "PYTHONPATH": f"{ROOT / 'tests'}:{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _parse(log: bytes, root: str) -> Iterator[Act]:
    """The acts, with paths below the root."""
    at = 0
    while at < len(log):
        kind, inode, offset, size = _HEAD.unpack_from(log, at)
        at += _HEAD.size
        data = log[at : at + size]
        at += size
        if kind in (_CREATE, _MAKE, _RENAME):
            data = data.replace(root.encode() + b"/", b"")
        yield Act(kind, inode, offset, data)


class Finding(NamedTuple):
    """An image that broke a promise; `act` is where the power was cut."""

    image: int
    act: int
    words: str


def cut(recording: Recording, images: int, seed: int) -> list[Finding]:
    """Cut the power `images` times, a tenth of them before the first acknowledgement; what went wrong."""
    rng, acts = random.Random(seed), recording.acts
    first = next(number for number, act in enumerate(acts) if act.kind == _NOTE)
    cuts = sorted(rng.randint(0, first if n % 10 == 0 else len(acts)) for n in range(images))
    disk, done = Disk(recording.root), 0
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as scratch:
        for start in range(0, images, BATCH):
            batch = []
            for number, at in enumerate(cuts[start : start + BATCH], start):
                for act in acts[done:at]:
                    disk.apply(act)
                done = at
                disk.image(rng, Path(scratch, str(number)))
                batch.append((number, at, disk.acknowledged))
            findings += _check_batch(Path(scratch), batch)
            for number, _, _ in batch:
                shutil.rmtree(Path(scratch, str(number)))
    return findings


def _check_batch(scratch: Path, batch: list[tuple[int, int, int]]) -> list[Finding]:
    """Open each image in a child process, which may die of it; then in another one what is left."""
    findings = []
    while batch:
        found = _in_child(scratch, batch)
        for (number, at, acknowledged), words in zip(batch, found, strict=False):
            promised = divmod(acknowledged, 1 << 32)
            is_kept = all(part.isdigit() for part in words.split()) and all(
                int(part) >= least for part, least in zip(words.split(), promised, strict=True)
            )
            if not is_kept:
                findings.append(Finding(number, at, f"acknowledged {promised}, found: {words}"))
        if len(found) < len(batch):
            number, at, _ = batch[len(found)]
            findings.append(Finding(number, at, "the process that opened it died"))
        batch = batch[len(found) + 1 :]
    return findings


def _in_child(scratch: Path, batch: list[tuple[int, int, int]]) -> list[str]:
    """For each image its generation and number of writes, or what is wrong; fewer if the child died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        for number, _, _ in batch:
            os.write(writing, f"{_verdict(scratch / str(number))}\n".encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answers:
        found = answers.read().splitlines()
    os.waitpid(child, 0)
    return found


def _verdict(image: Path) -> str:
    """Generation and number of writes in the image, if it is whole and goes on from there."""
    try:
        with LmdbStore(image / "store", IDENTITY, SMALL) as store:
            last, found = check(store, 12), steps(store)
            if last:
                execute(store, last)
            store.write(persist_of(last + 1, 1))
            execute(store, last + 1)
            store.sync()
            if check(store, 2) != last + 1 or steps(store) != 2 * last + 2:
                return "the next write is not there"
        return f"{_generation(image / 'store' / DERIVED, last)} {found}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the verdict
        return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]


def _generation(folder: Path, last: int) -> int:
    """Index of the generation that holds, 0 if there is none yet."""
    generation = load_manifest(folder, IDENTITY)
    if generation is None:
        return 0
    index = generation.commit_index
    if index > last or (folder / state_name(index)).read_bytes() != state_of(index):
        raise ValueError(f"generation {index} is not what was published; the log ends with {last}")
    return index
