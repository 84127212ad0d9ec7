"""How a database is made, opened, and refused if it is not the one that is wanted."""

from pathlib import Path
from typing import Final

from cherrydag._native import store as native
from cherrydag.errors import StorageError
from cherrydag.storage.directory import DATA, LEDGER, check_size, make_ledger, run_preflight
from cherrydag.storage.reader import Reader
from cherrydag.storage.schema import (
    IDENTITY_KEY,
    SEAL_KEY,
    TABLES,
    Identity,
    Put,
    Table,
    encode_identity,
    pack_batch,
)
from cherrydag.storage.values import StoreOptions

_CREATION_BYTES: Final = 1 << 20


def open_ledger(folder: Path, identity: Identity, options: StoreOptions) -> native.Store:
    """The database in the folder, made if there is none. StorageError if it is cut off, or preflight refuses
    it, or it is not this chain's and epoch's, or of another schema."""
    ledger = folder / LEDGER
    is_new = not ledger.is_dir()
    if is_new:
        make_ledger(folder, lambda unfinished: _create(unfinished, identity))
    check_size(ledger)
    if options.preflight and not is_new:
        run_preflight(folder)
    check_schema(ledger)
    opened = native.Store(
        ledger,
        TABLES,
        SEAL_KEY,
        map_bytes=options.map_bytes,
        map_bytes_max=options.map_bytes_max,
        queue_batches=options.queue_batches,
        queue_bytes=options.queue_bytes,
        group_bytes=options.group_bytes,
    )
    try:
        _check_identity(folder, Reader(opened).identity(), identity)
    except BaseException:
        opened.close()
        raise
    return opened


def open_read_only(ledger: Path, tables: tuple[str, ...] = TABLES) -> native.Store:
    """The database that nobody has open, for looking at it."""
    size = (ledger / DATA).stat().st_size
    return native.Store(ledger, tables, SEAL_KEY, map_bytes=size, map_bytes_max=size, read_only=True)


def check_schema(ledger: Path) -> None:
    """StorageError unless this code knows the schema: before tables are opened that another one may lack."""
    opened = open_read_only(ledger, TABLES[: Table.META + 1])
    try:
        Reader(opened).identity()
    finally:
        opened.close()


def _check_identity(folder: Path, found: Identity, identity: Identity) -> None:
    if found.genesis_digest != identity.genesis_digest:
        theirs, ours = found.genesis_digest.hex(), identity.genesis_digest.hex()
        raise StorageError(f"{folder} is of the chain with genesis {theirs}, not {ours}")
    if found.epoch != identity.epoch:
        raise StorageError(f"{folder} is of epoch {found.epoch}, not {identity.epoch}")


def _create(folder: Path, identity: Identity) -> None:
    """Make an empty database; it is durable on return."""
    size = _CREATION_BYTES
    made = native.Store(folder, TABLES, SEAL_KEY, map_bytes=size, map_bytes_max=size, create=True)
    try:
        made.submit(1, pack_batch([Put(Table.META, IDENTITY_KEY, (encode_identity(identity),))]))
        made.wait()
        durable, _, code, _ = made.collect()
    finally:
        made.close()
    if code or durable != 1:
        raise StorageError(f"cannot make a database in {folder}: {native.message(code)} ({code})")
