"""A ledger put together from its folder, on the running event loop, and taken apart again."""

import asyncio
import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from cherrydag.chain import Chain
from cherrydag.consensus.issuing import IssueTiming, Issuing
from cherrydag.consensus.timing import Timing
from cherrydag.errors import Closed, ConfigError, NoRoom, StorageError
from cherrydag.execution.accounts import Accounts
from cherrydag.execution.catalogue import modules_of
from cherrydag.execution.module import ModuleRegistry
from cherrydag.genesis import Genesis
from cherrydag.gossip.spread import SpreadLimits
from cherrydag.mempool import Mempool, MempoolLimits, MempoolSource
from cherrydag.node import Node, NodeConfig
from cherrydag.runtime.background import Background
from cherrydag.runtime.books import Books
from cherrydag.runtime.checkpointing import TRANSACTIONS, Checkpointing
from cherrydag.runtime.clock import Clock
from cherrydag.runtime.events import Tell, tell_nobody
from cherrydag.runtime.evidence import DIVERGED, EvidenceKeeper
from cherrydag.runtime.freeze import Freeze, refuse_all, refuse_frozen
from cherrydag.runtime.home import VALIDATOR, Home, copy_home
from cherrydag.runtime.host import Host
from cherrydag.runtime.host_ports import Network, NoPeers
from cherrydag.runtime.issuer import Issuer
from cherrydag.runtime.lookups import Lookups
from cherrydag.runtime.marking import Marking
from cherrydag.runtime.marks import divergence_in, is_safe_mode
from cherrydag.runtime.restoring import restore
from cherrydag.runtime.role import Role, role_of
from cherrydag.runtime.service import Service
from cherrydag.runtime.service_limits import ServiceLimits
from cherrydag.runtime.verification import Verifier
from cherrydag.runtime.workers import WorkerPool
from cherrydag.signing import KeyPair, generate_keypair
from cherrydag.storage.generation import DERIVED
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import Identity
from cherrydag.storage.values import StoreOptions
from cherrydag.verify import EpochRules

NICENESS: Final = 10
"""Of the thread that merges index runs and writes checkpoints: the loop and the checks come first."""

_SEED_BYTES: Final = 16
_REPLAY_TURNS: Final = 8  # commits between two turns of the loop
_NEVER: Final = 1 << 62  # transactions
_ALL: Final = 1 << 62  # commits

ONLY_READS: Final = "only_reads"
"""The code of a ledger that was opened to be read."""


Progress = Callable[[int, int], None]
"""Called as (commits executed, commits in the log) while a start replays the log."""


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """How a ledger runs; none of it is a rule of its chain.

    verify_threads: native workers; 0: one less than there are cores, one at least. checkpoint_transactions:
    between two checkpoints on disk: a restart replays as many at most. signs: False for a node that only
    follows, whatever its key is. issues: a node that is no validator issues operators' vertices with its key;
    without it, it takes no transactions. only_reads: look at what the folder has, alone and without its keys.
    """

    verify_threads: int = 0
    checkpoint_transactions: int = TRANSACTIONS
    mempool: MempoolLimits = field(default_factory=MempoolLimits)
    store: StoreOptions = field(default_factory=StoreOptions)
    timing: Timing = field(default_factory=Timing)
    service: ServiceLimits = field(default_factory=ServiceLimits)
    signs: bool = True
    issues: bool = False
    issue_timing: IssueTiming = field(default_factory=IssueTiming)
    only_reads: bool = False


