"""A transaction of one's own, wherever the ledger is: whose account, which nonce, and the signature."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from cherrydag.address import Network, address_of, decode_address
from cherrydag.errors import Overloaded, Rejected, ShapeError
from cherrydag.execution.accounts import NATIVE
from cherrydag.execution.body import ZERO_ADDRESS
from cherrydag.mempool import AddStatus
from cherrydag.params import ADDRESS_BYTES, VALID_FOREVER
from cherrydag.payload import body_offsets
from cherrydag.primitives import Address, Digest
from cherrydag.runtime.submissions import Phase, SubmittedRows, describe
from cherrydag.signing import KeyPair, sign_records
from cherrydag.transaction import Bytes, Kind, Records, build_transfers, transaction_ids

_Handed = TypeVar("_Handed", bound=SubmittedRows)

Owner: TypeAlias = Address | str | KeyPair
"""An account: its 20 bytes, its text, or its key."""

_NONCE_IS_TAKEN: Final = describe(AddStatus.NONCE)[0]


def address_of_owner(owner: Owner, network: Network) -> Address:
    """The account's 20 bytes. ShapeError for another length; what decode_address raises for a text."""
    if isinstance(owner, KeyPair):
        return address_of(owner.public_key)
    if isinstance(owner, str):
        return decode_address(owner, network)
    if len(owner) != ADDRESS_BYTES:
        raise ShapeError(f"owner: expected {ADDRESS_BYTES} bytes of address, got {len(owner)}")
    return owner


@dataclass(slots=True)
class _Given:
    """Nonces of one account. returned: a heap. holders: ids of the transactions that were handed in."""

    next: int = 0
    returned: list[int] = field(default_factory=list)
    holders: dict[int, Digest] = field(default_factory=dict)


class Nonces:
    """Those that were given out here, so that no two transactions under way share one.

    Of the accounts that were asked for last, ACCOUNTS_MAX; one that was forgotten starts from what it has
    used, so that a transaction of it may be refused if others were under way.
    """

    ACCOUNTS_MAX: Final = 65_536

    def __init__(self) -> None:
        self._accounts: dict[Address, _Given] = {}

    def take(self, address: Address, unused: int, limit: int) -> int | None:
        """The lowest that is neither used nor given out; None if the limit allows none.

        unused: the lowest that the account has not used.
        """
        given = self._of(address)
        given.holders = {nonce: holder for nonce, holder in given.holders.items() if nonce >= unused}
        while given.returned and given.returned[0] < unused:
            heappop(given.returned)
        if given.returned and given.returned[0] < limit:
            return heappop(given.returned)
        fresh = max(unused, given.next)
        if fresh >= limit:
            return None
        given.next = fresh + 1
        return fresh

    def refused(self, address: Address, nonce: int, error: Rejected | Overloaded) -> None:
        """Its transaction was not taken: it is given out again, unless another transaction has it. One that
        is never used holds up the account's window."""
        if isinstance(error, Overloaded) or error.code != _NONCE_IS_TAKEN:
            heappush(self._of(address).returned, nonce)

    def handed_in(self, address: Address, nonce: int, transaction_id: Digest) -> None:
        """A transaction has it, or has it perhaps."""
        self._of(address).holders[nonce] = transaction_id

    def holder(self, address: Address, nonce: int) -> Digest | None:
        """The transaction that has it; None if it was not given out here, or is not handed in yet."""
        return self._of(address).holders.get(nonce)

    def free(self, address: Address, nonce: int, holder: Digest) -> None:
        """Its transaction has come to nothing: it is given out again, unless it has been meanwhile."""
        given = self._of(address)
        if given.holders.get(nonce) == holder:
            del given.holders[nonce]
            heappush(given.returned, nonce)

    def _of(self, address: Address) -> _Given:
        given = self._accounts.pop(address, None) or _Given()
        self._accounts[address] = given  # the last one
        if len(self._accounts) > self.ACCOUNTS_MAX:
            del self._accounts[next(iter(self._accounts))]
        return given


