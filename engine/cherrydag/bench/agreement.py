"""Whether the nodes of a network say the same of its chain and its accounts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from cherrydag.address import Network, address_of, encode_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cherrydag.bench.node_api import NodeApi
    from cherrydag.signing import KeyPair

ACCOUNTS_MAX: Final = 500
"""Accounts whose balances are compared."""

_CATCH_UP_S: Final = 30.0
_POLL_S: Final = 0.1


def digest_differences(apis: Mapping[str, NodeApi]) -> list[str]:
    """What running nodes tell differently of the last commit that one of them has now, and whether one says
    itself that it has another state. ConnectionError if one does not answer."""
    last = max(api.figures().commit_index for api in apis.values())
    until_s = time.monotonic() + _CATCH_UP_S
    for name, api in apis.items():
        while (figures := api.figures()).commit_index < last:
            if time.monotonic() > until_s:
                return [f"{name} is at commit {figures.commit_index}, another one at {last}"]
            time.sleep(_POLL_S)
    found = [
        f"{name} says that its state is not the quorum's"
        for name, api in apis.items()
        if api.figures().diverged
    ]
    digests = {
        name: api.call("commit", commit_index=last, count=0)["digest"] if last else ""
        for name, api in apis.items()
    }
    return found + _differences(f"the digest of commit {last}", digests)


def disagreements(apis: Mapping[str, NodeApi], accounts: Sequence[KeyPair]) -> list[str]:
    """As digest_differences, and what they say of fees and balances. Nothing may be under way any more."""
    found = digest_differences(apis)
    asked = accounts[:: max(1, -(-len(accounts) // ACCOUNTS_MAX))]
    named = [{"address": encode_address(address_of(key.public_key), Network.DEV)} for key in asked]
    fees = {name: api.call("supply")["fees"] for name, api in apis.items()}
    balances = {name: [one["balance"] for one in api.calls("balance", named)] for name, api in apis.items()}
    found += _differences("the fees", fees)
    return found + _differences(f"the balances of {len(named)} accounts", balances)


def _differences(what: str, told: Mapping[str, object]) -> list[str]:
    """Who says something else than the first."""
    first, *others = told
    return [f"{first} and {other} differ in {what}" for other in others if told[other] != told[first]]