class Running:
    """A ledger that is open. notes: what of its derived state could not be used at the start, and why.
    freeze: why it is only to be read, None if it lives. refusals: why it takes no transactions, words by
    code."""

    def __init__(self, home: Home, freeze: Freeze | None = None) -> None:
        self.home = home
        self.freeze = freeze
        self.refusals: dict[str, str] = {} if freeze is None else {freeze.code: freeze.words}
        self.notes: tuple[str, ...] = ()
        self.replayed = 0
        self.background: Background
        self.merger: Background
        self.marker: Background | None = None
        self.store: LmdbStore
        self.books: Books
        self.host: Host | None = None
        self.service: Service
        self.lookups: Lookups
        self.pool: WorkerPool
        self._closers: list[Callable[[], object]] = []
        self._backups: set[asyncio.Future[Exception | None]] = set()
        self._is_closed = False

    def on_close(self, closer: Callable[[], object]) -> None:
        """Something to let go of, before all that was opened before it."""
        self._closers.append(closer)

    def collect(self) -> None:
        """Take what the background has done."""
        try:
            for part in (self.background, self.merger, self.marker):
                if part is not None:
                    part.collect()
        except Exception as error:
            if self.host is None:
                raise
            self.host.fail(error)

    @property
    def no_room(self) -> NoRoom | None:
        """Why nothing is durable until there is room on the disk; None if that is not so."""
        parts = (self.host, self.background, self.merger, self.marker)
        return next((part.no_room for part in parts if part is not None and part.no_room is not None), None)

    async def backup(self, folder: Path) -> int:
        """Copy the ledger to a new folder while it goes on; index of the last commit that is surely in it.

        ConfigError, StorageError or OSError if the copy cannot be made; the ledger does not mind.
        """
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder}: it is there already, and not empty")
        last = self.store.last_commit()
        told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._backups.add(told)
        told.add_done_callback(self._backups.discard)
        work = partial(_copy_fault, self.home, self.store, folder)
        self.background.submit(work, partial(_tell_if_awaited, told))
        if (fault := await told) is not None:
            raise fault
        return last.index if last else 0

    async def close(self) -> None:
        """Write what waits and let everything go. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        errors = []
        while self._closers:
            try:
                self._closers.pop()()
            except Exception as error:  # noqa: BLE001 - the rest must be closed all the same
                errors.append(error)
        await asyncio.sleep(0)  # what was cancelled ends
        for told in list(self._backups):  # they have not begun
            _tell_if_awaited(told, Closed("the ledger is closed"))
        self._release()
        if errors:
            raise errors[0]

    def _release(self) -> None:
        """Let go of the parts. They refer to one another, and hold so much native memory in so few objects
        that the collector would leave them for long: twenty ledgers opened and closed took 5 GB."""
        if self.host is not None:
            self.host.release()
        parts = ("background", "books", "host", "lookups", "marker", "merger", "pool", "service", "store")
        for name in parts:
            self.__dict__.pop(name, None)
        gc.collect()

    def __getattr__(self, name: str) -> Any:
        """What close has let go of, or what was not opened."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise Closed("the ledger is closed")


def _copy_fault(home: Home, store: LmdbStore, folder: Path) -> Exception | None:
    """Make the copy, or say why not: that is for its caller to hear, and no reason for the ledger to stop."""
    try:
        copy_home(home, store, folder)
    except (ConfigError, StorageError, OSError) as fault:
        return fault
    return None


def _tell_if_awaited(told: asyncio.Future[Exception | None], fault: Exception | None) -> None:
    """Whoever asked may have left."""
    if not told.done():
        told.set_result(fault)


async def open_ledger(
    home: Home,
    options: LedgerOptions | None = None,
    network: Network | None = None,
    progress: Progress | None = None,
    key: KeyPair | None = None,
    freeze: Freeze | None = None,
    tell: Tell = tell_nobody,
) -> Running:
    """Open the ledger in a home: recover, replay what no checkpoint has, begin.

    key: the node's; None: the one in the home, which has no password. freeze: why it is only to be read; a
    divergence that is not cleared is a reason in any case. tell: of what happens to it.
    Raises StorageError if the log cannot be trusted, ConfigError if keys or genesis do not fit.
    """
    options = options or LedgerOptions()
    running = Running(home, _freeze_in(home) or freeze or (_reading(home) if options.only_reads else None))
    try:
        await _open(running, options, network or NoPeers(), progress, key, tell)
    except BaseException:
        await running.close()
        raise
    return running


def _freeze_in(home: Home) -> Freeze | None:
    """What a divergence has left: the state that a quorum has signed is told, and nothing else is done."""
    found = divergence_in(home.folder)
    if found is None:
        return None
    words = f"its state at commit {found.commit_index} is not what a quorum has signed: {found.path.name}"
    return Freeze(DIVERGED, words, found.served_index)


def _reading(home: Home) -> Freeze:
    """All that is durable is told; of a node in safe mode what it has executed, as the next may be poison."""
    until = None if is_safe_mode(home.folder) else _ALL
    return Freeze(ONLY_READS, "it was opened to be read", until)


async def _open(
    running: Running,
    options: LedgerOptions,
    network: Network,
    progress: Progress | None,
    key: KeyPair | None,
    tell: Tell,
) -> None:
    """Part by part. What is opened first is closed last."""
    home, lives = running.home, running.freeze is None
    rules = _rules_of(home.genesis)
    # Who only reads signs nothing, so that no password is needed.
    own = key or (generate_keypair() if options.only_reads else home.key(VALIDATOR))
    role = role_of(home, own, signs=options.signs and lives, issues=options.issues and lives)
    running.on_close(role.sign_state.close)
    seed = os.urandom(_SEED_BYTES)
    accounts = _open_books(running, options, rules.chain, seed)
    await _replay(running, progress)

    pool = running.pool = WorkerPool(options.verify_threads or max(1, (os.cpu_count() or 1) - 1))
    running.on_close(lambda: pool.close(drain=False))
    verifier = Verifier(rules, pool)
    mempool = Mempool(options.mempool, seed)
    source = MempoolSource(mempool, rules.chain)
    service = running.service = Service(rules, mempool, source, verifier, options.service)
    running.on_close(service.close)
    host, issuer = _make_host(running, options, rules, role, source, verifier, network)

    books, store = running.books, running.store
    running.lookups = Lookups(
        rules, accounts, books, store, lambda: role.certificate(rules, books, store, host.certificate)
    )
    service.attach(host, running.lookups, lambda: running.no_room)
    host.tell = tell
    host.keep_evidence = EvidenceKeeper(home, host, running.background, running.refusals)
    if lives:
        host.start()
        if issuer is not None:
            issuer.start(role.sign_state)


