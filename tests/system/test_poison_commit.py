"""A commit whose execution kills the process: a start dies of it again, and safe mode tells all before it."""

import asyncio
from pathlib import Path

import pytest
from waiting import PATIENCE_S

from cherrydag.errors import InvariantViolation, invariant
from cherrydag.execution.executor import Executor
from cherrydag.ledger import AsyncLedger
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.freeze import Freeze
from cherrydag.runtime.home import TREASURY, create_solo
from cherrydag.runtime.opening import LedgerOptions, open_ledger
from cherrydag.signing import generate_keypair
from cherrydag.storage.values import StoreOptions

BOB = generate_keypair(b"\x02" * 32)
OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 30, preflight=False), verify_threads=1)
SAFE_MODE = Freeze("safe_mode", "it has crashed too often")


async def test_safe_mode_executes_no_commit_that_was_never_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home = create_solo(tmp_path / "shop", created_ms=TimestampMs(1_700_000_000_000))
    treasury = home.key(TREASURY)
    running = await open_ledger(home, OPTIONS)
    ledger = AsyncLedger(running)
    await asyncio.wait_for(await ledger.transfer(treasury, BOB, 5), PATIENCE_S)
    good = running.books.commit_index
    execute = Executor.execute

    def poisoned(self, sub_dag):
        invariant(sub_dag.commit.index <= good, "no commit is poisonous", index=sub_dag.commit.index)
        return execute(self, sub_dag)

    monkeypatch.setattr(Executor, "execute", poisoned)
    with pytest.raises(InvariantViolation, match="no commit is poisonous"):
        await asyncio.wait_for(await ledger.transfer(treasury, BOB, 5), PATIENCE_S)
    await running.close()

    with pytest.raises(InvariantViolation, match="no commit is poisonous"):
        await open_ledger(home, OPTIONS)
    for _ in range(2):
        running = await open_ledger(home, OPTIONS, freeze=SAFE_MODE)
        assert running.books.commit_index == good < running.store.last_commit().index
        assert AsyncLedger(running).balance(BOB) == 5
        assert running.refusals == {"safe_mode": "it has crashed too often"}
        await running.close()

    monkeypatch.undo()  # whoever understands it has repaired it
    running = await open_ledger(home, OPTIONS)
    assert AsyncLedger(running).balance(BOB) == 10
    await running.close()
