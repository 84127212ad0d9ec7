"""Attacks by vertices and transactions: of a validator of bad will, or of anybody with what others signed."""

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import aiohttp
import numpy as np

from attacks.attack import AT_VICTIM, Attack, Facts, Outcome, Verdict, both
from attacks.forge import Byzantine, digest_of, now_ms
from attacks.metrics import read_metrics
from attacks.peer import GONE, Peer, drained, frame, stranger_key
from attacks.site import HONEST, VICTIM, Site
from attacks.watch import fund, signed
from cherrydag.chain import Chain
from cherrydag.codec import encode_vertex
from cherrydag.commit import CommitVote
from cherrydag.gossip.message_codec import MessageKind
from cherrydag.payload import Payload, build_payload
from cherrydag.primitives import TimestampMs
from cherrydag.rpc.forms import ANSWER
from cherrydag.runtime.submissions import Phase
from cherrydag.signing import KeyPair, generate_keypair, sign_records
from cherrydag.transaction import Records, build_transfers
from cherrydag.vertex import ValidatorVertex

DAY_MS: Final = 86_400_000
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""Of the group of Ed25519: S and S + this would be the same signature."""

_FAT_RECORDS: Final = 6000
_BAD_BATCH: Final = 2048
_OCTETS: Final = {"Content-Type": "application/octet-stream"}


async def orphan_flood(site: Site, seconds: float) -> Facts:
    """Vertices whose parents nobody has, each signed well, over all rounds that are parked."""
    return await _orphans(site, seconds, None)


async def fat_orphans(site: Site, seconds: float) -> Facts:
    """The same with a megabyte of good transactions in each."""
    keys = [generate_keypair(bytes([5, number]) + bytes(30)) for number in range(64)]
    chain = Chain.of(site.home.genesis.digest)
    return await _orphans(site, seconds, build_payload(transfers_of(keys, _FAT_RECORDS, chain), chain))


async def _orphans(site: Site, seconds: float, payload: Payload | None) -> Facts:
    sent = cut = 0
    async with Byzantine(site) as byzantine:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            above = byzantine.round + 1 + sent % 490
            changes = {} if payload is None else {"payload": payload}
            cut += await byzantine.push([byzantine.orphan(above, sent, **changes)])
            sent += 1
    return {"sent": sent, "cut": cut} | read_metrics(site, "penalties", "vertices")


async def future(site: Site, seconds: float) -> Facts:
    """Rounds of 2^31 and beyond, timestamps of other days and of the end of time, parked ones in heaps."""
    chance, sent, cut = random.Random(3), 0, 0
    async with Byzantine(site) as byzantine:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            round_ = chance.choice([2**31, 2**32 - 1, byzantine.round + 501, byzantine.round + 5000])
            shift_ms = chance.choice([-DAY_MS, DAY_MS, 400, 499, 501, 60_000])
            end_ms = chance.choice([2**63, 2**64 - 1, 0])
            made = [
                byzantine.orphan(round_, sent),
                byzantine.vertex(timestamp_ms=TimestampMs(now_ms() + shift_ms)),
                byzantine.vertex(timestamp_ms=TimestampMs(end_ms)),
            ]
            cut += await byzantine.push(made)
            sent += len(made)
    return {"sent": sent, "cut": cut} | read_metrics(site, "round", "penalties")


async def equivocations(site: Site, seconds: float) -> Facts:
    """In every round as many vertices of one slot as there is time for, other ones for each node."""
    sent = rounds = cut = 0
    async with Byzantine(site) as byzantine:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            await byzantine.turn()
            rounds += 1
            forks = [byzantine.vertex(timestamp_ms=TimestampMs(now_ms() - number)) for number in range(64)]
            for node in range(HONEST):
                cut += await byzantine.push(
                    [forks[node], *forks[HONEST:]] if node == VICTIM else [forks[node]], [node]
                )
            byzantine.own = forks[VICTIM].ref
            sent += len(forks)
    return {"sent": sent, "rounds": rounds, "cut": cut} | read_metrics(site, "equivocations", "penalties")


async def bad_signatures(site: Site, seconds: float) -> Facts:
    """Batches of clients with one bad signature in each, and the same without: processor time of the threads
    that check signatures."""
    keys = [generate_keypair(bytes([6, number]) + bytes(30)) for number in range(64)]
    chain = Chain.of(site.home.genesis.digest)
    await fund(site, keys)
    spent = {"good": 0.0, "bad": 0.0}
    until_s = time.monotonic() + seconds
    batches = 0
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < until_s:
            for name in spent:
                records = transfers_of(keys, _BAD_BATCH, chain, first=_BAD_BATCH * batches)
                batches += 1
                whole = records[777:778].copy()
                if name == "bad":
                    records["signature"][777, 40] ^= 1
                before_s = site.verifying_s()
                await _submit(http, site, records, "?room=wait&wait=final")
                spent[name] += site.verifying_s() - before_s
                if name == "bad":  # its nonce is not left out
                    await _submit(http, site, whole, "?room=wait&wait=final")
    count = _BAD_BATCH * batches // 2
    each = {f"{name}_us": round(1e6 * spent[name] / max(1, count), 2) for name in spent}
    ratio = round(spent["bad"] / spent["good"], 2) if spent["good"] else 0.0
    return {"signatures": 2 * count, "ratio": ratio} | each


async def replays(site: Site, seconds: float) -> Facts:
    """Transactions with any byte changed, with S + l for S, of another chain, twice; vertices likewise."""
    payers = [generate_keypair(bytes([7, number]) + bytes(30)) for number in range(16)]
    chain, other = Chain.of(site.home.genesis.digest), Chain.of(bytes(range(32)))
    await fund(site, payers, 10**6)
    records = signed(payers, np.zeros(len(payers), np.uint64), chain)
    facts: Facts = {"mutants": 0, "taken": 0, "vertices": 0}
    async with aiohttp.ClientSession() as http:
        for batch in _mutants(records, payers, other):
            facts["mutants"] += len(batch)
            facts["taken"] += await _submit(http, site, batch)
        await _submit(http, site, records, "?wait=final")
        facts["taken_again"] = await _submit(http, site, records)
    async with Byzantine(site) as byzantine:
        until_s = time.monotonic() + seconds
        chance = random.Random(4)
        await byzantine.turn()
        whole = encode_vertex(byzantine.vertex())
        foreign = byzantine.vertex()
        rules = replace(byzantine.rules, chain=other)
        honest, byzantine.rules = byzantine.rules, rules
        foreign = byzantine.sign(foreign)
        byzantine.rules = honest
        while time.monotonic() < until_s:
            source = chance.choice([whole, *byzantine.pushed[-50:]])
            at = chance.randrange(len(source))
            mutant = source[:at] + bytes([source[at] ^ (1 << chance.randrange(8))]) + source[at + 1 :]
            for octets in (mutant, source, encode_vertex(foreign)):
                facts["vertices"] += 1
                try:
                    await byzantine.peers[VICTIM].send(frame(MessageKind.PUSH, octets))
                except GONE:
                    await _anew(byzantine)
    return facts | read_metrics(site, "penalties", "vertices")


async def _anew(byzantine: Byzantine) -> None:
    """After a ban there is nothing more to be said under this key: strangers say it."""
    for _ in range(20):
        number = 9000 + byzantine.kinds.setdefault(-1, 0)
        byzantine.kinds[-1] += 1
        try:
            byzantine.peers[VICTIM] = await Peer.greet(byzantine.site, stranger_key(number), number)
        except GONE:
            await asyncio.sleep(0.1)
        else:
            return


def _mutants(records: Records, payers: Sequence[KeyPair], other: Chain) -> Iterable[Records]:
    """The first record with each byte changed in turn; S + l; signed for another chain."""
    octets = np.frombuffer(records[:1].tobytes(), np.uint8)
    changed = np.tile(octets, (len(octets), 1))
    changed[np.arange(len(octets)), np.arange(len(octets))] ^= 1
    yield np.frombuffer(changed.tobytes(), records.dtype)
    high = records.copy()
    for row in high["signature"]:
        s = int.from_bytes(row[32:].tobytes(), "little") + _ORDER
        row[32:] = np.frombuffer(s.to_bytes(32, "little"), np.uint8)
    yield high
    yield signed(payers, np.zeros(len(payers), np.uint64), other)


async def spam(site: Site, seconds: float) -> Facts:
    """Transfers of accounts that nobody has heard of, by the thousand, and dust of a few that have coins."""
    chain = Chain.of(site.home.genesis.digest)
    rich = [generate_keypair(bytes([8, number]) + bytes(30)) for number in range(8)]
    await fund(site, rich)
    facts: Facts = {"strangers": 0, "taken": 0, "dust": 0}
    until_s = time.monotonic() + seconds
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < until_s:
            first = facts["strangers"]
            keys = [generate_keypair((2**64 + first + n).to_bytes(32, "big")) for n in range(1000)]
            facts["taken"] += await _submit(http, site, signed(keys, np.zeros(1000, np.uint64), chain))
            facts["strangers"] += 1000
            dust = transfers_of(rich, 512, chain, first=facts["dust"])
            facts["dust"] += await _submit(http, site, dust)
    return facts | read_metrics(site, "mempool_memory_bytes", "mempool_waiting")


def transfers_of(keys: Sequence[KeyPair], count: int, chain: Chain, first: int = 0) -> Records:
    """Signed transfers of these accounts in turn, nonces from `first` on."""
    index = np.arange(count) % len(keys)
    publics = np.frombuffer(b"".join(key.public_key for key in keys), np.uint8).reshape(-1, 32)
    records = build_transfers(
        senders=publics[index],
        recipients=digest_of(first)[:20],
        amounts=1,
        nonces=(first // len(keys) + np.arange(count) // len(keys)).astype(np.uint64),
    )
    sign_records(records, chain.transaction_key, list(keys), index)
    return records


async def _submit(http: aiohttp.ClientSession, site: Site, records: Records, query: str = "") -> int:
    """Hand records in at the victim; how many were taken. None if it is overloaded."""
    try:
        async with http.post(
            f"{site.api()}/submit{query}", data=records.tobytes(), headers=_OCTETS
        ) as answer:
            body = await answer.read()
            if answer.status not in (200, 202):
                return 0
    except (aiohttp.ClientError, TimeoutError):
        return 0
    return int((np.frombuffer(body, ANSWER)["phase"] != Phase.REFUSED).sum())


async def lies(site: Site, seconds: float) -> Facts:
    """A head of 2^63, votes for commits that are not, answers to nothing, requests for what is not there."""
    sent = 0
    async with Byzantine(site) as byzantine:
        for node in range(HONEST):
            byzantine.peers[node].abort()
            await byzantine.link(node, head=2**63)
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            await byzantine.turn()
            far = (CommitVote(2**40, digest_of("far")), CommitVote(2**64 - 1, digest_of("farther")))
            vertex = byzantine.vertex(commit_votes=far)
            await byzantine.push([vertex], range(HONEST))
            byzantine.own = vertex.ref
            for octets in _answers_to_nothing(vertex):
                sent += 1
                try:
                    await byzantine.peers[VICTIM].send(octets)
                except GONE:
                    await _anew(byzantine)
    return {"votes": sent // 4, "answers": sent, "asked": byzantine.kinds} | read_metrics(site, "penalties")


def _answers_to_nothing(vertex: ValidatorVertex) -> list[bytes]:
    number = (10**12).to_bytes(8, "little")
    body = encode_vertex(vertex)
    size = len(body).to_bytes(4, "little")
    return [
        frame(MessageKind.VERTICES, number + (1).to_bytes(2, "little") + size + body),
        frame(MessageKind.COMMITS, number + bytes(4)),
        frame(MessageKind.NEWEST, number + bytes(2) + (1).to_bytes(2, "little") + size + body),
        frame(MessageKind.GET_COMMITS, number + (2**63).to_bytes(8, "little") * 2),
    ]


async def unasked_commits(site: Site, seconds: float) -> Facts:
    """The longest commit that an answer to nothing may hold, again and again."""
    sent, number = 0, 20_000
    until_s = time.monotonic() + seconds
    head = b"\x03\x01" + bytes(4 + 8 + 8 + 32)
    count = (2**20 - 100) // 39
    refs = b"".join(b"\x01" + n.to_bytes(4, "little") + bytes(2) + bytes(32) for n in range(count))
    body = head + count.to_bytes(4, "little") + refs
    octets = frame(MessageKind.COMMITS, bytes(8) + b"\x01\0\0\0" + len(body).to_bytes(4, "little") + body)
    while time.monotonic() < until_s:
        number += 1
        try:
            peer = await Peer.greet(site, stranger_key(number), number)
        except GONE:
            continue
        async with drained(peer):
            try:
                while time.monotonic() < until_s and not peer.is_closing:
                    await peer.send(octets)
                    sent += 1
            except GONE:
                pass
    return {"sent": sent, "peers": number - 20_000} | read_metrics(site, "penalties")


def _judge_lies(outcome: Outcome) -> Verdict:
    words = f"{outcome.facts['votes']} votes for commits that are not"
    return both(Verdict(words, is_good=True), outcome.finality(3.0), outcome.stall())


def _judge_replays(outcome: Outcome) -> Verdict:
    facts = outcome.facts
    words = (
        f"{facts['taken']} of {facts['mutants']} mutants taken, {facts['vertices']} vertices again or bent"
    )
    return both(Verdict(words, not facts["taken"]), outcome.stall())


def _judge_signatures(outcome: Outcome) -> Verdict:
    facts = outcome.facts
    words = f"{facts['ratio']}x CPU ({facts['good_us']} -> {facts['bad_us']} us a signature)"
    return Verdict(words, 0 < facts["ratio"] <= 4.0)


def _judge_flood(outcome: Outcome) -> Verdict:
    sent = Verdict(f"{outcome.facts['sent']} sent", is_good=True)
    return both(sent, outcome.finality(), outcome.stall(), outcome.memory())


ATTACKS = (
    Attack(
        "orphan-flood", "10^6 fakes: no honest parent evicted; RSS + <= 64 MiB", _judge_flood, orphan_flood
    ),
    Attack("fat-orphans", "parked: RSS + <= 64 MiB", _judge_flood, fat_orphans),
    Attack("future", "rounds of 2^31, clocks +- 1 day: commits go on", _judge_flood, future),
    Attack("equivocation", "2 of a slot kept; commits go on", _judge_flood, equivocations),
    Attack("bad-signatures", "1 bad in each batch: CPU <= 4x", _judge_signatures, bad_signatures),
    Attack("replay", "no mutant, no other chain's, nothing twice", _judge_replays, replays),
    Attack(
        "spam",
        "new accounts and dust: paid finality p99 <= 2x",
        lambda o: both(
            Verdict(f"{o.facts['strangers']} strangers, {o.facts['taken']} taken in", is_good=True),
            o.finality(),
            o.memory(),
        ),
        spam,
        entry=AT_VICTIM,
    ),
    Attack("lies", "scored on progress, not claims: commits go on", _judge_lies, lies),
    Attack(
        "unasked-commits",
        "an answer to nothing: loop stall <= 50 ms",
        lambda o: both(o.stall(), o.finality()),
        unasked_commits,
    ),
)