class Terms(NamedTuple):
    """What an order must know of its chain. fee: what is paid where nothing is said."""

    network: Network
    transaction_key: bytes
    fee: int


class Payer(ABC, Generic[_Handed]):
    """Signs transactions of one's own and hands them in: to a ledger here, or to one that a node has."""

    def __init__(self) -> None:
        self._nonces = Nonces()

    @abstractmethod
    async def submit(self, records: Records | Bytes, bodies: Bytes = b"", *, wait: bool = True) -> _Handed:
        """Hand in signed transactions."""

    @abstractmethod
    async def _terms(self) -> Terms:
        """Of the chain."""

    @abstractmethod
    async def _nonce_window(self, address: Address) -> tuple[int, int]:
        """The lowest nonce that the account has not used, and the first one that it may not use yet."""

    @abstractmethod
    async def _phase(self, transaction_id: Digest) -> Phase | None:
        """How far a transaction has come; None if it is not known."""

    @abstractmethod
    async def _next_commit(self) -> None:
        """Wait until the account may have changed."""

    async def transfer(
        self,
        key: KeyPair,
        to: Owner,
        amount: int,
        *,
        fee: int | None = None,
        asset: int = NATIVE,
        nonce: int | None = None,
        valid_until: int = VALID_FOREVER,
    ) -> _Handed:
        """Sign and hand in one transfer. Raises Rejected, with the cause, if it is not accepted.

        fee: None for the least, of this ledger's chain or, in a client, of any. nonce: None takes the lowest
        one that is neither used nor given out here; there is a wait while all 64 that may be under way are.
        """
        return await self.operate(
            key,
            Kind.TRANSFER,
            asset=asset,
            amount=amount,
            recipient=to,
            fee=fee,
            nonce=nonce,
            valid_until=valid_until,
        )

    async def operate(
        self,
        key: KeyPair,
        kind: int,
        body: bytes = b"",
        *,
        asset: int = NATIVE,
        amount: int = 0,
        recipient: Owner = ZERO_ADDRESS,
        fee: int | None = None,
        nonce: int | None = None,
        valid_until: int = VALID_FOREVER,
    ) -> _Handed:
        """Sign and hand in one operation of a module: which fields it takes is for its kind to say."""
        terms, sender = await self._terms(), address_of(key.public_key)
        record = build_transfers(
            senders=key.public_key,
            recipients=address_of_owner(recipient, terms.network),
            amounts=amount,
            nonces=0,
            fee=terms.fee if fee is None else fee,
            asset=asset,
            valid_until=valid_until,
        )
        record["kind"], record["body_size"] = kind, len(body)
        taken = await self._take_nonce(sender) if nonce is None else nonce
        record["nonce"] = taken
        offsets = body_offsets(record, len(body))
        sign_records(
            record, terms.transaction_key, [key], np.zeros(1, int), bodies=body, body_offsets=offsets
        )
        try:
            submission = await self.submit(record, body)
            if submission.phases[0] == Phase.REFUSED:
                raise submission.refusal()
        except (Overloaded, Rejected) as error:
            if nonce is None:
                self._nonces.refused(sender, taken, error)
            raise
        except BaseException:  # the connection broke, or the wait for an answer was given up
            if nonce is None:
                ids = transaction_ids(record, terms.transaction_key, body, offsets)
                self._nonces.handed_in(sender, taken, Digest(ids))
            raise
        if nonce is None:
            self._nonces.handed_in(sender, taken, submission.id())
        return submission

    async def _take_nonce(self, address: Address) -> int:
        """A nonce that nobody else gets; its window may have to come."""
        while True:
            unused, limit = await self._nonce_window(address)
            nonce = self._nonces.take(address, unused, limit)
            if nonce is not None:
                return nonce
            holder = self._nonces.holder(address, unused)
            if holder is None or await self._phase(holder) in (Phase.ACCEPTED, Phase.SEQUENCED):
                await self._next_commit()
            elif (await self._nonce_window(address))[0] == unused:  # asked later: what is final shows in it
                self._nonces.free(address, unused, holder)
