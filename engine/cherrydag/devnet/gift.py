"""Asking a node's faucet, as a client."""

import asyncio
from typing import Final, NamedTuple

from cherrydag.errors import PeerFault
from cherrydag.primitives import Amount, Digest
from cherrydag.rpc.link import Link

_TIMEOUT_S: Final = 30.0
_PAUSE_S: Final = 0.1


class Gift(NamedTuple):
    """What was given. balance: of the address, afterwards."""

    id: Digest
    amount: Amount
    balance: Amount


async def ask_faucet(url: str, address: str) -> Gift:
    """Have the node's faucet give to an address; returns when that is final.

    Rejected or Overloaded with the node's reason, ConnectionError if it has no faucet or is not there.
    """
    link = Link(url, _TIMEOUT_S)
    try:
        given = await link.call("faucet", address=address)
        async with asyncio.timeout(_TIMEOUT_S):
            while (await link.call("phase", id=given["id"]))["phase"] != "final":
                await asyncio.sleep(_PAUSE_S)
        found = await link.call("balance", address=address)
        return Gift(
            Digest(bytes.fromhex(given["id"])), Amount(int(given["amount"])), Amount(int(found["balance"]))
        )
    except (LookupError, TypeError, ValueError) as error:
        raise PeerFault("answer", f"faucet: {error}") from error
    finally:
        await link.close()
