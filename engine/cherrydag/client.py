"""A ledger on another machine: the verbs of Ledger, spoken to a node's API.

    with Client("http://127.0.0.1:8645") as client:
        client.transfer(key, to, 5 * COIN).wait()

Keys stay here: transactions are signed before they are sent. A node can refuse, be slow or lie: Rejected and
Overloaded carry its code, ConnectionError says that there was no answer, PeerFault that the answer is false.
What is proven is believed on the strength of the genesis digest alone: give it, or the first answer is taken.

Client is for threads and scripts, AsyncClient for an event loop; the verbs are the same.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Final, Self, TypeVar

import numpy as np

from cherrydag.address import Network, encode_address
from cherrydag.async_ledger import AccountView, LedgerStatus
from cherrydag.chain import Chain
from cherrydag.errors import Closed, ConfigError, PeerFault
from cherrydag.execution.accounts import NATIVE, account_key
from cherrydag.genesis import Genesis, decode_genesis
from cherrydag.inclusion import InclusionProof, verify_inclusion
from cherrydag.params import FEE_MIN
from cherrydag.payload import body_offsets
from cherrydag.primitives import Address, Amount, Digest, PublicKey
from cherrydag.rpc import readings
from cherrydag.rpc.dag_readings import DagUpdate, ValidatorView, VertexView, validators_of, vertex_of
from cherrydag.rpc.link import Link, RemoteCommit
from cherrydag.rpc.remote_submission import RemoteSubmission
from cherrydag.runtime.lookups import (
    BONDS_PAGE_MAX,
    AccountProof,
    BondPage,
    BondState,
    HistoryItem,
    HistoryPage,
    Supply,
    TransactionReceipt,
)
from cherrydag.runtime.loop_thread import LoopThread
from cherrydag.runtime.orders import Owner, Payer, Terms, address_of_owner
from cherrydag.runtime.submissions import Phase
from cherrydag.signing import KeyPair
from cherrydag.state_proof import ACCOUNTS, StateKey, decode_state_proof, verify_state_proof
from cherrydag.transaction import Bytes, Records, as_records, transaction_ids
from cherrydag.verify import EpochRules, verify_certificate

_Result = TypeVar("_Result")

_WINDOW_PAUSE_S: Final = 0.05


class AsyncClient(Payer[RemoteSubmission]):
    """The verbs on a running event loop. `async with` closes it.

    url: of the node's API. genesis_digest: of the chain that it must be; ConfigError from the first call if
    it is another. timeout_s: for an answer.
    """

    def __init__(self, url: str, *, genesis_digest: bytes | None = None, timeout_s: float = 30.0) -> None:
        super().__init__()
        self._link = Link(url, timeout_s)
        self._pinned = genesis_digest
        self._genesis: Genesis | None = None
        self._chain: Chain | None = None
        self._network: Network | None = None

    async def close(self) -> None:
        """Let the connection go. Idempotent."""
        await self._link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> Chain:
        """Ask once which chain this is."""
        if self._chain is None:
            info = await self._link.call("ledger_info")
            digest, network = readings.identity_of(info)
            if self._pinned is not None and digest != self._pinned:
                raise ConfigError(
                    f"genesis_digest: expected {self._pinned.hex()}, the node's is {digest.hex()}"
                )
            self._network, self._chain = network, Chain.of(digest)
        return self._chain

    async def genesis(self) -> Genesis:
        """The chain's genesis, its digest checked."""
        chain = await self.connect()
        if self._genesis is None:
            form = await self._link.call("genesis")
            try:
                found = decode_genesis(bytes.fromhex(form["encoding"]))
            except (ConfigError, LookupError, TypeError, ValueError) as error:
                raise PeerFault("answer", f"genesis: {error}") from error
            if found.digest != chain.genesis_digest:
                raise PeerFault("answer", "genesis: it is another chain's")
            self._genesis = found
        return self._genesis

    async def call(self, method: str, **params: object) -> Any:
        """The result of a method of the node's API, by its name, as JSON."""
        return await self._link.call(method, **params)

    # Submission

    async def submit(
        self, records: Records | Bytes, bodies: Bytes = b"", *, wait: bool = True
    ) -> RemoteSubmission:
        """Hand in signed transactions: they are accepted or refused, by row, when this returns; await the
        submission for what is final. wait: for room in the node's mempool, where it is full."""
        chain = await self.connect()
        taken = np.ascontiguousarray(records if isinstance(records, np.ndarray) else as_records(records))
        offsets = body_offsets(taken, len(bodies))
        ids = transaction_ids(taken, chain.transaction_key, bodies, offsets)
        submission = RemoteSubmission(self._link, taken, bytes(bodies), offsets, ids)
        await submission.hand_in(wait_for_room=wait)
        return submission

    async def _terms(self) -> Terms:
        """Never with a fee that a node has named: it may lie."""
        chain = await self.connect()
        return Terms(self._of_network(), chain.transaction_key, FEE_MIN)

    async def _nonce_window(self, address: Address) -> tuple[int, int]:
        return readings.nonce_window_of(await self._link.call("account", address=self._text(address)))

    async def _phase(self, transaction_id: Digest) -> Phase | None:
        return await self.phase(transaction_id)

    async def _next_commit(self) -> None:
        await asyncio.sleep(_WINDOW_PAUSE_S)

    # Reads

    async def balance(self, owner: Owner, asset: int = NATIVE) -> Amount:
        """As Ledger.balance."""
        await self.connect()
        return readings.balance_of(await self._link.call("balance", address=self._text(owner), asset=asset))

    async def account(self, owner: Owner) -> AccountView:
        """As Ledger.account."""
        await self.connect()
        form = await self._link.call("account", address=self._text(owner))
        return readings.account_of(form, self._of_network())

    async def receipt(self, transaction_id: bytes) -> TransactionReceipt | None:
        """As Ledger.receipt."""
        form = await self._link.call("receipt", id=transaction_id.hex())
        return None if form is None else readings.receipt_of(form)

    async def phase(self, transaction_id: bytes) -> Phase | None:
        """As Ledger.phase."""
        return readings.phase_of(await self._link.call("phase", id=transaction_id.hex()))

    async def transaction(self, transaction_id: bytes) -> HistoryItem | None:
        """As Ledger.transaction; the record is checked against the id."""
        chain = await self.connect()
        form = await self._link.call("transaction", id=transaction_id.hex())
        return None if form is None else readings.item_of(form, chain.transaction_key)

    async def history(self, owner: Owner, limit: int = 50, cursor: int | None = None) -> HistoryPage:
        """As Ledger.history, but a page with large bodies may have fewer items and a cursor."""
        chain = await self.connect()
        past = None if cursor is None else str(cursor)
        form = await self._link.call("history", address=self._text(owner), limit=limit, cursor=past)
        return readings.page_of(form, chain.transaction_key)

    async def inclusion(self, transaction_id: bytes) -> InclusionProof | None:
        """As Ledger.inclusion; PeerFault unless it leads to the vertex that the node names."""
        form = await self._link.call("inclusion_proof", id=transaction_id.hex())
        if form is None:
            return None
        proof, vertex = readings.inclusion_of(form)
        if not verify_inclusion(proof, transaction_id, vertex.digest):
            raise PeerFault("inclusion_proof", "the proof does not lead to the vertex")
        return proof

    async def proof(self, owner: Owner, asset: int = NATIVE) -> AccountProof:
        """As Ledger.proof, verified here: a quorum of the genesis' committee has signed this state.

        PeerFault if it does not hold, with the code of what is wrong.
        """
        genesis = await self.genesis()
        address = self._address(owner)
        form = await self._link.call("account_proof", address=self._text(owner), asset=asset)
        certificate, encoded = readings.proof_of(form)
        verify_certificate(certificate, EpochRules.of(genesis.chain(), genesis.committee()))
        state = decode_state_proof(encoded)
        key = StateKey(ACCOUNTS, account_key(address, asset))
        value = verify_state_proof(state, key, certificate.checkpoint.state_root)
        return AccountProof(address, asset, readings.line_of_value(value), state, certificate)

    async def supply(self, asset: int = NATIVE) -> Supply:
        """As Ledger.supply."""
        return readings.supply_of(await self._link.call("supply", asset=asset))

    async def bond(self, operator: PublicKey) -> BondState:
        """As Ledger.bond."""
        await self.connect()
        return readings.bond_of(await self._link.call("bond", operator=operator.hex()), self._of_network())

    async def bonds(self, after: PublicKey | None = None, limit: int = BONDS_PAGE_MAX) -> BondPage:
        """As Ledger.bonds."""
        await self.connect()
        form = await self._link.call("bonds", after=None if after is None else after.hex(), limit=limit)
        return readings.bond_page_of(form, self._of_network())

    async def status(self) -> LedgerStatus:
        """As Ledger.status, of the node."""
        return readings.status_of(await self._link.call("status"))

    async def subscribe(self, after: int | None = None) -> AsyncGenerator[RemoteCommit, None]:
        """Every commit behind `after`, without a gap, whatever connections break; None: those to come.

        ConnectionError once the node has been away for timeout_s; go on later with the last event's index.
        """
        await self.connect()
        async for commit in self._link.follow(after):
            yield commit

    # The DAG

    async def vertex(self, digest: bytes | str) -> VertexView | None:
        """A vertex by its digest, or by the first 16 digits of that or more, as the node has it."""
        digits = digest.lower() if isinstance(digest, str) else digest.hex()
        form = await self._link.call("vertex", digest=digits)
        return None if form is None else vertex_of(form, digits)

    async def validators(self) -> tuple[ValidatorView, ...]:
        """The validators' part in the DAG, as the node sees it."""
        return validators_of(await self._link.call("validators"))

    async def dag(self, after: int | None = None) -> AsyncGenerator[DagUpdate, None]:
        """How the DAG grows behind a cursor, whatever connections break; None: all that the node has kept.

        An update with is_gap says that something is missing before it, since the node does not have it any
        more. ConnectionError as from `subscribe`.
        """
        await self.connect()
        async for update in self._link.follow_dag(after):
            yield update

    def _of_network(self) -> Network:
        if self._network is None:
            raise Closed("the client has not been connected")
        return self._network

    def _address(self, owner: Owner) -> Address:
        return address_of_owner(owner, self._of_network())

    def _text(self, owner: Owner) -> str:
        return encode_address(self._address(owner), self._of_network())


