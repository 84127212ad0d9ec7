"""The embedded ledger, as a user has it: a folder, real keys, real disk."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cherrydag.address import Network, address_of, encode_address
from cherrydag.errors import Closed, ConfigError, Overloaded, Rejected, StorageError
from cherrydag.execution.accounts import Status
from cherrydag.execution.multisig import PolicyKind, encode_policy
from cherrydag.inclusion import verify_inclusion
from cherrydag.ledger import AsyncLedger, Ledger
from cherrydag.mempool import MempoolLimits
from cherrydag.runtime import lookups as lookups_module
from cherrydag.runtime.home import GENESIS, GENESIS_KEPT, Home
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.runtime.submissions import Phase
from cherrydag.signing import KeyPair, generate_keypair, sign_records
from cherrydag.state_proof import ACCOUNTS, StateKey, verify_state_proof
from cherrydag.storage.values import StoreOptions
from cherrydag.transaction import Records, build_transfers
from cherrydag.verify import verify_certificate

ALICE, BOB, CAROL = (generate_keypair(bytes([i]) * 32) for i in (1, 2, 3))
OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 30, preflight=False))


def opened(folder: Path, **fields) -> Ledger:
    return Ledger.open(folder, options=OPTIONS, **fields)


def signed(
    ledger: Ledger | AsyncLedger, keys: list[KeyPair], to: bytes, count: int, first: int = 0
) -> Records:
    """`count` transfers of 1 from each key, one after another."""
    n = count * len(keys)
    senders = np.repeat(np.arange(len(keys)), count)
    records = build_transfers(
        senders=b"".join(keys[i].public_key for i in senders),
        recipients=to,
        amounts=1,
        nonces=np.tile(np.arange(first, first + count), len(keys)).astype(np.uint64),
    )
    assert len(records) == n
    sign_records(records, ledger.transaction_key, keys, senders)
    return records


@pytest.fixture
def ledger(tmp_path):
    with opened(tmp_path / "shop") as ledger:
        yield ledger


def test_what_was_executed_without_a_trace_does_not_hold_up_its_account(ledger):
    """Its nonces stay unused, and there are more of them than the account's window has."""
    ledger.transfer(ledger.treasury, ALICE, 10**6).wait()
    policy = encode_policy(1, (address_of(BOB.public_key),))
    assert ledger.operate(ALICE, PolicyKind.CREATE, policy).wait().statuses[0] == Status.APPLIED
    sent = [ledger.transfer(ALICE, BOB, 1) for _ in range(130)]
    assert {one.wait().statuses[0] for one in sent} == {Status.POLICY}


def test_what_could_not_pay_its_fee_has_an_effect_when_it_is_handed_in_again_with_coins(ledger):
    ledger.transfer(ledger.treasury, ALICE, 4).wait()
    records = signed(ledger, [ALICE], address_of(BOB.public_key), 5)
    poor = ledger.submit(records).wait().statuses.tolist()
    assert poor == [Status.APPLIED] * 2 + [Status.FEE_UNPAYABLE] * 3
    ledger.transfer(ledger.treasury, ALICE, 10**6).wait()
    again = ledger.submit(records)
    assert again.wait().statuses.tolist() == [Status.APPLIED] * 5
    assert ledger.balance(BOB) == 5
    assert [ledger.receipt(again.id(row)).status for row in range(5)] == [Status.APPLIED] * 5


def test_a_transfer_is_final_and_survives_the_close(tmp_path):
    with opened(tmp_path / "shop") as ledger:
        sent = ledger.transfer(ledger.treasury, BOB, 5).wait()
        assert sent.phases.tolist() == [Phase.FINAL] and sent.statuses.tolist() == [Status.APPLIED]
        assert ledger.balance(BOB) == 5
        before = ledger.account(ledger.treasury)
    with opened(tmp_path / "shop") as ledger:
        assert ledger.balance(BOB) == 5
        assert ledger.account(ledger.treasury)[:4] == before[:4]
        receipt = ledger.receipt(sent.id())
        assert receipt is not None and receipt.status == Status.APPLIED
        assert receipt.place.number == int(sent.places[0])
        assert ledger.transfer(ledger.treasury, BOB, 1).wait().statuses.tolist() == [Status.APPLIED]


