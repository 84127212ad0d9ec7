"""A ledger put together from its folder, on the running event loop, and taken apart again."""

import asyncio
import gc
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from cherrydag import __version__, crypto
from cherrydag.commit import Checkpoint, CheckpointCertificate, CheckpointSignature
from cherrydag.consensus.effects import Diverged
from cherrydag.consensus.issuing import IssueTiming, Issuing
from cherrydag.consensus.ports import SignMark, SignState
from cherrydag.consensus.timing import Timing
from cherrydag.errors import Closed, ConfigError, Rejected, invariant
from cherrydag.execution.catalogue import modules_of
from cherrydag.execution.module import ModuleRegistry
from cherrydag.gossip.spread import SpreadLimits
from cherrydag.mempool import Mempool, MempoolLimits, MempoolSource
from cherrydag.node import Node, NodeConfig
from cherrydag.primitives import ValidatorIndex
from cherrydag.runtime.background import Background
from cherrydag.runtime.books import Books
from cherrydag.runtime.checkpointing import TRANSACTIONS, Checkpointing
from cherrydag.runtime.clock import Clock
from cherrydag.runtime.events import Tell, tell_nobody
from cherrydag.runtime.home import VALIDATOR, Home, copy_home
from cherrydag.runtime.host import Host, Network, NoPeers
from cherrydag.runtime.issuer import Issuer
from cherrydag.runtime.lookups import Lookups
from cherrydag.runtime.marking import Marking
from cherrydag.runtime.marks import divergence_in, write_divergence
from cherrydag.runtime.restoring import restore
from cherrydag.runtime.service import Service, ServiceLimits
from cherrydag.runtime.verification import Verifier
from cherrydag.runtime.workers import WorkerPool
from cherrydag.signing import KeyPair, ValidatorSigner
from cherrydag.storage.generation import DERIVED
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import Identity
from cherrydag.storage.values import StoreOptions
from cherrydag.verify import EpochRules

_SEED_BYTES: Final = 16
_REPLAY_TURNS: Final = 8  # commits between two turns of the loop
_NEVER: Final = 1 << 62  # transactions

DIVERGED: Final = "diverged"
"""The code of a node whose state is not what a quorum has signed."""


class NeverSigned:
    """consensus.ports.SignState of a node that is no validator."""

    def load(self) -> SignMark | None:
        """Nothing."""
        return None

    def record(self, mark: SignMark) -> None:
        """InvariantViolation: it signs no vertex."""
        invariant(False, "only a validator signs vertices", mark=mark)


Progress = Callable[[int, int], None]
"""Called as (commits executed, commits in the log) while a start replays the log."""


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """How a ledger runs; none of it is a rule of its chain.

    verify_threads: native workers; 0: one less than there are cores, two at least. checkpoint_transactions:
    between two checkpoints on disk: a restart replays as many at most. signs: False for a node that only
    follows, whatever its key is. issues: a node that is no validator issues operators' vertices with its key;
    without it, it takes no transactions.
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


class Freeze(NamedTuple):
    """Why a ledger is only to be read: it signs, sequences and executes nothing, and meets no peer. code:
    stable. until: the last commit whose state is told; None: the last one whose outcome is stored."""

    code: str
    words: str
    until: int | None = None


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
        self.marker: Background | None = None
        self.store: LmdbStore
        self.books: Books
        self.host: Host | None = None
        self.service: Service
        self.lookups: Lookups
        self.pool: WorkerPool
        self._closers: list[Callable[[], object]] = []
        self._is_closed = False

    def on_close(self, closer: Callable[[], object]) -> None:
        """Something to let go of, before all that was opened before it."""
        self._closers.append(closer)

    def collect(self) -> None:
        """Take what the background has done."""
        try:
            self.background.collect()
            if self.marker is not None:
                self.marker.collect()
        except Exception as error:
            if self.host is None:
                raise
            self.host.fail(error)

    async def backup(self, folder: Path) -> int:
        """Copy the ledger to a new folder while it goes on; index of the last commit that is surely in it."""
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder}: it is there already, and not empty")
        last = self.store.last_commit()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.background.submit(lambda: copy_home(self.home, self.store, folder), done.set_result)
        await done
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
        self._release()
        if errors:
            raise errors[0]

    def _release(self) -> None:
        """Let go of the parts. They refer to one another, and hold so much native memory in so few objects
        that the collector would leave them for long: twenty ledgers opened and closed took 5 GB."""
        if self.host is not None:
            self.host.release()
        for name in ("background", "books", "host", "lookups", "marker", "pool", "service", "store"):
            self.__dict__.pop(name, None)
        gc.collect()

    def __getattr__(self, name: str) -> Any:
        """What close has let go of, or what was not opened."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise Closed("the ledger is closed")


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
    running = Running(home, _freeze_in(home) or freeze)
    try:
        await _open(running, options or LedgerOptions(), network or NoPeers(), progress, key, tell)
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


