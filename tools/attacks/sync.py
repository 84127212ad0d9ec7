"""Attacks on what nodes serve to one another, and on who they are."""

import asyncio
import json
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import Final

from attacks.attack import Attack, Facts, Outcome, Verdict, both
from attacks.forge import Byzantine
from attacks.metrics import read_metrics
from attacks.peer import GONE, Peer, drained, frame, stranger_key
from attacks.site import ATTACKER, HONEST, Network, Site, command, stop, wait_until_answered
from cherrydag.bench.ports import free_ports
from cherrydag.gossip.message_codec import MessageKind, decode_message, encode_message
from cherrydag.gossip.messages import Commits, GetVertices
from cherrydag.refs import AnyRef

_RANGE: Final = struct.Struct("<QQQ")
_ASKERS: Final = 40
_SHARE_MAX: Final = 0.5
"""Most of a core that serving strangers may take."""


async def amplification(site: Site, seconds: float) -> Facts:
    """Strangers that ask for the longest ranges and for a thousand vertices, as fast as they are answered."""
    facts: Facts = {"in": 0, "out": 0, "asked": 0, "peers": 0}
    until_s = time.monotonic() + seconds
    before_s = site.cpu_s()
    refs = await _some_refs(site)

    async def ask(number: int) -> None:
        while time.monotonic() < until_s:
            try:
                peer = await Peer.greet(site, stranger_key(30_000 + number), 30_000 + number)
            except GONE:
                await asyncio.sleep(0.5)
                continue
            facts["peers"] += 1
            async with drained(peer):
                try:
                    while time.monotonic() < until_s and not peer.is_closing:
                        await peer.send(_ranges() if number % 2 else _vertices(refs))
                        facts["asked"] += 10
                        await asyncio.sleep(0.01)
                except GONE:
                    pass
                facts["out"] += peer.bytes_in
                facts["in"] += peer.bytes_out

    await asyncio.gather(*[ask(number) for number in range(_ASKERS)])
    facts["ratio"] = round(facts["out"] / max(1, facts["in"]), 1)
    facts["mib_s"] = round(facts["out"] / 2**20 / seconds, 1)
    facts["cpu_share"] = round((site.cpu_s() - before_s) / seconds, 2)
    return facts | read_metrics(site, "peer_shed")


def _ranges() -> bytes:
    return frame(MessageKind.GET_COMMITS, _RANGE.pack(1, 1, 100)) * 10


def _vertices(refs: tuple[AnyRef, ...]) -> bytes:
    return b"".join(encode_message(GetVertices(1, refs)).parts) * 10


async def _some_refs(site: Site) -> tuple[AnyRef, ...]:
    """Up to 1,000 vertices of the first commits."""
    peer = await Peer.greet(site, stranger_key(29_999), 29_999)
    try:
        await peer.send(frame(MessageKind.GET_COMMITS, _RANGE.pack(7, 1, 100)))
        async with asyncio.timeout(10):
            while True:
                kind, body = await peer.frame()
                if kind == MessageKind.COMMITS:
                    message = decode_message(kind, body)
                    commits = message.commits if isinstance(message, Commits) else ()
                    return tuple(ref for commit in commits for ref in commit.vertices)[:1000]
    finally:
        peer.abort()


async def validator_asks(site: Site, seconds: float) -> Facts:
    """A validator that asks every node for the longest ranges, as fast as they take its requests."""
    asked = 0
    async with Byzantine(site) as byzantine:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            for node in range(HONEST):
                try:
                    await byzantine.peers[node].send(_ranges())
                    asked += 10
                except GONE:
                    await byzantine.link(node)
            await asyncio.sleep(0.01)
        got = sum(peer.bytes_in for peer in byzantine.peers.values())
        gave = sum(peer.bytes_out for peer in byzantine.peers.values())
    return {"asked": asked, "ratio": round(got / max(1, gave), 1), "mib": round(got / 2**20, 1)}


async def twins(network: Network, seconds: float) -> Facts:
    """The fifth validator runs, then a copy of its folder beside it: one folder opens once, and of two nodes
    with one key no harm comes to the others."""
    if ATTACKER not in network.processes:
        network.start(ATTACKER)
    return await asyncio.to_thread(_twins, network, seconds)


def _twins(network: Network, seconds: float) -> Facts:
    folder, site = network.homes[ATTACKER].folder, network.site
    wait_until_answered(f"{site.api(ATTACKER)}/readyz", network.processes[ATTACKER])
    again = subprocess.run(
        command(folder, *free_ports(2)), capture_output=True, text=True, timeout=60, check=False
    )
    copy = Path(network.folder) / "twin"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    peers, api = free_ports(2)
    with copy.with_suffix(".log").open("ab") as log:
        twin = subprocess.Popen(command(copy, peers, api), stdout=log, stderr=log)
    try:
        time.sleep(seconds)
        alive = twin.poll() is None
    finally:
        stop([twin, network.processes.pop(ATTACKER)])
    digests = [_digests(site, node) for node in range(HONEST)]
    shortest = min(map(len, digests))
    agree = len({json.dumps(found[:shortest]) for found in digests}) == 1 and shortest > 0
    return {
        "second_exit": again.returncode,
        "second_said": again.stderr.strip()[-160:],
        "twin_alive": int(alive),
        "compared": shortest,
        "agree": int(agree),
    } | read_metrics(site, "equivocations")


def _digests(site: Site, node: int) -> list[str]:
    """Of a node's first commits, up to 1,000."""
    import urllib.request

    body = {"jsonrpc": "2.0", "id": 1, "method": "commits", "params": {"first": 1, "count": 1000}}
    request = urllib.request.Request(
        site.api(node), json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        told = json.loads(response.read())
    return [item["digest"] for item in told["result"]["commits"]]


def _judge_twins(outcome: Outcome) -> Verdict:
    facts = outcome.facts
    words = f"second process exit {facts['second_exit']}, {facts['compared']} commits agree: {facts['agree']}"
    return Verdict(words, facts["second_exit"] not in (0, 1) and bool(facts["agree"]))


def _judge_amplification(outcome: Outcome) -> Verdict:
    facts = outcome.facts
    words = f"{facts['ratio']}x bytes, {facts['mib_s']} MiB/s, {facts['cpu_share']} of a core"
    return both(Verdict(words, facts["ratio"] <= 20), outcome.stall(), outcome.finality())


ATTACKS = (
    Attack("amplification", "bytes out/in <= 20x; consensus first", _judge_amplification, amplification),
    Attack(
        "validator-asks",
        "sync serving goes after consensus: finality p99 <= 2x",
        lambda o: both(
            Verdict(f"{o.facts['asked']} ranges, {o.facts['ratio']}x", True), o.finality(), o.stall()
        ),
        validator_asks,
    ),
    Attack("twins", "one key, two nodes: one folder opens once, no fork", _judge_twins, stage=twins),
)