def test_supply_is_conserved_with_the_pot_of_fees(ledger):
    for _ in range(5):
        ledger.transfer(ledger.treasury, BOB, 1000, fee=7)
    ledger.transfer(ledger.treasury, BOB, 1).wait()
    supply = ledger.supply()
    assert supply.fees == 5 * 7 + 1
    assert ledger.balance(ledger.treasury) + ledger.balance(BOB) + supply.fees == supply.total


def test_resubmission_is_idempotent_in_every_phase(ledger):
    records = signed(ledger, [ledger.treasury], address_of(BOB.public_key), 3)
    first, again = ledger.submit(records), ledger.submit(records)
    first.wait(30)
    again.wait(30)
    late = ledger.submit(records).wait(30)
    assert ledger.balance(BOB) == 3
    for submission in (first, again, late):
        assert submission.statuses.tolist() == [Status.APPLIED] * 3
        assert submission.places.tolist() == first.places.tolist()


def test_a_copy_after_a_restart_tells_the_first_result(tmp_path):
    with opened(tmp_path / "shop") as ledger:
        records = signed(ledger, [ledger.treasury], address_of(BOB.public_key), 2)
        first = ledger.submit(records).wait(30)
    with opened(tmp_path / "shop") as ledger:
        again = ledger.submit(records).wait(30)
        assert again.places.tolist() == first.places.tolist()
        assert again.statuses.tolist() == [Status.APPLIED] * 2
        assert ledger.balance(BOB) == 2


def test_bad_rows_are_refused_and_the_others_go_on(ledger):
    records = signed(ledger, [ledger.treasury], address_of(BOB.public_key), 4)
    records["signature"][1, 0] ^= 1
    records["amount_lo"][2] = 0
    done = ledger.submit(records).wait(30)
    assert done.phases.tolist() == [Phase.FINAL, Phase.REFUSED, Phase.REFUSED, Phase.FINAL]
    assert done.refusal(1).code == "transaction_signature"
    assert done.refusal(2).code == "transaction_amount_zero"
    assert ledger.balance(BOB) == 2


def test_a_refused_transfer_says_why_and_its_nonce_is_free_again(ledger):
    with pytest.raises(Rejected, match="zero"):
        ledger.transfer(ledger.treasury, BOB, 0)
    assert ledger.transfer(ledger.treasury, BOB, 1).wait(30).statuses.tolist() == [Status.APPLIED]
    assert ledger.account(ledger.treasury).next_nonce == 1


def test_an_overdraft_is_final_with_its_status(ledger):
    ledger.transfer(ledger.treasury, ALICE, 10).wait(30)
    assert ledger.transfer(ALICE, BOB, 10).wait(30).statuses.tolist() == [Status.INSUFFICIENT]
    assert ledger.balance(BOB) == 0 and ledger.balance(ALICE) == 9


def test_more_than_a_window_of_one_sender_flows(ledger):
    done = [ledger.transfer(ledger.treasury, BOB, 1) for _ in range(150)]
    assert all(one.wait(60).statuses.tolist() == [Status.APPLIED] for one in done)
    records = signed(ledger, [ledger.treasury], address_of(CAROL.public_key), 200, first=150)
    assert set(ledger.submit(records).wait(60).statuses.tolist()) == {int(Status.APPLIED)}
    assert (ledger.balance(BOB), ledger.balance(CAROL)) == (150, 200)


