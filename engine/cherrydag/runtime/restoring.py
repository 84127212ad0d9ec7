"""The books at a start: the newest checkpoint that is sound, or genesis. The log gives the rest."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cherrydag.errors import StorageError
from cherrydag.execution.accounts import Accounts, Line
from cherrydag.execution.checkpoint import decode_head
from cherrydag.execution.entries import EntryTable
from cherrydag.execution.executor import Executor
from cherrydag.execution.module import Module
from cherrydag.genesis import Genesis
from cherrydag.runtime.background import Background
from cherrydag.runtime.index_keeper import IndexKeeper
from cherrydag.state_proof import ACCOUNTS, TreeKeys
from cherrydag.storage.chunk_file import read_chunks
from cherrydag.storage.generation import Generation, load_manifest
from cherrydag.storage.schema import Identity


class State(NamedTuple):
    """An executor and the accounts that it owns."""

    executor: Executor
    accounts: Accounts


class Restored(NamedTuple):
    """What a ledger starts from. kept: the generation that it comes from. notes: what could not be used, and
    why."""

    state: State
    indexes: IndexKeeper
    kept: tuple[Generation, ...]
    notes: tuple[str, ...]


def state_at_genesis(genesis: Genesis, modules: Sequence[Module], seed: bytes) -> State:
    """The state before the first commit."""
    state = _empty_state(genesis, modules, seed)
    for address, amount in genesis.allocations:
        state.accounts.put(address, Line(amount))
    return state


def restore(
    genesis: Genesis,
    modules: Callable[[], Sequence[Module]],
    seed: bytes,
    folder: Path,
    last_commit: int,
    writer: Background,
    merger: Background,
) -> Restored:
    """Begin with the newest checkpoint that can be used. last_commit: index of the last one in the log.

    What is damaged is left aside and noted: the log has everything. writer, merger: of the indexes.
    """
    identity = Identity(genesis.digest, genesis.committee().epoch)
    notes = []
    for previous in (False, True):
        try:
            generation = load_manifest(folder, identity, previous=previous)
            if generation is None:
                continue
            if generation.commit_index > last_commit:
                notes.append(f"checkpoint {generation.commit_index} is ahead of the log: left aside")
                continue
            state = _restored_state(genesis, modules(), seed, folder, generation)
            runs = {index.name: index.runs for index in generation.indexes}
            indexes = IndexKeeper(folder, runs, writer, merger)
        except StorageError as error:
            notes.append(f"{'previous ' if previous else ''}checkpoint left aside: {error}")
            continue
        return Restored(state, indexes, (generation,), tuple(notes))
    return Restored(
        state_at_genesis(genesis, modules(), seed),
        IndexKeeper(folder, {}, writer, merger),
        (),
        tuple(notes),
    )


def _empty_state(genesis: Genesis, modules: Sequence[Module], seed: bytes) -> State:
    params = genesis.ledger_params
    accounts = Accounts(TreeKeys.of(ACCOUNTS).bucket, seed, depth=params.tree_depth)
    entries = EntryTable(params.tree_depth, params.entry_bytes_max)
    return State(Executor(accounts, entries, modules, supply=genesis.supply), accounts)


def _restored_state(
    genesis: Genesis, modules: Sequence[Module], seed: bytes, folder: Path, generation: Generation
) -> State:
    header, chunks = read_chunks(folder / generation.state)
    head = decode_head(header)
    if head.commit_index != generation.commit_index:
        raise StorageError(
            f"{generation.state} is of commit {head.commit_index}, not {generation.commit_index}"
        )
    state = _empty_state(genesis, modules, seed)
    root = state.executor.restore(chunks)
    if root != head.root:
        raise StorageError(f"{generation.state} has root {root.hex()}, its header says {head.root.hex()}")
    return state
