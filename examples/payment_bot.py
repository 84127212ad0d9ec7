#!/usr/bin/env python3
"""A bot that answers each payment with half of it, over a node's WebSocket, exactly once over any restarts.

    python3 examples/payment_bot.py http://127.0.0.1:8645 --keystore KEYS --key NAME --state FILE

It follows every commit behind its cursor, without a gap. What it owes for a commit is signed and written to
FILE together with the cursor before any of it is sent. So after a crash the very same records are handed in
again, which is harmless: a transaction has an effect once.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cherrydag.address import address_of, addresses_of
from cherrydag.client import AsyncClient
from cherrydag.execution.accounts import Status
from cherrydag.keystore import Keystore
from cherrydag.params import NONCE_WINDOW
from cherrydag.rpc.link import RemoteCommit
from cherrydag.signing import KeyPair, sign_records
from cherrydag.transaction import Kind, Records, amounts, as_records, build_transfers


class State:
    """How far the bot has come: the last commit that it has dealt with, and what it owes for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = json.loads(path.read_text()) if path.exists() else {}
        self.cursor: int = kept.get("cursor", 0)
        self.owed: Records = as_records(bytes.fromhex(kept.get("owed", "")))

    def write(self, cursor: int, owed: Records) -> None:
        """Durable on return, and whole whatever happens meanwhile."""
        self.cursor, self.owed = cursor, owed
        unfinished = self._path.with_name(f"{self._path.name}.new")
        with unfinished.open("w") as file:
            json.dump({"cursor": cursor, "owed": owed.tobytes().hex()}, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)


class Bot:
    """Answers payments to one key."""

    def __init__(self, client: AsyncClient, key: KeyPair, state: State) -> None:
        self._client = client
        self._key = key
        self._state = state
        self._address = np.frombuffer(address_of(key.public_key), np.uint8)

    async def run(self) -> None:
        """Until it is cancelled, or the node has been away for too long."""
        await self._pay()  # what a crash has left
        async for commit in self._client.subscribe(after=self._state.cursor):
            self._state.write(commit.index, await self._owed(commit))
            await self._pay()

    async def _owed(self, commit: RemoteCommit) -> Records:
        """What answers the payments of a commit, signed."""
        records = commit.records
        is_ours = (commit.statuses == Status.APPLIED) & (records["kind"] == Kind.TRANSFER)
        is_ours &= (records["recipient"] == self._address).all(axis=1) & (records["asset"] == 0)
        senders = np.ascontiguousarray(records["sender"][is_ours])
        halves = [amount // 2 for amount in amounts(records[is_ours])]
        chosen = [row for row, half in enumerate(halves) if half]
        if not chosen:
            return as_records(b"")
        chain = await self._client.connect()
        first = (await self._client.account(self._key)).next_nonce  # all before is final
        owed = build_transfers(
            senders=self._key.public_key,
            recipients=addresses_of(senders)[chosen],
            amounts=[halves[row] for row in chosen],
            nonces=np.arange(first, first + len(chosen), dtype=np.uint64),
        )
        sign_records(owed, chain.transaction_key, [self._key], np.zeros(len(owed), int))
        return owed

    async def _pay(self) -> None:
        """Hand in what is owed, and wait until it is final; as many at once as an account may have."""
        owed = self._state.owed
        for start in range(0, len(owed), NONCE_WINDOW):
            await (await self._client.submit(owed[start : start + NONCE_WINDOW])).final()
        if len(owed):
            print(f"commit {self._state.cursor}: answered {len(owed)}", flush=True)


async def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--keystore", type=Path, required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--state", type=Path, required=True)
    options = parser.parse_args(arguments)
    key = Keystore(options.keystore).load(options.key, None)
    async with AsyncClient(options.url) as client:
        await Bot(client, key, State(options.state)).run()


if __name__ == "__main__":
    asyncio.run(main())