def test_history_pages_newest_first_without_gaps(ledger):
    sent = [ledger.transfer(ledger.treasury, BOB, i + 1).wait(30) for i in range(7)]
    ids, cursor = [], None
    while True:
        page = ledger.history(BOB, limit=3, cursor=cursor)
        ids += [item.transaction_id for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert ids == [one.id() for one in reversed(sent)]
    assert ledger.history(CAROL).items == ()
    with pytest.raises(Rejected, match="limit"):
        ledger.history(BOB, limit=0)


def test_subscription_resumes_without_a_gap(ledger):
    for i in range(4):
        ledger.transfer(ledger.treasury, BOB, i + 1).wait(30)
    events = ledger.subscribe(after=0)
    seen = [next(events)]
    while len(b"".join(event.ids for event in seen)) < 2 * 32:
        seen.append(next(events))
    events.close()
    resumed = ledger.subscribe(after=seen[-1].index)
    ledger.transfer(ledger.treasury, BOB, 9).wait(30)
    while sum(len(event.records) for event in seen) < 5:
        seen.append(next(resumed))
    assert [event.index for event in seen] == list(range(1, len(seen) + 1))
    amounts = [int(amount) for event in seen for amount in event.records["amount_lo"]]
    assert amounts == [1, 2, 3, 4, 9]


def test_events_from_the_disk_are_those_that_were_live(tmp_path):
    with opened(tmp_path / "shop") as ledger:
        for i in range(3):
            ledger.transfer(ledger.treasury, BOB, i + 1).wait(30)
        last = ledger.status().commit_index
        live = ledger.subscribe(after=0)
        before = [next(live) for _ in range(last)]
    with opened(tmp_path / "shop") as ledger:
        stored = ledger.subscribe(after=0)
        after = [next(stored) for _ in range(last)]
    for one, other in zip(before, after, strict=True):
        assert (one.index, one.time_s, one.ids, one.receipts) == (
            other.index,
            other.time_s,
            other.ids,
            other.receipts,
        )
        assert one.statuses.tolist() == other.statuses.tolist()


def test_a_proof_convinces_who_knows_the_committee_alone(ledger):
    ledger.transfer(ledger.treasury, BOB, 5).wait(30)
    for owner, balance in ((BOB, 5), (CAROL, None)):
        proof = ledger.proof(owner)
        rules = ledger._ledger._running.service.rules
        verify_certificate(proof.certificate, rules)
        root = proof.certificate.checkpoint.state_root
        key = StateKey(ACCOUNTS, address_of(owner.public_key) + bytes(4))
        value = verify_state_proof(proof.state, key, root)
        assert (None if value is None else int.from_bytes(value[:16], "little")) == balance


def test_inclusion_is_proven_to_who_has_the_vertex_digest(ledger):
    sent = ledger.submit(signed(ledger, [ledger.treasury], address_of(BOB.public_key), 5)).wait(30)
    receipt, proof = ledger.receipt(sent.id(3)), ledger.inclusion(sent.id(3))
    assert verify_inclusion(proof, sent.id(3), receipt.vertex.digest)
    assert not verify_inclusion(proof, sent.id(2), receipt.vertex.digest)


def test_addresses_are_taken_as_text_too(ledger):
    text = encode_address(address_of(BOB.public_key), Network.DEV)
    ledger.transfer(ledger.treasury, text, 3).wait(30)
    assert ledger.balance(text) == ledger.balance(BOB) == 3


def test_a_backup_opens_as_a_ledger_of_its_own(tmp_path):
    with opened(tmp_path / "shop") as ledger:
        ledger.transfer(ledger.treasury, BOB, 5).wait(30)
        ledger.backup(tmp_path / "copy")
        ledger.transfer(ledger.treasury, BOB, 5).wait(30)
        with pytest.raises(ConfigError, match="not empty"):
            ledger.backup(tmp_path / "copy")
    with opened(tmp_path / "copy") as copy:
        assert copy.balance(BOB) == 5
        assert copy.transfer(copy.treasury, BOB, 2).wait(30).statuses.tolist() == [Status.APPLIED]


async def test_a_backup_that_cannot_be_made_is_told_and_the_ledger_goes_on(tmp_path):
    (tmp_path / "file").write_text("no folder")
    async with await AsyncLedger.open(tmp_path / "shop", options=OPTIONS) as ledger, asyncio.timeout(30):
        with pytest.raises(StorageError, match="Not a directory"):
            await ledger.backup(tmp_path / "file" / "copy")
        sent = await (await ledger.transfer(ledger.treasury, BOB, 1))
        assert sent.statuses.tolist() == [Status.APPLIED]


async def test_a_backup_that_nobody_waits_for_any_more_stops_nothing(tmp_path):
    async with await AsyncLedger.open(tmp_path / "shop", options=OPTIONS) as ledger:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await ledger.backup(tmp_path / "copy")
        background = ledger._running.background
        async with asyncio.timeout(30):
            while background.outstanding:
                await asyncio.sleep(0.002)
        assert ledger._running.host.failure is None
        assert (tmp_path / "copy").is_dir()


async def test_a_backup_that_has_not_begun_ends_with_the_ledger(tmp_path, monkeypatch):
    ledger = await AsyncLedger.open(tmp_path / "shop", options=OPTIONS)
    busy, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        busy.wait(30)

    background = ledger._running.background
    join = background._thread.join
    monkeypatch.setattr(background._thread, "join", lambda: (busy.set(), join()))
    background.submit(work, lambda _: None)
    assert begun.wait(30)
    waiting = asyncio.create_task(ledger.backup(tmp_path / "copy"))
    await asyncio.sleep(0)
    await ledger.close()
    async with asyncio.timeout(10):
        with pytest.raises(Closed):
            await waiting
    assert not (tmp_path / "copy").exists()


def test_a_transfer_that_is_turned_away_leaves_no_hole_among_the_nonces(ledger, monkeypatch):
    async def refuse(*_: object, **__: object) -> None:
        raise Overloaded("submissions: too many are open")

    with monkeypatch.context() as full:
        full.setattr(ledger._ledger._running.service, "submit", refuse)
        with pytest.raises(Overloaded):
            ledger.transfer(ledger.treasury, BOB, 1)
    with pytest.raises(Rejected):
        ledger.transfer(ledger.treasury, BOB, 1, valid_until=1)
    ledger.transfer(ledger.treasury, BOB, 1).wait(30)
    assert ledger.account(ledger.treasury).next_nonce == 1


def test_a_folder_is_opened_once_and_only_if_it_is_a_ledgers(tmp_path):
    with opened(tmp_path / "shop"), pytest.raises(StorageError, match="in use"):
        opened(tmp_path / "shop")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="neither"):
        opened(tmp_path / "other")


