"""What peers and clients of bad will do to a node: rows of the table of attacks that need a whole one."""

# ruff: noqa: E402 - the rig of the attacks is imported as the tools do it

import asyncio
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[1:1] = [str(ROOT / "tools")]

from waiting import PATIENCE_S, until

from attacks.cases import Kind, body, chance_of, kind_of
from attacks.peer import Peer, frame, stranger_key
from attacks.site import Site, stranger_address
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.message_codec import MessageKind, decode_message
from cherrydag.gossip.turns import TurnLimits
from cherrydag.net.control import ControlKind
from cherrydag.primitives import TimestampMs
from cherrydag.runtime import peers as peers_module
from cherrydag.runtime.home import create_network
from cherrydag.runtime.node_runner import NetworkOptions, RunningNode, start_node
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.storage.values import StoreOptions

OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 30, preflight=False), verify_threads=1)
RANGE = frame(MessageKind.GET_COMMITS, struct.pack("<QQQ", 1, 1, 100))
OTHER_RANGE = frame(MessageKind.GET_COMMITS, struct.pack("<QQQ", 7, 1, 100))


@asynccontextmanager
async def node_and_site(folder: Path) -> AsyncIterator[tuple[RunningNode, Site]]:
    """One of five validators, which the attacker's fifth and any stranger may reach."""
    homes = create_network(folder / "net", [""] * 5, created_ms=TimestampMs(1_700_000_000_000))
    node = await start_node(homes[0], NetworkOptions(), OPTIONS)
    try:
        port = node.peers.transport.port
        yield node, Site(str(folder / "net"), (port,) * 5, (0,) * 5, (os.getpid(),) * 5)
    finally:
        await node.close()


async def pong(peer: Peer) -> None:
    """What was said before has been heard."""
    await peer.send(frame(ControlKind.PING, bytes(8)))
    async with asyncio.timeout(PATIENCE_S):
        while (await peer.frame()).kind != ControlKind.PONG:
            pass


async def test_sync_amplification_requests_without_end_wait_for_their_turn_or_are_shed(tmp_path, monkeypatch):
    answered = 0

    async with node_and_site(tmp_path) as (node, site):
        host = node.ledger.host
        inner = host.node.server.commits

        def commits(request):
            nonlocal answered
            answered += 1
            return inner(request)

        monkeypatch.setattr(type(host.node.server), "commits", lambda _, request: commits(request))
        peer = await Peer.greet(site, stranger_key(1), 1)
        await peer.send(RANGE * 500)
        await until(lambda: node.peers.links)
        link = next(iter(node.peers.links.values()))
        most = TurnLimits().requests_max
        longest = 0
        while answered + link.connection.traffic.shed < 500:
            await asyncio.sleep(0.001)
            longest = max(longest, len(node.peers._turns))
        assert most // 2 < longest <= most
        assert (
            link.connection.traffic.shed <= 500 // most + 10
        )  # one each time there is no room, not all behind
        await pong(peer)
        peer.abort()


async def test_sync_amplification_who_asks_and_leaves_holds_nobody_up(tmp_path):
    async with node_and_site(tmp_path) as (node, site):
        peer = await Peer.greet(site, stranger_key(1), 1)
        await peer.send(RANGE * 20)
        await until(lambda: len(node.peers._turns) > 5)
        peer.abort()
        await until(lambda: not node.peers.links)
        assert len(node.peers._turns) == 0
        other = await Peer.greet(site, stranger_key(2), 2)
        await other.send(OTHER_RANGE)
        async with asyncio.timeout(PATIENCE_S):
            while (answer := await other.frame()).kind != MessageKind.COMMITS:
                pass
        assert decode_message(answer.kind, answer.body).number == 7
        other.abort()


