"""What a bond in the executed state says is what the core lets an operator do, over restarts too."""

from dataclasses import replace
from pathlib import Path

from vertices import operator_vertex, sign

from cherrydag.address import address_of
from cherrydag.execution.accounts import Status
from cherrydag.execution.bonds import (
    BOND_MIN,
    QUOTA_UNIT,
    BondKind,
    encode_bond,
    possession_digest,
)
from cherrydag.execution.evidence import encode_evidence
from cherrydag.ledger import Ledger
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import generate_keypair, sign_digest
from cherrydag.storage.values import StoreOptions

OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 30, preflight=False), verify_threads=1)
KEYS = [generate_keypair(bytes([60 + i]) * 32) for i in range(2)]


def opened(folder: Path, **fields) -> Ledger:
    return Ledger.open(folder, options=OPTIONS, **fields)


def bond(ledger: Ledger, key, amount: int) -> None:
    owner = ledger.treasury
    possession = sign_digest(possession_digest(key.public_key, address_of(owner.public_key)), key)
    done = ledger.operate(owner, BondKind.BOND, encode_bond(key.public_key, possession), amount=amount)
    assert done.wait(30).statuses.tolist() == [Status.APPLIED]


def quotas(ledger: Ledger) -> list[int | None]:
    """What the core's door lets each of the keys have uncommitted; None for one without a bond."""
    door = ledger._ledger._running.host.node.engine.acceptance._door
    return [door._quotas.get(key.public_key) for key in KEYS]


def test_bonds_reach_the_core_with_their_commit_and_at_a_start(tmp_path: Path) -> None:
    with opened(tmp_path / "shop", modules=["bonds"]) as ledger:
        assert quotas(ledger) == [None, None]
        bond(ledger, KEYS[0], BOND_MIN)
        bond(ledger, KEYS[1], 2 * BOND_MIN)
        assert quotas(ledger) == [QUOTA_UNIT, 2 * QUOTA_UNIT]
    with opened(tmp_path / "shop") as ledger:
        assert quotas(ledger) == [QUOTA_UNIT, 2 * QUOTA_UNIT]
        unbonded = ledger.operate(ledger.treasury, BondKind.UNBOND, KEYS[1].public_key, amount=BOND_MIN)
        assert unbonded.wait(30).statuses.tolist() == [Status.APPLIED]
        assert quotas(ledger) == [QUOTA_UNIT, QUOTA_UNIT]


def test_a_slashed_operator_issues_no_more(tmp_path: Path) -> None:
    with opened(tmp_path / "shop", modules=["bonds"]) as ledger:
        bond(ledger, KEYS[0], BOND_MIN)
        chain = ledger._ledger._running.home.genesis.chain()
        first = operator_vertex(issuer=KEYS[0].public_key, signed=False)
        pair = [sign(vertex, KEYS[0], chain).header for vertex in (first, replace(first, timestamp_ms=1))]
        done = ledger.operate(ledger.treasury, BondKind.SLASH, encode_evidence(*pair)).wait(30)
        assert done.statuses.tolist() == [Status.APPLIED]
        receipt = ledger.receipt(done.id())
        assert receipt is not None and receipt.operation.events[0].name == "bond.slashed"
        assert quotas(ledger) == [None, None]
    with opened(tmp_path / "shop") as ledger:
        assert quotas(ledger) == [None, None]