def test_a_closed_ledger_says_so(tmp_path):
    ledger = opened(tmp_path / "shop")
    treasury = ledger.treasury
    ledger.close()
    ledger.close()
    with pytest.raises(Closed):
        ledger.transfer(treasury, BOB, 1)


def test_an_unknown_id_is_unknown_and_a_known_one_final(ledger):
    assert ledger.phase(bytes(32)) is None and ledger.receipt(bytes(32)) is None
    sent = ledger.transfer(ledger.treasury, BOB, 1)
    assert ledger.phase(sent.id()) in (Phase.ACCEPTED, Phase.SEQUENCED, Phase.FINAL)
    sent.wait(30)
    assert ledger.phase(sent.id()) is Phase.FINAL
    item = ledger.transaction(sent.id())
    assert item is not None and len(item.record) == 176
    wrong = sent.id()[:31] + bytes([sent.id()[31] ^ 1])
    assert ledger.receipt(wrong) is None and ledger.transaction(wrong) is None


async def test_the_async_face_has_the_same_verbs(tmp_path):
    async with await AsyncLedger.open(tmp_path / "shop", options=OPTIONS) as ledger:
        sent = await ledger.transfer(ledger.treasury, BOB, 5)
        await asyncio.wait_for(sent.sequenced(), 30)
        await asyncio.wait_for(sent.final(), 30)
        assert ledger.balance(BOB) == 5
        async for event in ledger.subscribe(after=0):
            if len(event.records):
                assert event.ids == sent.ids
                break


