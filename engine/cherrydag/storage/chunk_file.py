"""A file of sealed chunks: written once, from its beginning to its end, and read again or refused.

    head    magic 8, version u32, header size u32, file identity 16 | header | seal 16
    chunk   kind u8, size u32 | payload | seal 16
    ...
    footer  a chunk of kind 0 whose payload is the number of chunks before it, u64

Integers are little-endian. A seal binds the file's identity, which is drawn at random, the chunk's position,
kind and size, and the payload: what is cut off, flipped, moved or from another file is found. The key of the
seals is public: they find damage, not forgery. What a chunk holds is its reader's affair.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final, NamedTuple, Self

from cherrydag import crypto
from cherrydag.errors import NoRoom, ShapeError, StorageError, write_error
from cherrydag.storage.directory import sync_folder

VERSION: Final = 1
"""Another number is another layout."""

CHUNK_BYTES_MAX: Final = 4 * 1024 * 1024
"""Largest payload of a chunk."""

HEADER_BYTES_MAX: Final = 64 * 1024
"""Largest header."""

SEAL_BYTES: Final = 16
UNFINISHED: Final = ".new"
"""What a file's name ends in until it is finished."""

_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 checkpoint file v1", b"")
_MAGIC: Final = b"chdagchk"
_IDENTITY_BYTES: Final = 16
_HEAD: Final = Struct("<8sII16s")
_CHUNK: Final = Struct("<BI")
_COUNT: Final = Struct("<Q")
_SEALED: Final = Struct("<16sQBI32s")
"""What a seal is the hash of: file identity, position, kind, size, digest of the payload."""

_FOOTER: Final = 0
_HEAD_POSITION: Final = 2**64 - 1  # no chunk's


class StoredChunk(NamedTuple):
    """A chunk as it was written. kind: 1 to 255."""

    kind: int
    payload: bytes


class ChunkWriter:
    """Writes FOLDER/NAME, under another name until `finish`. Not for two threads at a time.

    header: bytes for the reader, at most HEADER_BYTES_MAX. Whoever owns the folder lets one writer at a time
    have a name; what an earlier one left unfinished is overwritten. Hashing and writing let go of the GIL.
    Leaving the context abandons what is not finished. Raises NoRoom where the disk is full: the same call may
    be made again; StorageError where the system refuses to write for another cause, and from then on.
    """

    __slots__ = (
        "_count",
        "_descriptor",
        "_identity",
        "_is_left",
        "_path",
        "_unfinished",
        "bytes_written",
    )

    def __init__(self, folder: Path, name: str, header: bytes) -> None:
        self._descriptor = -1
        if Path(name).name != name or name in ("", "..") or len(header) > HEADER_BYTES_MAX:
            wanted = f"a plain name and at most {HEADER_BYTES_MAX} bytes of header"
            raise ShapeError(f"chunk file: expected {wanted}, got {name!r} and {len(header)}")
        self._path = folder / name
        self._unfinished = folder / (name + UNFINISHED)
        self._is_left = False
        self._identity = os.urandom(_IDENTITY_BYTES)
        self._count = 0
        self.bytes_written = 0
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._descriptor = os.open(self._unfinished, flags, 0o600)
        except OSError as error:
            raise write_error(error.errno, f"{self._unfinished}: {error.strerror}") from error
        self._is_left = True
        head = _HEAD.pack(_MAGIC, VERSION, len(header), self._identity) + header
        try:
            self._put(head, _seal(self._identity, _HEAD_POSITION, _FOOTER, head))
        except StorageError:
            self.abandon()
            raise

    def write(self, kind: int, payload: bytes) -> None:
        """Append a chunk. ShapeError unless the kind is 1 to 255 and the payload CHUNK_BYTES_MAX at most."""
        if not _FOOTER < kind <= 0xFF or len(payload) > CHUNK_BYTES_MAX:
            wanted = f"a kind of 1 to 255 and at most {CHUNK_BYTES_MAX} bytes"
            raise ShapeError(f"chunk: expected {wanted}, got {kind} and {len(payload)}")
        self._put_chunk(kind, payload)
        self._count += 1

    def finish(self) -> Path:
        """Make the file durable, then give it its name, durably too; where it is."""
        self._put_chunk(_FOOTER, _COUNT.pack(self._count))
        try:
            os.fsync(self._descriptor)
            self._close()
            self._unfinished.rename(self._path)
            self._is_left = False
            sync_folder(self._path.parent)
        except OSError as error:
            self._close()
            raise StorageError(f"{self._path}: {error.strerror}") from error
        return self._path

    def abandon(self) -> None:
        """Remove what is not finished. Idempotent; a finished file stays."""
        self._close()
        if self._is_left:
            self._is_left = False
            self._unfinished.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def __del__(self) -> None:
        self._close()

    def _put_chunk(self, kind: int, payload: bytes) -> None:
        seal = _seal(self._identity, self._count, kind, payload)
        self._put(_CHUNK.pack(kind, len(payload)), payload, seal)

    def _put(self, *parts: bytes) -> None:
        if self._descriptor < 0:
            raise StorageError(f"{self._path}: its writing has ended")
        left = [memoryview(part) for part in parts if part]
        end = self.bytes_written
        try:
            while left:
                written = os.writev(self._descriptor, left)
                end += written
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if left:
                    left[0] = left[0][written:]
        except OSError as error:
            refused = write_error(error.errno, f"{self._unfinished}: {error.strerror}")
            if isinstance(refused, NoRoom):
                os.lseek(self._descriptor, self.bytes_written, os.SEEK_SET)
            else:
                self._close()
            raise refused from error
        self.bytes_written = end

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def read_chunks(path: Path) -> tuple[bytes, Iterator[StoredChunk]]:
    """The header of a finished file, and its chunks as they are read.

    StorageError, from here or from the iterator, that names file and place if the file is not whole and as it
    was written. What the iterator gave before it raised was written so, but is not all.
    """
    with _open(path) as file:
        identity, header = _read_head(file, path)
    return header, _chunks(path, identity)


