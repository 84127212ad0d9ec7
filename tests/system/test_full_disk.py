"""A ledger whose disk is full: it takes nothing, answers, loses nothing, and goes on once there is room."""

from pathlib import Path

import pytest
from small_disk import fill, small_disk

from cherrydag.errors import NoRoom, Overloaded
from cherrydag.ledger import Ledger
from cherrydag.rpc.health import readiness
from cherrydag.runtime import background, room
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.runtime.submissions import Submission
from cherrydag.signing import generate_keypair
from cherrydag.storage.values import StoreOptions

BOB = generate_keypair(b"\x02" * 32)
OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 26, preflight=False), checkpoint_transactions=40)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (background, room):
        monkeypatch.setattr(module, "RETRY_S", 0.02)


def pay(ledger: Ledger) -> Submission:
    return ledger.transfer(ledger.treasury, BOB, 1)


def pay_until_full(ledger: Ledger) -> Submission:
    """Pay until the disk is found full; the last that was accepted."""
    while True:
        sent = pay(ledger)
        try:
            sent.wait(0.2)
        except TimeoutError:
            return sent


def refused(ledger: Ledger) -> Overloaded:
    """What a submission meets."""
    for _ in range(1000):
        try:
            pay(ledger).wait(0.05)
        except TimeoutError:
            continue
        except Overloaded as error:
            return error
    raise AssertionError("a full disk refuses nothing")


def test_ledger_goes_on_by_itself_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 12) as disk:
        with Ledger.open(disk / "shop", options=OPTIONS) as ledger:
            running = ledger._ledger._running
            for _ in range(3):
                pay(ledger).wait(30)
            for _ in range(3):  # full, room, and full again
                ballast = fill(disk)
                accepted = pay_until_full(ledger)
                before = ledger.balance(BOB)
                error = refused(ledger)
                assert "the disk is full" in str(error)
                assert "make room" in str(error)
                assert error.retry_after_ms == 1000
                assert [reason.code for reason in readiness(running, None)][:1] == ["not_writable"]
                assert ledger.balance(BOB) == before
                assert ledger.receipt(accepted.id()) is None
                ballast.unlink()
                accepted.wait(30)
                assert ledger.receipt(accepted.id()) is not None
                assert running.host.failure is None
            for _ in range(100):
                pay(ledger).wait(30)
            assert running.no_room is None
            assert ledger.status().checkpoint_index > 0
            balance = ledger.balance(BOB)
        with Ledger.open(disk / "shop", options=OPTIONS) as ledger:
            assert ledger.balance(BOB) == balance


def test_who_waits_to_hand_in_more_than_fits_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 12) as disk, Ledger.open(disk / "shop", options=OPTIONS) as ledger:
        pay(ledger).wait(30)
        ballast = fill(disk)
        with pytest.raises(Overloaded, match="the disk is full"):
            for _ in range(100_000):
                pay(ledger)  # the sender's share of the mempool fills, then it waits
        ballast.unlink()
        while ledger._ledger._running.no_room is not None:
            pass
        pay(ledger).wait(30)


def test_ledger_stops_where_too_much_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "UNWRITTEN_BYTES_MAX", -1)
    with small_disk(tmp_path / "disk", 12) as disk:
        with Ledger.open(disk / "shop", options=OPTIONS) as ledger:
            pay(ledger).wait(30)
            ballast = fill(disk)
            with pytest.raises(NoRoom, match="make room on the disk"):
                for _ in range(1000):
                    pay(ledger).wait(10)
            ballast.unlink()
        with Ledger.open(disk / "shop", options=OPTIONS) as ledger:
            pay(ledger).wait(30)
