"""Coins for a load's own accounts, from one key of a network that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from cherrydag.address import addresses_of
from cherrydag.errors import ConfigError, Rejected
from cherrydag.execution.accounts import Status
from cherrydag.params import NONCE_WINDOW
from cherrydag.rpc.forms import status_name
from cherrydag.signing import KeyPair, generate_keypair, sign_records
from cherrydag.transaction import build_transfers, chain_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cherrydag.client import Client
    from cherrydag.signing import Progress
    from cherrydag.transaction import Records

HELPERS_MAX: Final = NONCE_WINDOW
"""Accounts that the payer pays, and which pay the others: an account has 64 transfers under way at a time."""


def cost(accounts: int, each: int, fee: int) -> int:
    """What `fund` takes from the payer."""
    helpers = _helpers(accounts)
    return accounts * (each + fee) + helpers * fee


def fund(
    client: Client,
    genesis_digest: bytes,
    payer: KeyPair,
    accounts: Sequence[KeyPair],
    each: int,
    fee: int,
    progress: Progress,
) -> None:
    """Give each account so much. progress: is called with (done, total).

    ConfigError if the payer does not have what it costs; Rejected if a transfer is refused.
    """
    view, total = client.account(payer), cost(len(accounts), each, fee)
    if view.balance < total:
        raise ConfigError(f"the payer has {view.balance} smallest units, and this load needs {total}")
    helpers = [generate_keypair() for _ in range(_helpers(len(accounts)))]
    groups = [list(accounts[at :: len(helpers)]) for at in range(len(helpers))]
    key = chain_key(genesis_digest)
    amounts = [len(group) * (each + fee) for group in groups]
    _send(client, _transfers(key, payer, helpers, amounts, view.next_nonce, fee))
    done = 0
    for first in range(0, len(groups[0]), NONCE_WINDOW):
        parts = [group[first : first + NONCE_WINDOW] for group in groups]
        _send(
            client,
            np.concatenate(
                [
                    _transfers(key, helper, part, [each] * len(part), first, fee)
                    for helper, part in zip(helpers, parts, strict=True)
                    if part
                ]
            ),
        )
        done += sum(map(len, parts))
        progress(done, len(accounts))


def _helpers(accounts: int) -> int:
    return max(1, min(HELPERS_MAX, accounts // 2))


def _transfers(
    key: bytes, sender: KeyPair, recipients: Sequence[KeyPair], amounts: Sequence[int], nonce: int, fee: int
) -> Records:
    publics = np.frombuffer(b"".join(one.public_key for one in recipients), np.uint8).reshape(-1, 32)
    records = build_transfers(
        senders=sender.public_key,
        recipients=addresses_of(publics),
        amounts=amounts,
        nonces=np.arange(nonce, nonce + len(recipients), dtype=np.uint64),
        fee=fee,
    )
    sign_records(records, key, [sender], np.zeros(len(records), np.int64))
    return records


def _send(client: Client, records: Records) -> None:
    """Hand them in and wait until they are final. Rejected unless all of them took effect."""
    submission = client.submit(records).wait()
    if submission.codes.any() and (submission.phases == 0).any():
        raise submission.refusal(int(np.flatnonzero(submission.phases == 0)[0]))
    odd = submission.statuses[submission.statuses != Status.APPLIED]
    if odd.size:
        raise Rejected("funding", f"a transfer of the funding was not applied: {status_name(int(odd[0]))}")
