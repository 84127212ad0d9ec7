"""A transaction of one's own, wherever the ledger is: whose account, which nonce, and the signature."""

import time
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
from cherrydag.primitives import Address
from cherrydag.runtime.submissions import Phase, SubmittedRows, describe
from cherrydag.signing import KeyPair, sign_records
from cherrydag.transaction import Bytes, Kind, Records, build_transfers

_Handed = TypeVar("_Handed", bound=SubmittedRows)

Owner: TypeAlias = Address | str | KeyPair
"""An account: its 20 bytes, its text, or its key."""

_EXPIRED_S: Final = 30
"""So long after its valid_until by our clock, a transaction is taken to be expired by the main chain's."""

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
    """Nonces of one account. returned: a heap. doubtful: each with the second after which it is taken to be
    free."""

    next: int = 0
    returned: list[int] = field(default_factory=list)
    doubtful: dict[int, int] = field(default_factory=dict)


class Nonces:
    """Those that were given out here, so that no two transactions under way share one.

    Of the accounts that were asked for last, ACCOUNTS_MAX; one that was forgotten starts from what it has
    used, so that a transaction of it may be refused if others were under way.
    """

    ACCOUNTS_MAX: Final = 65_536

    def __init__(self) -> None:
        self._accounts: dict[Address, _Given] = {}

    def take(self, address: Address, unused: int, limit: int, now_s: int) -> int | None:
        """The lowest that is neither used nor given out; if the limit allows none, the lowest unused one if
        that is in doubt; else None.

        unused: the lowest that the account has not used.
        """
        given = self._of(address)
        given.doubtful = {nonce: free_s for nonce, free_s in given.doubtful.items() if nonce >= unused}
        while given.returned and given.returned[0] < unused:
            heappop(given.returned)
        if given.returned and given.returned[0] < limit:
            return heappop(given.returned)
        fresh = max(unused, given.next)
        if fresh < limit:
            given.next = fresh + 1
            return fresh
        if given.doubtful.get(unused, now_s) >= now_s:  # those above it may have been used
            return None
        del given.doubtful[unused]
        return unused

    def refused(self, address: Address, nonce: int, error: Rejected | Overloaded) -> None:
        """Its transaction was not taken: it is given out again, unless another transaction has it. One that
        is never used holds up the account's window."""
        if isinstance(error, Overloaded) or error.code != _NONCE_IS_TAKEN:
            heappush(self._of(address).returned, nonce)

    def doubt(self, address: Address, nonce: int, free_s: int = -1) -> None:
        """Whether its transaction has an effect is not known, and will not be after this second: then it is
        given out again once there is no other, since then it is likely what holds up the account's window. At
        most one of the two has an effect."""
        self._of(address).doubtful[nonce] = free_s

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
        one that is neither used nor given out here; there is a wait if all 64 that may be under way are.
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
                self._nonces.doubt(sender, taken)
            raise
        if nonce is None and valid_until != VALID_FOREVER:
            self._nonces.doubt(sender, taken, valid_until + _EXPIRED_S)
        return submission

    async def _take_nonce(self, address: Address) -> int:
        """A nonce that nobody else gets; its window may have to come."""
        while True:
            nonce = self._nonces.take(address, *await self._nonce_window(address), int(time.time()))
            if nonce is not None:
                return nonce
            await self._next_commit()