def test_checkpoints_shorten_the_replay_and_are_optional(tmp_path):
    options = LedgerOptions(store=OPTIONS.store, checkpoint_transactions=100)
    with Ledger.open(tmp_path / "shop", options=options) as ledger:
        keys = [generate_keypair(bytes([i, 7]) * 16) for i in range(8)]
        for key in keys:
            ledger.transfer(ledger.treasury, key, 10_000).wait(30)
        for first in range(0, 240, 60):
            ledger.submit(signed(ledger, keys, address_of(BOB.public_key), 60, first)).wait(60)
        for _ in range(200):
            if ledger.status().checkpoint_index:
                break
            ledger.transfer(ledger.treasury, BOB, 1).wait(30)
        before, balance = ledger.status(), ledger.balance(BOB)
        assert 0 < before.checkpoint_index <= before.commit_index
        records = ledger.history(BOB, limit=1000).items
    with Ledger.open(tmp_path / "shop", options=options) as ledger:
        running = ledger._ledger._running
        assert running.notes == ()
        assert running.replayed <= before.commit_index - before.checkpoint_index
        assert ledger.balance(BOB) == balance
        assert ledger.history(BOB, limit=1000).items == records
        running.books.executor.audit()
    for path in (tmp_path / "shop" / "data" / "derived").glob("state-*"):
        path.write_bytes(path.read_bytes()[:-20])
    with Ledger.open(tmp_path / "shop", options=options) as ledger:
        running = ledger._ledger._running
        assert running.notes and running.replayed == before.commit_index
        assert ledger.balance(BOB) == balance
        assert ledger.history(BOB, limit=1000).items == records


def test_the_kept_genesis_is_never_believed_against_the_file(tmp_path):
    with opened(tmp_path / "shop") as ledger:
        digest = ledger.genesis_digest
    home = Home.load(tmp_path / "shop")
    kept = tmp_path / "shop" / GENESIS_KEPT
    assert kept.exists() and Home.load(tmp_path / "shop").genesis == home.genesis
    good = kept.read_bytes()
    flips = [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(0, len(good), 7)]
    for bad in (b"", good[:-1], bytes(len(good)), *flips):
        kept.write_bytes(bad)
        assert Home.load(tmp_path / "shop").genesis.digest == digest
    text = (tmp_path / "shop" / GENESIS).read_text()
    (tmp_path / "shop" / GENESIS).write_text(text.replace('name = "solo"', 'name = "other"'))
    with pytest.raises(ConfigError, match="pinned"):
        Home.load(tmp_path / "shop")


def test_lookups_stay_within_their_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(lookups_module, "KNOWN_BYTES_MAX", 3 * 2100)
    with opened(tmp_path / "shop") as ledger:
        for i in range(6):
            ledger.transfer(ledger.treasury, BOB, i + 1).wait(30)
        assert len(ledger.history(BOB).items) == 6
        lookups = ledger._ledger._running.lookups
        assert 1 <= len(lookups._known) <= 3
        assert lookups._known_bytes == sum(len(one.statuses) + 2048 for one in lookups._known.values())


async def test_what_a_submission_that_was_given_up_left_is_followed_to_its_end(tmp_path):
    options = replace(OPTIONS, mempool=MempoolLimits(sender_max=1))
    async with await AsyncLedger.open(tmp_path / "shop", options=options) as ledger:
        batch = signed(ledger, [ledger.treasury], BOB.public_key[:20], 50)
        given_up = asyncio.create_task(ledger.submit(batch))
        while ledger.status().commit_index < 5:  # one at a time: it waits
            await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        follower = await ledger.submit(batch[:1])
        await asyncio.wait_for(follower.final(), 20)
        while ledger.status().open_submissions:
            await asyncio.sleep(0.01)


async def test_a_second_copy_that_is_given_up_at_once_leaves_nothing_open(tmp_path):
    async with await AsyncLedger.open(tmp_path / "shop", options=OPTIONS) as ledger:
        batch = signed(ledger, [ledger.treasury], BOB.public_key[:20], 50)
        await (await ledger.submit(batch))
        again = asyncio.create_task(ledger.submit(batch))
        while not ledger.status().open_submissions:  # its signatures are being checked
            await asyncio.sleep(0)
        again.cancel()
        with pytest.raises(asyncio.CancelledError):
            await again
        assert not ledger.status().open_submissions