async def test_lying_peers_an_answer_to_nothing_is_refused_unread(tmp_path, monkeypatch):
    read = []
    inner = peers_module.decode_message
    monkeypatch.setattr(peers_module, "decode_message", lambda *frame: read.append(frame[0]) or inner(*frame))
    async with node_and_site(tmp_path) as (node, site):
        peer = await Peer.greet(site, stranger_key(1), 1)
        for kind in (MessageKind.VERTICES, MessageKind.COMMITS, MessageKind.NEWEST):
            for octets in (b"", bytes(7), bytes(100_000)):
                node.peers.last_faults.clear()
                await peer.send(frame(kind, octets))
                await pong(peer)
                (fault,) = node.peers.last_faults.values()
                assert fault.startswith(SyncFault.UNSOLICITED)
        assert read == []
        peer.abort()


async def test_poison_pushes_beyond_the_pace_wait_unread_and_an_honest_peer_is_heard(tmp_path, monkeypatch):
    read = []
    inner = peers_module.decode_message
    monkeypatch.setattr(peers_module, "decode_message", lambda *frame: read.append(frame[0]) or inner(*frame))
    monkeypatch.setattr(peers_module, "FAULTS_MAX", 10**6)
    async with node_and_site(tmp_path) as (node, site):
        limits = node.peers._pushes._limits
        burst = limits.other_rate * limits.seconds
        flooder = await Peer.greet(site, stranger_key(1), 1)
        began_s = time.monotonic()
        await flooder.send(frame(MessageKind.PUSH, b"poison") * (3 * burst))
        link = next(iter(node.peers.links.values()))
        await until(lambda: link.connection.traffic.shed)
        assert burst <= len(read) < 2 * burst
        other = await Peer.greet(site, stranger_key(2), 2)
        await other.send(RANGE)
        await pong(other)
        await until(lambda: link.connection.traffic.shed + len(read) >= 3 * burst)
        poison = read.count(MessageKind.PUSH)
        assert poison <= burst + limits.other_rate * (time.monotonic() - began_s)
        flooder.abort()
        other.abort()


def test_strangers_come_from_networks_of_their_own() -> None:
    networks = {stranger_address(number).rpartition(".")[0] for number in range(40_000)}
    assert len(networks) == 40_000 and not any(name.startswith("127.0.0") for name in networks)


def test_a_case_of_the_live_fuzz_follows_from_its_number() -> None:
    methods = [("status", []), ("balance", ["address", "asset"])]
    first, again = ([body(chance_of(1, n), methods) for n in range(300)] for _ in range(2))
    assert first == again and len(set(first)) > 200
    kinds = [kind_of(1, n) for n in range(1000)]
    assert all(kinds.count(kind) > 50 for kind in Kind)


def run(*command: str, timeout_s: int) -> tuple[int, list[dict[str, Any]], str]:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.slow
def test_the_attacks_run_against_a_network_and_tell_what_they_measured() -> None:
    """Whether latencies are within bounds is for a quiet machine to say."""
    status, rows, told = run(
        "tools/attack.py",
        "--only",
        "oversize,pages,log-injection",
        "--seconds",
        "2",
        "--json",
        timeout_s=1800,
    )
    assert [row["name"] for row in rows] == ["idle", "oversize", "pages", "log-injection"], told
    assert status in (0, 1)
    _, oversize, pages, injection = rows
    assert [row["facts"].get("error") for row in rows[1:]] == [None] * 3, told
    assert oversize["facts"]["kept"] == 0 < oversize["facts"]["dropped"]
    assert pages["facts"]["wrong"] == [] and pages["facts"]["tried"] > 100
    assert injection["facts"]["raw_escapes"] == injection["facts"]["forged_lines"] == 0
    assert all(row["faults"] == [] for row in rows[1:])


@pytest.mark.slow
def test_the_live_fuzz_finds_nothing_in_its_short_form() -> None:
    status, (result,), told = run("tools/fuzz.py", "live", "--cases", "2000", "--json", timeout_s=1800)
    late = [finding for finding in result["findings"] if "the loop was late" not in finding]
    assert late == [], told
    assert sum(result["said"].values()) == 2000
    assert status == int(bool(result["findings"]))
