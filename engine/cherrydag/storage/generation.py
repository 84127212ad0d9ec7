"""Derived state on disk: one state checkpoint and the index files that belong to it are a generation.

FOLDER/MANIFEST       names the files of the generation that holds
FOLDER/MANIFEST.old   names those of the one before it
FOLDER/*              files of these two; what neither names is garbage

Derived state can always be had again from the log: what cannot be used here costs a replay, no more. So the
files are not part of a transaction with the database; a manifest is replaced as a whole, after its files are
durable.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from struct import error as struct_error
from typing import Final, NamedTuple

from cherrydag import crypto
from cherrydag.errors import ShapeError, StorageError
from cherrydag.primitives import Digest, Epoch
from cherrydag.storage.directory import sync_folder
from cherrydag.storage.private_file import write_private
from cherrydag.storage.schema import Identity

DERIVED: Final = "derived"
"""Name of the folder within a store's."""

MANIFEST: Final = "MANIFEST"
MANIFEST_OLD: Final = "MANIFEST.old"

MANIFEST_VERSION: Final = 1
"""Another number is another layout, of the manifest or of a file that it names."""

MANIFEST_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 generation manifest v1", b"")
"""Hashing key of a manifest's seal."""

MANIFEST_BYTES_MAX: Final = 1 << 20
"""Largest manifest: room for thousands of files."""

NAME_BYTES_MAX: Final = 255
"""Longest name of a file or an index, in bytes."""

_MAGIC: Final = b"cherrygn"
_HEAD: Final = Struct("<8sI32sIQH")
"""magic, version, genesis digest, epoch, commit index, indexes; then names, each behind its size u8: the
state file's, and for each index its own, a count of runs u16 and theirs; at the end the seal."""
_COUNT: Final = Struct("<H")


class ManifestError(StorageError):
    """A manifest is damaged, of another version, or names a file that is missing: what it stands for cannot
    be used. The one before may do, or else a replay of the log."""