def _rules_of(genesis: Genesis) -> EpochRules:
    chain = genesis.chain()
    kinds = ModuleRegistry(modules_of(genesis.modules, chain)).kinds
    return EpochRules.of(chain, genesis.committee(), kinds=kinds, fee_min=genesis.ledger_params.fee_min)


def _open_books(running: Running, options: LedgerOptions, chain: Chain, seed: bytes) -> Accounts:
    """The log, and the state of the newest checkpoint that is sound."""
    home, genesis, loop = running.home, running.home.genesis, asyncio.get_running_loop()
    identity = Identity(genesis.digest, genesis.committee().epoch)
    store = running.store = LmdbStore(home.data, identity, options.store)
    running.on_close(store.close)
    derived = home.data / DERIVED
    derived.mkdir(exist_ok=True)
    background, merger = (Background(lambda: _call_soon(loop, running.collect), NICENESS) for _ in range(2))
    running.background, running.merger = background, merger
    running.on_close(background.close)
    running.on_close(merger.close)

    last = store.last_commit()
    restored = restore(
        genesis,
        lambda: modules_of(genesis.modules, chain),
        seed,
        derived,
        last.index if last else 0,
        background,
        merger,
    )
    running.notes = restored.notes
    running.on_close(restored.indexes.close)
    executor, accounts = restored.state
    checkpointing = Checkpointing(
        derived,
        identity,
        executor,
        restored.indexes,
        store,
        background,
        options.checkpoint_transactions if running.freeze is None else _NEVER,
        restored.kept,
    )
    running.on_close(checkpointing.abandon)
    every = genesis.chain_params.checkpoint_commits
    running.books = Books(chain, executor, store, restored.indexes, checkpointing, every)
    return accounts


def _make_host(
    running: Running,
    options: LedgerOptions,
    rules: EpochRules,
    role: Role,
    source: MempoolSource,
    verifier: Verifier,
    network: Network,
) -> tuple[Host, Issuer | None]:
    """The node with all that it works with, not begun yet, and who issues an operator's vertices."""
    loop, service = asyncio.get_running_loop(), running.service
    signer, sign_state, me, operator = role
    params = running.home.genesis.chain_params
    config = NodeConfig(rules, me, params, options.timing, os.urandom(_SEED_BYTES), spread=SpreadLimits())
    node = Node(config, signer, sign_state, source, running.store)
    marker = running.marker = Background(lambda: _call_soon(loop, running.collect))
    running.on_close(marker.close)
    marking = Marking(sign_state, rules.chain, marker, me, operator)
    clock = Clock()
    issuer = None if operator is None else Issuer(operator, source, service, clock)
    host = running.host = Host(
        node,
        running.store,
        running.books,
        verifier,
        network,
        issuer or service,
        clock,
        source.issued,
        marking,
    )
    running.on_close(host.stop)
    if issuer is not None and operator is not None:
        mark, timing = sign_state.load(), options.issue_timing
        issuer.attach(host, Issuing(rules, node.engine, operator, signer, source, timing, mark))
        service.check_admits = issuer.check
        running.on_close(issuer.close)
    elif running.freeze is not None:
        service.check_admits = partial(refuse_frozen, running.freeze)
    elif me is None:
        service.check_admits = refuse_all
    return host, issuer


async def _replay(running: Running, progress: Progress | None) -> None:
    """Execute what the log has beyond the checkpoint, turn by turn, so that the loop stays alive."""
    books, last = running.books, running.store.last_commit()
    until = None
    if running.freeze is not None:
        stored = running.store.outcomes_bounds()
        until = (stored[1] if stored else 0) if running.freeze.until is None else running.freeze.until
    replayed: Iterator[int] = books.replay(until)
    for index in replayed:
        running.replayed += 1
        if running.replayed % _REPLAY_TURNS == 0:
            running.collect()
            running.store.collect()
            books.on_store_progress()
            if progress is not None and last is not None:
                progress(index, last.index)
            await asyncio.sleep(0)


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)
