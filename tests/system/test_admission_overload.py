"""What a ledger admits: nothing that would be free, and in an overload only what can be final in time."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cherrydag.address import address_of
from cherrydag.errors import Overloaded
from cherrydag.execution.accounts import Status
from cherrydag.ledger import AsyncLedger
from cherrydag.mempool import MempoolLimits
from cherrydag.overload import OverloadLimits
from cherrydag.params import NONCE_WINDOW
from cherrydag.runtime import funding as funding_module
from cherrydag.runtime import service as service_module
from cherrydag.runtime.gate import OPEN, WAIT
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.runtime.service import Service
from cherrydag.runtime.service_limits import ServiceLimits
from cherrydag.runtime.submissions import FAR_CODE, UNFUNDED_CODE, Phase
from cherrydag.signing import KeyPair, generate_keypair, sign_records
from cherrydag.storage.values import StoreOptions
from cherrydag.transaction import Records, build_transfers

ALICE, BOB = (generate_keypair(bytes([i]) * 32) for i in (1, 2))
STRANGERS = [generate_keypair(bytes([9, i]) + bytes(30)) for i in range(40)]
POOL = 256
HELD = POOL // funding_module.SHARE
OPTIONS = LedgerOptions(
    mempool=MempoolLimits(transactions_max=POOL, recent_max=1024, body_bytes_max=1 << 20),
    store=StoreOptions(map_bytes=1 << 30, preflight=False),
    service=ServiceLimits(funding_ms=400, overload=OverloadLimits(patience_ms=1)),
)


@asynccontextmanager
async def opened(folder: Path, options: LedgerOptions = OPTIONS):
    async with await AsyncLedger.open(folder / "shop", options=options) as ledger:
        yield ledger, ledger._running.service


def signed(
    ledger: AsyncLedger, keys: list[KeyPair], to: KeyPair, amount: int = 1, count: int = 1, first: int = 0
) -> Records:
    """`count` transfers from each key, one after another. first: nonce."""
    senders = np.repeat(np.arange(len(keys)), count)
    records = build_transfers(
        senders=b"".join(keys[i].public_key for i in senders),
        recipients=address_of(to.public_key),
        amounts=amount,
        nonces=np.tile(np.arange(first, first + count), len(keys)).astype(np.uint64),
    )
    sign_records(records, ledger.transaction_key, keys, senders)
    return records


async def until_held(service: Service, count: int) -> None:
    async with asyncio.timeout(30):
        while service.funding.held != count:
            await asyncio.sleep(0)


async def until_refusing(service: Service) -> None:
    """As if so much were being checked for so long; and then just as much as refuses more."""
    gate, control = service.gate, service.gate.overload
    gate.arriving = control.waiting_max + 1
    while not control.is_refusing:
        gate.observe(0)
        await asyncio.sleep(0.001)
    gate.arriving = control.waiting_max


async def test_unfunded_senders_take_no_room_and_a_funded_one_gets_in(tmp_path):
    async with opened(tmp_path) as (ledger, service):
        flood = asyncio.create_task(ledger.submit(signed(ledger, STRANGERS, BOB, count=20), wait=False))
        await until_held(service, HELD)
        assert len(service.mempool) == 0
        paid = await (await ledger.transfer(ledger.treasury, BOB, 5)).final()
        assert paid.statuses.tolist() == [Status.APPLIED]
        refused = await flood
        assert service.funding.refused == 800
        assert set(refused.phases.tolist()) == {Phase.REFUSED}
        assert refused.refusal().code == "sender_unfunded"
        assert service.mempool.stats().outcomes[1] == 1  # the one that paid
        assert service.funding.held == 0


async def test_beyond_what_is_held_the_unfunded_are_refused_before_their_signatures_are_checked(tmp_path):
    async with opened(tmp_path) as (ledger, service):
        flood = asyncio.create_task(ledger.submit(signed(ledger, STRANGERS, BOB), wait=False))
        await until_held(service, HELD)
        records = signed(ledger, [STRANGERS[0], ledger.treasury], BOB)
        records["signature"][0] = 0
        told = await ledger.submit(records, wait=False)
        assert told.codes.tolist()[0] == UNFUNDED_CODE
        assert service.funding.refused == 1
        assert (await told.final()).statuses.tolist()[1] == Status.APPLIED
        await flood
        assert service.funding.refused == 1 + len(STRANGERS)


async def test_what_is_funded_meanwhile_is_admitted(tmp_path):
    async with opened(tmp_path) as (ledger, service):
        early = asyncio.create_task(ledger.submit(signed(ledger, [ALICE], BOB, 3), wait=False))
        await until_held(service, 1)
        await (await ledger.transfer(ledger.treasury, ALICE, 10)).final()
        assert (await (await early).final()).statuses.tolist() == [Status.APPLIED]
        assert (ledger.balance(BOB), service.funding.held) == (3, 0)


@pytest.mark.parametrize("first", [NONCE_WINDOW, 10**6])
async def test_a_nonce_that_is_too_far_is_in_no_vertex(tmp_path, first):
    """There it would come to nothing, and pay nothing."""
    async with opened(tmp_path) as (ledger, service):
        far = signed(ledger, [ledger.treasury], BOB, count=2, first=first)
        told = await ledger.submit(far, wait=False)
        assert told.refusal().code == "sender_nonce_far"
        assert set(told.phases.tolist()) == {Phase.REFUSED} and len(service.mempool) == 0
        begun_s = time.monotonic()
        told = await ledger.submit(far, wait=True)
        assert time.monotonic() - begun_s >= 0.4 and set(told.codes.tolist()) == {FAR_CODE}
        near = signed(ledger, [ledger.treasury], BOB, count=1, first=NONCE_WINDOW - 1)
        assert (await (await ledger.submit(near, wait=False)).final()).statuses.tolist() == [Status.APPLIED]
        assert service.mempool.stats().outcomes[1] == 1


async def test_nonces_that_come_before_those_below_them_wait_for_these(tmp_path):
    async with opened(tmp_path) as (ledger, service):
        late = signed(ledger, [ledger.treasury], BOB, count=200, first=NONCE_WINDOW)
        waiting = asyncio.create_task(ledger.submit(late, wait=True))
        await asyncio.sleep(0.05)
        assert len(service.mempool) == 0 and not waiting.done()
        early = await ledger.submit(signed(ledger, [ledger.treasury], BOB, count=NONCE_WINDOW), wait=True)
        for told in (early, await waiting):
            assert set((await told.final()).statuses.tolist()) == {Status.APPLIED}
        assert ledger.balance(BOB) == 200 + NONCE_WINDOW


async def test_the_unfunded_of_one_slice_do_not_hold_up_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(service_module, "SLICE", 4)
    async with opened(tmp_path) as (ledger, service):
        paid = signed(ledger, [ledger.treasury], BOB, count=12)
        paid[3::4] = signed(ledger, STRANGERS[:3], BOB)
        flood = asyncio.create_task(ledger.submit(paid, wait=False))
        await until_held(service, 3)
        codes = (await flood).codes.tolist()
        assert codes == [1, 1, 1, UNFUNDED_CODE] * 3
        assert service.funding.held == 0


async def test_what_is_held_is_let_go_with_its_submission(tmp_path):
    async with opened(tmp_path) as (ledger, service):
        flood = asyncio.create_task(ledger.submit(signed(ledger, STRANGERS[:3], BOB), wait=False))
        await until_held(service, 3)
        flood.cancel()
        await until_held(service, 0)
        await asyncio.wait([flood])
        assert flood.cancelled() and len(service.tracker) == 0


async def test_funds_and_what_spends_them_may_come_in_one_call(tmp_path):
    async with opened(tmp_path) as (ledger, _):
        records = np.concatenate(
            [signed(ledger, [ledger.treasury], ALICE, 10), signed(ledger, [ALICE], BOB, 3)]
        )
        done = await (await ledger.submit(records)).final()
        assert done.statuses.tolist() == [Status.APPLIED, Status.APPLIED]


async def test_a_copy_of_what_emptied_an_account_tells_the_first_result(tmp_path):
    async with opened(tmp_path) as (ledger, _):
        await (await ledger.transfer(ledger.treasury, ALICE, 4)).final()
        records = signed(ledger, [ALICE], BOB, 3)
        first = await (await ledger.submit(records)).final()
        again = await (await ledger.submit(records, wait=False)).final()
        assert again.places.tolist() == first.places.tolist()
        assert again.statuses.tolist() == [Status.APPLIED]


async def test_what_the_mempool_knows_is_no_newcomer_though_nothing_is_left_to_pay_it(tmp_path, monkeypatch):
    async with opened(tmp_path) as (ledger, service):
        records = signed(ledger, [ledger.treasury], BOB)
        first = await (await ledger.submit(records)).final()
        broke = lambda records: np.full(len(records), Status.FEE_UNPAYABLE, np.uint8)  # noqa: E731
        monkeypatch.setattr(service.lookups, "judge", broke)
        again = await (await ledger.submit(records, wait=False)).final()
        assert again.places.tolist() == first.places.tolist()


async def test_an_overload_refuses_who_will_not_wait_and_lets_the_others_wait(tmp_path):
    async with opened(tmp_path) as (ledger, service):
        control, records = service.gate.overload, signed(ledger, [ledger.treasury], BOB, count=20)
        await until_refusing(service)
        with pytest.raises(Overloaded, match=r"overload\.wait_ms") as refused:
            await ledger.submit(records, wait=False)
        assert (refused.value.limit, refused.value.retry_after_ms) == (control.waiting_max, 250)
        assert service.gate.refused == {WAIT: 1, OPEN: 0}
        patient = asyncio.create_task(ledger.submit(records))
        done, _ = await asyncio.wait([patient], timeout=0.01)
        assert not done
        service.gate.arriving = 0
        assert set((await (await patient).final()).statuses.tolist()) == {Status.APPLIED}
        assert service.gate.waiting == 0


async def test_those_who_wait_for_less_load_come_under_the_bound_of_submissions_too(tmp_path):
    limits = replace(OPTIONS.service, submissions_max=1)
    async with opened(tmp_path, replace(OPTIONS, service=limits)) as (ledger, service):
        records = signed(ledger, [ledger.treasury], BOB, count=2)
        await until_refusing(service)
        patient = [asyncio.create_task(ledger.submit(records[at : at + 1])) for at in range(2)]
        await asyncio.wait(patient, timeout=0.01)
        service.gate.arriving = 0
        first, second = await asyncio.gather(*patient, return_exceptions=True)
        assert (await first.final()).statuses.tolist() == [Status.APPLIED]
        assert isinstance(second, Overloaded) and second.limit == 1
        assert service.gate.refused == {WAIT: 0, OPEN: 1}


async def test_a_vertex_carries_what_the_control_allows(tmp_path):
    async with opened(tmp_path) as (ledger, service):
        service.gate.overload.vertex_min = 7
        service._observe()
        done = await (await ledger.submit(signed(ledger, [ledger.treasury], BOB, count=20))).final()
        commits = done.places >> np.uint64(32)
        assert max(np.unique(commits, return_counts=True)[1]) == 7
        assert service._source.drained == 20