class IndexRuns(NamedTuple):
    """An index by its name, and the names of its run files, in the order that it gave them."""

    name: str
    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Generation:
    """The derived state after a commit. state: name of the file that holds the state. indexes: by name,
    ascending."""

    identity: Identity
    commit_index: int
    state: str
    indexes: tuple[IndexRuns, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files."""
        return (self.state, *[run for index in self.indexes for run in index.runs])


def publish_manifest(folder: Path, generation: Generation) -> None:
    """Let this generation hold from now on; durable on return.

    Its files are in the folder, durable, and never change again. The generation that held becomes the one
    before, unless its manifest is damaged. ShapeError for a name or a count that does not fit, StorageError
    if a file is missing or the folder cannot be written: then nothing has changed, or all.
    """
    encoded = encode_manifest(generation)
    if gone := _missing(folder, generation):
        raise StorageError(f"{folder}: generation {generation.commit_index} cannot hold, {gone} is missing")
    with suppress(ManifestError):
        current = _read(folder / MANIFEST)
        if current is not None:
            decode_manifest(current)
            write_private(folder / MANIFEST_OLD, current)
        else:
            sync_folder(folder.parent)  # whoever made the folder may not have
    write_private(folder / MANIFEST, encoded)


def load_manifest(folder: Path, identity: Identity, *, previous: bool = False) -> Generation | None:
    """The generation that holds, or the previous one; None if there never was one.

    Its files are there, unread. ManifestError if it cannot be used, StorageError if it is of another chain or
    epoch.
    """
    path = folder / (MANIFEST_OLD if previous else MANIFEST)
    data = _read(path)
    if data is None:
        if not previous and (folder / MANIFEST_OLD).exists():
            raise ManifestError(f"{path} is missing, and {MANIFEST_OLD} is there")
        return None
    try:
        found = decode_manifest(data)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from error
    if found.identity != identity:
        raise StorageError(f"{path} is of another chain or epoch: {found.identity}, not {identity}")
    if gone := _missing(folder, found):
        raise ManifestError(f"{path} names {gone}, which is missing")
    return found


def newest_generation(folder: Path, identity: Identity) -> Generation | None:
    """The newest one whose manifest can be used; None if none can. StorageError as in `load_manifest`."""
    for previous in (False, True):
        with suppress(ManifestError):
            found = load_manifest(folder, identity, previous=previous)
            if found is not None:
                return found
    return None


def collect_garbage(folder: Path, keep: Collection[str] = ()) -> tuple[str, ...]:
    """Delete every file that neither manifest names, and that is not among `keep`; the names, sorted.

    keep: what is being made, or was made for the next generation. ManifestError, and nothing is deleted, if a
    manifest is damaged. Not while another thread publishes.
    """
    if not folder.is_dir():
        return ()
    named = {MANIFEST, MANIFEST_OLD, *keep}
    for name in (MANIFEST, MANIFEST_OLD):
        data = _read(folder / name)
        if data is not None:
            named.update(decode_manifest(data).files)
    garbage = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in named)
    for name in garbage:
        (folder / name).unlink()
    if garbage:
        sync_folder(folder)
    return tuple(garbage)


# Bytes


def encode_manifest(generation: Generation) -> bytes:
    """The bytes of a manifest. ShapeError if a name is no plain file's name, or something does not fit."""
    names = [index.name for index in generation.indexes]
    if names != sorted(set(names)):
        raise ShapeError(f"indexes: expected each name once, ascending, got {names}")
    try:
        identity = generation.identity
        parts = [
            _HEAD.pack(_MAGIC, MANIFEST_VERSION, *identity, generation.commit_index, len(names)),
            _encode_name(generation.state),
        ]
        for index in generation.indexes:
            parts += [_encode_name(index.name), _COUNT.pack(len(index.runs)), *map(_encode_name, index.runs)]
    except struct_error as error:
        raise ShapeError(f"generation: a field is out of range: {error}") from error
    content = b"".join(parts)
    encoded = content + crypto.hash_bytes(content, MANIFEST_KEY)
    if len(encoded) > MANIFEST_BYTES_MAX:
        raise ShapeError(f"generation: {len(encoded)} bytes of manifest, at most {MANIFEST_BYTES_MAX}")
    return encoded


def decode_manifest(data: bytes) -> Generation:
    """The generation of a manifest. ManifestError if the bytes are none."""
    content, seal = data[: -crypto.DIGEST_BYTES], data[-crypto.DIGEST_BYTES :]
    if len(content) < _HEAD.size or crypto.hash_bytes(content, MANIFEST_KEY) != seal:
        raise ManifestError(f"damaged, {len(data)} bytes")
    magic, version, genesis_digest, epoch, commit_index, indexes = _HEAD.unpack_from(content)
    if magic != _MAGIC or version != MANIFEST_VERSION:
        raise ManifestError(f"version {version}, this code {MANIFEST_VERSION}")
    try:
        names = _Names(content)
        state = names.take()
        runs = [IndexRuns(names.take(), names.take_all()) for _ in range(indexes)]
    except (struct_error, IndexError, UnicodeDecodeError) as error:
        raise ManifestError(f"its names do not decode: {error}") from error
    found = Generation(Identity(Digest(genesis_digest), Epoch(epoch)), commit_index, state, tuple(runs))
    with suppress(ShapeError):
        if encode_manifest(found) == data:
            return found
    raise ManifestError("its bytes are not what its generation is written as")


class _Names:
    """The names of a manifest, one after another."""

    __slots__ = ("_at", "_content")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = _HEAD.size

    def take(self) -> str:
        """The next one."""
        size = self._content[self._at]
        self._at += 1 + size
        return self._content[self._at - size : self._at].decode()

    def take_all(self) -> tuple[str, ...]:
        """Those of a list behind its count."""
        (count,) = _COUNT.unpack_from(self._content, self._at)
        self._at += _COUNT.size
        return tuple(self.take() for _ in range(count))


def _encode_name(name: str) -> bytes:
    reserved = ("", ".", "..", MANIFEST, MANIFEST_OLD)
    if not name.isprintable() or "/" in name or name in reserved or len(name.encode()) > NAME_BYTES_MAX:
        raise ShapeError(f"generation: {name!r} is no name for a file of it")
    encoded = name.encode()
    return bytes([len(encoded)]) + encoded


# Files


def _read(path: Path) -> bytes | None:
    """What a manifest holds, None if there is none."""
    try:
        with path.open("rb") as file:
            return file.read(MANIFEST_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error


def _missing(folder: Path, generation: Generation) -> str | None:
    """A file of the generation that is not there."""
    return next((name for name in generation.files if not (folder / name).is_file()), None)
