"""Bonds for a devnet's operators, so that they may issue."""

import asyncio
from collections.abc import Sequence
from typing import Final

from cherrydag.address import address_of
from cherrydag.client import AsyncClient
from cherrydag.errors import ConfigError
from cherrydag.execution.accounts import Status
from cherrydag.execution.bonds import BOND_MIN, BondKind, encode_bond, possession_digest
from cherrydag.signing import KeyPair, sign_digest

BOND: Final = 8 * BOND_MIN
"""What each operator's bond is: the most uncommitted vertices that one may have."""

_TIMEOUT_S: Final = 120.0
"""A second or less where the machine has cores to spare; a busy one makes everybody wait."""


async def place_bonds(url: str, owner: KeyPair, operators: Sequence[KeyPair]) -> None:
    """Bond the keys of new operators with the owner's coins; returns when that is final.

    ConfigError if a bond is refused, TimeoutError if they are not final in two minutes. Call it once for an
    operator: a bond that is there grows.
    """
    try:
        await asyncio.wait_for(_place(url, owner, operators), _TIMEOUT_S)
    except TimeoutError:
        raise TimeoutError(f"the operators' bonds are not final after {_TIMEOUT_S:.0f} s") from None


async def _place(url: str, owner: KeyPair, operators: Sequence[KeyPair]) -> None:
    async with AsyncClient(url) as client:
        for key in operators:
            digest = possession_digest(key.public_key, address_of(owner.public_key))
            body = encode_bond(key.public_key, sign_digest(digest, key))
            sent = await (await client.operate(owner, BondKind.BOND, body, amount=BOND))
            if sent.statuses[0] != Status.APPLIED:
                receipt = await client.receipt(sent.id())
                why = "" if receipt is None or receipt.operation is None else receipt.operation.refusal
                raise ConfigError(f"bond of operator {key.public_key.hex()}: {why or sent.statuses[0]}")