class Client:
    """The verbs for threads and scripts: each call blocks until it is done. Threads may share it.

    Arguments as AsyncClient's. `with` closes it.
    """

    def __init__(self, url: str, *, genesis_digest: bytes | None = None, timeout_s: float = 30.0) -> None:
        self._client = AsyncClient(url, genesis_digest=genesis_digest, timeout_s=timeout_s)
        self._thread = LoopThread("client")

    def close(self) -> None:
        """As AsyncClient.close."""
        self._thread.close(self._client.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, records: Records | Bytes, bodies: Bytes = b"", *, wait: bool = True) -> RemoteSubmission:
        """As AsyncClient.submit; `wait()` of the submission blocks until it is final."""
        return self._thread.run(self._client.submit(records, bodies, wait=wait)).blocking(self._thread.run)

    def transfer(self, key: KeyPair, to: Owner, amount: int, **fields: Any) -> RemoteSubmission:
        """As AsyncClient.transfer, with its fields."""
        return self._thread.run(self._client.transfer(key, to, amount, **fields)).blocking(self._thread.run)

    def operate(self, key: KeyPair, kind: int, body: bytes = b"", **fields: Any) -> RemoteSubmission:
        """As AsyncClient.operate, with its fields."""
        return self._thread.run(self._client.operate(key, kind, body, **fields)).blocking(self._thread.run)

    def genesis(self) -> Genesis:
        """As AsyncClient.genesis."""
        return self._thread.run(self._client.genesis())

    def call(self, method: str, **params: object) -> Any:
        """As AsyncClient.call."""
        return self._thread.run(self._client.call(method, **params))

    def balance(self, owner: Owner, asset: int = NATIVE) -> Amount:
        """As AsyncClient.balance."""
        return self._thread.run(self._client.balance(owner, asset))

    def account(self, owner: Owner) -> AccountView:
        """As AsyncClient.account."""
        return self._thread.run(self._client.account(owner))

    def receipt(self, transaction_id: bytes) -> TransactionReceipt | None:
        """As AsyncClient.receipt."""
        return self._thread.run(self._client.receipt(transaction_id))

    def phase(self, transaction_id: bytes) -> Phase | None:
        """As AsyncClient.phase."""
        return self._thread.run(self._client.phase(transaction_id))

    def transaction(self, transaction_id: bytes) -> HistoryItem | None:
        """As AsyncClient.transaction."""
        return self._thread.run(self._client.transaction(transaction_id))

    def history(self, owner: Owner, limit: int = 50, cursor: int | None = None) -> HistoryPage:
        """As AsyncClient.history."""
        return self._thread.run(self._client.history(owner, limit, cursor))

    def inclusion(self, transaction_id: bytes) -> InclusionProof | None:
        """As AsyncClient.inclusion."""
        return self._thread.run(self._client.inclusion(transaction_id))

    def proof(self, owner: Owner, asset: int = NATIVE) -> AccountProof:
        """As AsyncClient.proof."""
        return self._thread.run(self._client.proof(owner, asset))

    def supply(self, asset: int = NATIVE) -> Supply:
        """As AsyncClient.supply."""
        return self._thread.run(self._client.supply(asset))

    def bond(self, operator: PublicKey) -> BondState:
        """As AsyncClient.bond."""
        return self._thread.run(self._client.bond(operator))

    def bonds(self, after: PublicKey | None = None, limit: int = BONDS_PAGE_MAX) -> BondPage:
        """As AsyncClient.bonds."""
        return self._thread.run(self._client.bonds(after, limit))

    def status(self) -> LedgerStatus:
        """As AsyncClient.status."""
        return self._thread.run(self._client.status())

    def subscribe(self, after: int | None = None) -> Iterator[RemoteCommit]:
        """As AsyncClient.subscribe: blocks for the next commit."""
        return self._blocking(self._client.subscribe(after))

    def vertex(self, digest: bytes | str) -> VertexView | None:
        """As AsyncClient.vertex."""
        return self._thread.run(self._client.vertex(digest))

    def validators(self) -> tuple[ValidatorView, ...]:
        """As AsyncClient.validators."""
        return self._thread.run(self._client.validators())

    def dag(self, after: int | None = None) -> Iterator[DagUpdate]:
        """As AsyncClient.dag: blocks for the next update."""
        return self._blocking(self._client.dag(after))

    def _blocking(self, events: AsyncGenerator[_Result, None]) -> Iterator[_Result]:
        try:
            while True:
                yield self._thread.run(events.__anext__())
        finally:
            if not self._thread.is_closed:
                self._thread.run(events.aclose())