def _chunks(path: Path, identity: bytes) -> Iterator[StoredChunk]:
    with _open(path) as file:
        if _read_head(file, path)[0] != identity:
            raise StorageError(f"{path} was replaced while it was read")
        position = 0
        while chunk := _read_chunk(file, path, identity, position):
            yield chunk
            position += 1
        end = file.tell()
        if file.read(1):
            raise StorageError(f"{path} goes on behind its footer, at byte {end}")


def _read_head(file: BinaryIO, path: Path) -> tuple[bytes, bytes]:
    """The file's identity and its header."""
    head = _take(file, _HEAD.size, path, "its head")
    magic, version, size, identity = _HEAD.unpack(head)
    if magic != _MAGIC:
        raise StorageError(f"{path} is no file of chunks")
    if version != VERSION:
        raise StorageError(f"{path} has layout {version}, this program knows {VERSION}")
    if size > HEADER_BYTES_MAX:
        raise StorageError(f"{path}: its head is damaged, it names a header of {size} bytes")
    header = _take(file, size, path, "its header")
    if _take(file, SEAL_BYTES, path, "its header") != _seal(identity, _HEAD_POSITION, _FOOTER, head + header):
        raise StorageError(f"{path}: its head is damaged")
    return identity, header


def _read_chunk(file: BinaryIO, path: Path, identity: bytes, position: int) -> StoredChunk | None:
    """The chunk that stands here; None if it is the footer, and all is there."""
    place = f"chunk {position} at byte {file.tell()}"
    kind, size = _CHUNK.unpack(_take(file, _CHUNK.size, path, place))
    if size > CHUNK_BYTES_MAX:
        raise StorageError(f"{path}: {place} is damaged, it names a size of {size} bytes")
    payload = _take(file, size, path, place)
    if _take(file, SEAL_BYTES, path, place) != _seal(identity, position, kind, payload):
        raise StorageError(f"{path}: {place} is damaged, or not the one that was written there")
    if kind != _FOOTER:
        return StoredChunk(kind, payload)
    if payload != _COUNT.pack(position):
        raise StorageError(f"{path}: {place} is a footer that counts otherwise")
    return None


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def _take(file: BinaryIO, size: int, path: Path, place: str) -> bytes:
    try:
        taken = file.read(size)
    except OSError as error:
        raise StorageError(f"{path}: {place}: {error.strerror}") from error
    if len(taken) != size:
        raise StorageError(f"{path} is cut off within {place}")
    return taken


def _seal(identity: bytes, position: int, kind: int, payload: bytes) -> bytes:
    """The payload is hashed by itself, so that it need not be copied to what is bound with it."""
    digest = crypto.hash_bytes(payload, _KEY)
    return crypto.hash_bytes(_SEALED.pack(identity, position, kind, len(payload), digest), _KEY)[:SEAL_BYTES]
