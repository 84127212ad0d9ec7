"""The files of checkpoints, as one comes and others go."""

import threading
from pathlib import Path

from cherrydag.ledger import Ledger
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import generate_keypair
from cherrydag.storage.values import StoreOptions

BOB = generate_keypair(b"\x02" * 32)
OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 24, preflight=False), checkpoint_transactions=20)


def test_a_checkpoint_that_begins_before_old_files_are_gone_keeps_its_own(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "shop", options=OPTIONS) as ledger:
        running = ledger._ledger._running
        checkpointing, discard = running.books.checkpointing, running.books.checkpointing._discard
        begun: list[bool] = []

        def discard_and_begin() -> None:
            """What happens if the next checkpoint is due before the background gets to the old files."""
            gate = threading.Event()
            running.background.submit(gate.wait, lambda _: None)
            discard()
            begun.append(checkpointing.begin())
            checkpointing._discard = discard
            gate.set()

        async def arm() -> None:
            checkpointing._discard = discard_and_begin

        ledger._thread.run(arm())
        while not (begun and not checkpointing.is_running):
            ledger.transfer(ledger.treasury, BOB, 1).wait(30)
        assert begun == [True]
        assert running.host.failure is None
