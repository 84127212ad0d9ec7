"""The sign mark on disk, apart from the database: what a key has signed is never forgotten with it.

Two slots a page apart, each a whole record with a checksum, are written in turn. A power cut can tear only
the slot under write, and whoever waits for that write has signed nothing yet; the other slot holds the mark
before. A lost or unreadable file is an error, never "has not signed" (consensus.md, 7).
"""

import fcntl
import os
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Final, NamedTuple

from cherrydag import crypto
from cherrydag.consensus.ports import SignMark
from cherrydag.errors import Closed, InUse, ShapeError, StorageError, invariant
from cherrydag.primitives import Digest, Epoch, PublicKey, Round
from cherrydag.storage.private_file import folder_to_oneself, open_private, write_private

SLOT_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 sign state slot v1", b"")
"""Hashing key of a slot's checksum."""

SLOT: Final = Struct("<8sQII32s32s32s")
"""magic, counter, epoch, round, signing digest, public key, genesis digest; its 32-byte checksum follows. The
counter's lowest bit is the slot's number. Round 0: nothing was signed."""

SLOT_BYTES: Final = SLOT.size + crypto.DIGEST_BYTES
SLOT_OFFSETS: Final = (0, 4096)
"""A page apart, so that no write of one touches a sector of the other."""

FILE_BYTES: Final = 8192

_MAGIC: Final = b"cdsign\x00\x01"
_ROUND_MAX: Final = 2**32 - 1
_NOTHING: Final = SignMark(Round(0), Digest(bytes(crypto.DIGEST_BYTES)))


class SignKey(NamedTuple):
    """Whose marks a file keeps: rounds are counted within an epoch of a chain."""

    genesis_digest: Digest
    epoch: Epoch
    public_key: PublicKey


class _Slot(NamedTuple):
    counter: int
    epoch: Epoch
    mark: SignMark

    @property
    def place(self) -> tuple[int, int]:
        return self.epoch, self.mark.round


