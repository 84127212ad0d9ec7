"""Copies a store that is in use, with the derived state that belongs to it."""

import os
import shutil
from pathlib import Path

from cherrydag._native.store import Store
from cherrydag.errors import StorageError
from cherrydag.storage.directory import LEDGER, make_folder, make_ledger, sync_folder
from cherrydag.storage.generation import DERIVED, Generation, newest_generation, publish_manifest
from cherrydag.storage.schema import Identity


def back_up(native: Store, folder: Path, target: Path, identity: Identity) -> Generation | None:
    """Copy the database of an open store in `folder`, and its newest usable generation, to `target`.

    The generation, which is returned, is copied first, so that the log reaches at least as far.
    StorageError if the target has a store already, or the remains of one.
    """
    for name in (LEDGER, DERIVED):
        if (target / name).exists():
            raise StorageError(f"{target} has a database already, or a part of one: {name}")
    try:
        make_folder(target)
        generation = newest_generation(folder / DERIVED, identity)
        if generation is not None:
            _copy_generation(folder / DERIVED, target, generation)
        make_ledger(target, native.copy)
    except OSError as error:
        raise StorageError(f"{folder} cannot be copied to {target}: {error}") from error
    return generation


def _copy_generation(source: Path, target: Path, generation: Generation) -> None:
    unfinished = target / f"{DERIVED}.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    for name in dict.fromkeys(generation.files):
        _link_or_copy(source / name, unfinished / name)
    publish_manifest(unfinished, generation)
    unfinished.rename(target / DERIVED)
    sync_folder(target)


def _link_or_copy(source: Path, target: Path) -> None:
    """Another name for a file that never changes, or where the file system has none, a durable copy of it."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
