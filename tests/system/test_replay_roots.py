"""A start makes one root of those that were due in what it replays, and proofs are of that one."""

from pathlib import Path

import pytest

from cherrydag.execution.executor import Executor
from cherrydag.ledger import Ledger
from cherrydag.primitives import Digest
from cherrydag.runtime import home as homes
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import generate_keypair
from cherrydag.storage.values import StoreOptions

BOB = generate_keypair(b"\x02" * 32)
EVERY = 4
OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 24, preflight=False))


@pytest.mark.parametrize("due", [0, 1, 3])
def test_one_root_is_made_of_what_is_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, due: int
) -> None:
    monkeypatch.setattr(homes, "SOLO_CHECKPOINT_COMMITS", EVERY)
    with Ledger.open(tmp_path / "shop", options=OPTIONS) as ledger:
        books = ledger._ledger._running.books
        ledger.transfer(ledger.treasury, BOB, 1).wait(30)
        while books.root_index < due * EVERY:
            ledger.transfer(ledger.treasury, BOB, 1).wait(30)
        last = books.root_index
    made: list[int] = []
    make = Executor.state_root

    def counted(self: Executor) -> Digest:
        made.append(self.commit_index)
        return make(self)

    monkeypatch.setattr(Executor, "state_root", counted)
    with Ledger.open(tmp_path / "shop", options=OPTIONS) as ledger:
        books = ledger._ledger._running.books
        expected = books.commit_index - books.commit_index % EVERY
        assert made == ([expected] if expected else [])
        assert books.root_index >= last >= due * EVERY
        line = ledger.proof(BOB).line
        assert line is not None and line.balance == ledger.balance(BOB)