class SignStateFile:
    """consensus.ports.SignState in one file, which this object alone has open.

    create: make the file if it is missing, which says that the key has never signed. An existing one is
    opened either way. A file of an earlier epoch goes on to be the later epoch's, never back.
    Raises InUse if another process has it; StorageError if it is missing, damaged, or another key's, chain's
    or later epoch's; ConfigError if others than its owner may read or write it.
    """

    __slots__ = ("_descriptor", "_key", "_last", "_path", "_process", "has_damaged_slot")

    def __init__(self, path: Path, key: SignKey, *, create: bool = False) -> None:
        self._descriptor = -1
        self._path = path
        self._key = key
        self._process = os.getpid()
        self._descriptor = self._open(create=create)
        try:
            self._lock()
            os.fdatasync(self._descriptor)  # a killed process may have left a slot that is not durable yet
            slots = [self._read(number) for number in range(len(SLOT_OFFSETS))]
            self._last = self._newest(slots)
        except OSError as error:
            self.close()
            raise StorageError(f"{path} cannot be read: {error.strerror}") from error
        except StorageError:
            self.close()
            raise
        self.has_damaged_slot = None in slots
        """One slot could not be read: a write was cut off, before anything was signed for it. Or it has gone
        bad since, and the mark is the one before; then what peers know of the key is the second defence."""

    def load(self) -> SignMark | None:
        """The mark, None if none was recorded in the epoch. Closed after close or a failed write."""
        self._check_open()
        last = self._last
        return last.mark if last.epoch == self._key.epoch and last.counter >= len(SLOT_OFFSETS) else None

    def record(self, mark: SignMark) -> None:
        """Make a higher mark durable before returning: a write and an fdatasync.

        InvariantViolation if it is not higher: two signatures in a round. StorageError if it cannot be
        written, or the file is no longer at its path; then nothing may be signed, and this object is closed.
        """
        self._check_open()
        if len(mark.digest) != crypto.DIGEST_BYTES or not 0 <= mark.round <= _ROUND_MAX:
            raise ShapeError(f"mark: expected a round 0 to {_ROUND_MAX} and 32 bytes of digest, got {mark}")
        slot = _Slot(self._last.counter + 1, self._key.epoch, mark)
        is_first = mark.round == 0 and self._last.counter < len(SLOT_OFFSETS)
        is_higher = slot.place > self._last.place or is_first
        invariant(is_higher, "sign marks rise (I4)", mark=mark, last=self._last.mark)
        data = _encode(slot, self._key)
        try:
            self._check_in_place()
            written = os.pwrite(self._descriptor, data, SLOT_OFFSETS[slot.counter % 2])
            if written != len(data):
                raise StorageError(f"{self._path}: {written} of {len(data)} bytes were written")
            os.fdatasync(self._descriptor)
        except (OSError, StorageError) as error:
            self.close()  # what a failed sync has left on the disk cannot be told
            raise StorageError(f"{self._path}: the sign mark cannot be kept: {error}") from error
        self._last = slot
        self.has_damaged_slot = False

    def close(self) -> None:
        """Let the file go. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "SignStateFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _open(self, *, create: bool) -> int:
        try:
            return open_private(self._path, os.O_RDWR)
        except FileNotFoundError:
            if not create:
                raise StorageError(
                    f"{self._path} is missing: restore it, or create it if the key has never signed"
                ) from None
        except OSError as error:
            raise StorageError(f"{self._path} cannot be opened: {error.strerror}") from error
        with folder_to_oneself(self._path.parent):
            if not self._path.exists():  # another process may have made it meanwhile
                _make(self._path, self._key)
        return self._open(create=False)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"{self._path} is in use: another process signs with this key") from None
        self._check_in_place()

    def _check_in_place(self) -> None:
        """Whoever moves or replaces the file takes it from us: the one in its place is not locked."""
        try:
            there = self._path.stat()
        except OSError as error:
            raise StorageError(f"{self._path} was taken away while in use: {error.strerror}") from error
        ours = os.fstat(self._descriptor)
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            raise StorageError(f"{self._path} was replaced while in use")

    def _read(self, number: int) -> _Slot | None:
        """What a slot says, None if it is damaged. StorageError if it is another's."""
        data = os.pread(self._descriptor, SLOT_BYTES, SLOT_OFFSETS[number])
        if len(data) != SLOT_BYTES or crypto.hash_bytes(data[: SLOT.size], SLOT_KEY) != data[SLOT.size :]:
            return None
        magic, counter, epoch, round_, digest, public_key, genesis_digest = SLOT.unpack_from(data)
        if magic != _MAGIC or counter % 2 != number:
            return None
        if genesis_digest != self._key.genesis_digest:
            theirs, ours = genesis_digest.hex(), self._key.genesis_digest.hex()
            raise StorageError(f"{self._path} is of the chain with genesis {theirs}, not {ours}")
        if public_key != self._key.public_key:
            theirs, ours = public_key.hex(), self._key.public_key.hex()
            raise StorageError(f"{self._path} is of the key {theirs}, not {ours}")
        if epoch > self._key.epoch:
            raise StorageError(f"{self._path} is of epoch {epoch}, later than {self._key.epoch}")
        return _Slot(counter, Epoch(epoch), SignMark(Round(round_), Digest(digest)))

    def _newest(self, slots: list[_Slot | None]) -> _Slot:
        found = sorted(slot for slot in slots if slot is not None)
        if not found:
            raise StorageError(f"{self._path}: neither slot can be read; restore it, or declare it lost")
        oldest, newest = found[0], found[-1]
        if newest.place < oldest.place or (newest.place == oldest.place and newest.mark != oldest.mark):
            rounds = f"round {newest.mark.round} after {oldest.mark.round}"
            raise StorageError(f"{self._path}: its slots contradict each other: {rounds}")
        return newest

    def _check_open(self) -> None:
        if self._descriptor < 0 or self._process != os.getpid():
            raise Closed(f"{self._path}: was closed, or belongs to the process that opened it")


def _make(path: Path, key: SignKey) -> None:
    """A file that says that nothing was signed."""
    image = bytearray(FILE_BYTES)
    for number, offset in enumerate(SLOT_OFFSETS):
        image[offset : offset + SLOT_BYTES] = _encode(_Slot(number, key.epoch, _NOTHING), key)
    write_private(path, bytes(image))


def _encode(slot: _Slot, key: SignKey) -> bytes:
    head = SLOT.pack(_MAGIC, slot.counter, slot.epoch, *slot.mark, key.public_key, key.genesis_digest)
    return head + crypto.hash_bytes(head, SLOT_KEY)
