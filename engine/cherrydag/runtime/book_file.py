"""The address book on disk: whom we know, the links to begin with, and who is banned, across restarts.

One file, replaced as a whole: magic, checksum, then MessagePack. It saves time and keeps out who was banned,
but nothing hangs on it: what cannot be read is set aside and said, and the node begins with an empty book.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from cherrydag import crypto
from cherrydag.errors import ConfigError, PeerFault, StorageError
from cherrydag.net.address_book import SECRET_BYTES, AddressBook, Entry
from cherrydag.net.addresses import Place, Scope
from cherrydag.net.admission import Ban
from cherrydag.net.discovery import Seed
from cherrydag.net.peer_record import decode_record, encode_record
from cherrydag.params import PUBLIC_KEY_BYTES
from cherrydag.primitives import Digest, PublicKey
from cherrydag.storage.private_file import read_private, write_private

PEERS: Final = "peers"
"""Name of the file in a node's folder."""

SET_ASIDE: Final = "peers.damaged"
"""What an unreadable one is called afterwards; one is kept."""

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Largest file; a full book and all bans have 3 MB."""

_MAGIC: Final = b"cdpeers\x01"
_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 address book file v1", b"")
_HEAD: Final = len(_MAGIC) + crypto.DIGEST_BYTES


class _Entry(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    record: bytes
    floor: int
    source: bytes
    is_vouched: bool
    is_tried: bool
    answered_ms: int
    asked_ms: int
    failures: int


class _Anchor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    key: bytes
    host: str
    port: int


class _Ban(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    key: bytes
    host: str | None
    until_ms: int
    text: str


class _Content(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    chain: bytes
    secret: bytes
    sequence: int
    entries: list[_Entry]
    anchors: list[_Anchor]
    bans: list[_Ban]


class Saved(NamedTuple):
    """What a file holds. sequence: of our last record. bans: until Unix times."""

    secret: bytes
    sequence: int
    entries: Sequence[Entry]
    anchors: Sequence[Seed]
    bans: Sequence[Ban]

    def fill(self, book: AddressBook) -> None:
        """Put the entries into a book of this secret."""
        for entry in self.entries:
            book.put(entry)


def encode_saved(saved: Saved, chain: Digest) -> bytes:
    """The bytes of a file."""
    content = _Content(
        chain,
        saved.secret,
        saved.sequence,
        [_line(entry) for entry in saved.entries],
        [_Anchor(key, *place) for key, place in saved.anchors],
        [_Ban(*ban) for ban in saved.bans],
    )
    body = msgspec.msgpack.encode(content)
    return _MAGIC + crypto.hash_bytes(body, _KEY) + body


def decode_saved(data: bytes, chain: Digest) -> Saved:
    """What the bytes of a file say. StorageError unless it is whole and of this chain."""
    body = data[_HEAD:]
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : _HEAD] != crypto.hash_bytes(body, _KEY):
        raise StorageError("its checksum is wrong")
    try:
        content = msgspec.msgpack.decode(body, type=_Content)
        entries = [_entry(line) for line in content.entries]
        bans = [Ban(_key(ban.key), ban.host, ban.until_ms, ban.text) for ban in content.bans]
        anchors = [Seed(_key(line.key), Place(line.host, line.port)) for line in content.anchors]
    except (msgspec.DecodeError, PeerFault, ValueError) as error:
        raise StorageError(f"its content is wrong: {error}") from error
    if content.chain != chain or len(content.secret) != SECRET_BYTES:
        raise StorageError("it is of another chain")
    return Saved(content.secret, content.sequence, entries, anchors, bans)


def _line(entry: Entry) -> _Entry:
    return _Entry(
        encode_record(entry.record),
        entry.floor,
        entry.source,
        entry.is_vouched,
        entry.is_tried,
        entry.answered_ms,
        entry.asked_ms,
        entry.failures,
    )


def _entry(line: _Entry) -> Entry:
    record, end = decode_record(line.record)
    if end != len(line.record):
        raise ValueError("bytes follow a record")
    entry = Entry(record, Scope(line.floor), line.source, line.is_vouched, line.is_tried)
    entry.answered_ms, entry.asked_ms, entry.failures = line.answered_ms, line.asked_ms, line.failures
    return entry


def _key(octets: bytes) -> PublicKey:
    if len(octets) != PUBLIC_KEY_BYTES:
        raise ValueError(f"key: expected {PUBLIC_KEY_BYTES} bytes, got {len(octets)}")
    return PublicKey(octets)


class BookFile:
    """The file of a node's folder."""

    def __init__(self, folder: Path, chain: Digest) -> None:
        self.path = folder / PEERS
        self.note: str | None = None
        """Why what was there could not be used."""
        self._chain = chain

    def load(self) -> Saved | None:
        """What the file says; None if there is none. One that cannot be used is set aside, see `note`."""
        try:
            return decode_saved(read_private(self.path, FILE_BYTES_MAX), self._chain)
        except FileNotFoundError:
            return None
        except (StorageError, ConfigError) as error:
            self.note = f"{self.path} is set aside as {SET_ASIDE}: {error}"
            with suppress(OSError):
                self.path.replace(self.path.with_name(SET_ASIDE))
            return None

    def encode(self, saved: Saved) -> bytes:
        """The bytes to be written."""
        return encode_saved(saved, self._chain)

    def write(self, data: bytes) -> str | None:
        """Replace the file; what went wrong, None if nothing did. May run in any thread, one at a time."""
        try:
            write_private(self.path, data)
        except StorageError as error:
            return str(error)
        return None