async def _open(
    running: Running,
    options: LedgerOptions,
    network: Network,
    progress: Progress | None,
    key: KeyPair | None,
    tell: Tell,
) -> None:
    home, genesis = running.home, running.home.genesis
    chain, committee = genesis.chain(), genesis.committee()
    registry = ModuleRegistry(modules_of(genesis.modules, chain))
    fee_min = genesis.ledger_params.fee_min
    rules = EpochRules.of(chain, committee, kinds=registry.kinds, fee_min=fee_min)
    identity = Identity(genesis.digest, committee.epoch)
    loop = asyncio.get_running_loop()
    seed = os.urandom(_SEED_BYTES)

    signer = ValidatorSigner(key or home.key(VALIDATOR))
    keys = [member.public_key for member in committee.members]
    is_member = signer.public_key in keys and options.signs and running.freeze is None
    me = ValidatorIndex(keys.index(signer.public_key)) if is_member else None
    sign_state: SignState = NeverSigned()
    operator = signer.public_key if options.issues and me is None and running.freeze is None else None
    if me is not None or operator is not None:
        sign_state = home.sign_state(signer.public_key)
        running.on_close(sign_state.close)
    store = running.store = LmdbStore(home.data, identity, options.store)
    running.on_close(store.close)

    derived = home.data / DERIVED
    derived.mkdir(exist_ok=True)
    background = running.background = Background(lambda: _call_soon(loop, running.collect))
    running.on_close(background.close)

    last = store.last_commit()
    restored = restore(
        genesis,
        lambda: modules_of(genesis.modules, chain),
        seed,
        derived,
        last.index if last else 0,
        background,
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
    params = genesis.chain_params
    books = running.books = Books(
        chain, executor, store, restored.indexes, checkpointing, params.checkpoint_commits
    )
    await _replay(running, progress)

    pool = running.pool = WorkerPool(options.verify_threads or max(2, (os.cpu_count() or 2) - 1))
    running.on_close(lambda: pool.close(drain=False))
    verifier = Verifier(rules, pool)
    mempool = Mempool(options.mempool, seed)
    source = MempoolSource(mempool, chain)
    config = NodeConfig(rules, me, params, options.timing, os.urandom(_SEED_BYTES), spread=SpreadLimits())
    node = Node(config, signer, sign_state, source, store)

    def certificate() -> CheckpointCertificate | None:
        """Of the state that the trees stand for; a solo chain signs whatever state there is now."""
        if me is None or len(committee) > 1:
            found = host.certificate
            return found if found is not None and found.checkpoint.index == books.root_index else None
        newest = store.last_commit() if books.commit_index else None
        if newest is None or newest.index != books.commit_index:
            return None
        root = books.root_now()
        checkpoint = Checkpoint(genesis.digest, committee.epoch, newest.index, newest.digest, root)
        signature = CheckpointSignature(me, signer.sign(checkpoint.signing_digest(chain)))
        return CheckpointCertificate(checkpoint, (signature,))

    service = running.service = Service(rules, mempool, source, verifier, options.service)
    running.on_close(service.close)
    marker = running.marker = Background(lambda: _call_soon(loop, running.collect))
    running.on_close(marker.close)
    marking = Marking(sign_state, chain, marker, me, operator)
    clock = Clock()
    issuer = None if operator is None else Issuer(operator, source, service, clock)
    host = running.host = Host(
        node, store, books, verifier, network, issuer or service, clock, source.issued, marking
    )
    running.on_close(host.stop)
    if issuer is not None and operator is not None:
        mark, timing = sign_state.load(), options.issue_timing
        issuer.attach(host, Issuing(rules, node.engine, operator, signer, source, timing, mark))
        service.check_admits = issuer.check
        running.on_close(issuer.close)
    elif me is None and running.freeze is None:
        service.check_admits = _refuse_all

    running.lookups = Lookups(rules, accounts, books, store, certificate)
    service.attach(host, running.lookups)
    host.tell = tell
    host.on_diverged = partial(_keep_evidence, running)
    if running.freeze is None:
        host.start()
        if issuer is not None:
            issuer.start(sign_state)


def _refuse_all() -> None:
    """An observer has nothing to put a transaction into, and forwards none."""
    raise Rejected(
        "node_issues_nothing",
        "this node only follows and issues nothing: submit to a validator or an operator",
    )


def _keep_evidence(running: Running, found: Diverged) -> None:
    """Write it down before anything else happens, so that no restart signs again."""
    host = running.host
    index, agreed = found.own.index, None if host is None else host.agreed
    before = max(0, index - running.home.genesis.chain_params.checkpoint_commits)
    served_index = before if agreed is None else agreed.checkpoint.index
    facts = {
        "validator": None if host is None else host.node.me,
        "last_commit": running.books.commit_index,
        "versions": {
            "cherrydag": __version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "instructions": crypto.backend(),
        },
    }
    kept = write_divergence(running.home.folder, found, served_index, facts)
    running.refusals[DIVERGED] = (
        f"its state at commit {index} is not what a quorum has signed: {kept.path.name}"
    )


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
