"""A validator whose state is not what a quorum has signed: it stops signing, keeps evidence, tells the last
state that was certified, and a restart changes nothing."""

import asyncio
import io
import json
from pathlib import Path

import aiohttp
import pytest
from waiting import PATIENCE_S, until

from cherrydag import daemon
from cherrydag.client import AsyncClient
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.consensus.timing import Timing
from cherrydag.daemon import Daemon
from cherrydag.daemon_options import DaemonOptions
from cherrydag.execution.accounts import Line
from cherrydag.genesis import LedgerParams
from cherrydag.ledger import AsyncLedger
from cherrydag.logs import EventLog
from cherrydag.primitives import Address, Amount, TimestampMs
from cherrydag.runtime.home import TREASURY, VALIDATOR, create_network
from cherrydag.runtime.node_runner import NetworkOptions, start_node
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import generate_keypair
from cherrydag.storage.values import StoreOptions

BOB = generate_keypair(b"\x02" * 32)
OPTIONS = LedgerOptions(
    store=StoreOptions(map_bytes=1 << 30, preflight=False),
    verify_threads=1,
    timing=Timing(idle_round_delay_ms=200),
)


async def test_who_diverges_tells_the_last_certified_state_and_signs_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    homes = create_network(
        tmp_path / "net",
        [""] * 4,
        created_ms=TimestampMs(1_700_000_000_000),
        chain_params=ChainParams(checkpoint_commits=5),
        ledger_params=LedgerParams(tree_depth=10),
    )
    treasury, bad = homes[0].key(TREASURY), homes[3]
    opened, known, up = [], {}, asyncio.Queue()

    async def start(*arguments):
        opened.append(await start_node(*arguments))
        return opened[-1]

    monkeypatch.setattr(daemon, "start_node", start)
    others = []
    for index, home in enumerate(homes[:3]):
        others.append(await start_node(home, NetworkOptions(known=dict(known)), OPTIONS))
        known[home.genesis.validators[index].public_key] = "127.0.0.1", others[-1].peers.transport.port
    stream = io.StringIO()
    options = DaemonOptions(NetworkOptions(known=known), OPTIONS)
    process = Daemon(bad, options, EventLog(stream, lambda: 0, rate=1000), bad.key(VALIDATOR), up.put_nowait)
    running = asyncio.create_task(process.run())
    try:
        first = await asyncio.wait_for(up.get(), PATIENCE_S)
        node, api = opened[0], first.api
        host = node.ledger.host
        await asyncio.wait_for(await AsyncLedger(others[0].ledger).transfer(treasury, BOB, 5), PATIENCE_S)
        await until(lambda: host.agreed is not None and AsyncLedger(node.ledger).balance(BOB) == 5)
        node.ledger.lookups._accounts.put(Address(b"\x66" * 20), Line(Amount(1)))
        await until(lambda: host.diverged is not None)
        assert host.certificate is None or host.certificate == host.agreed
        assert host.node.engine.is_halted
        second = await asyncio.wait_for(up.get(), PATIENCE_S)
        assert (second.freeze, second.api, second.peers) == ("diverged", api, "")
        (bundle,) = bad.folder.glob("divergence-*.json")
        evidence = json.loads(bundle.read_text())
        assert evidence["own_root"] != evidence["certificate"]["state_root"]
        assert len(evidence["certificate"]["signatures"]) >= 3
        assert evidence["served_index"] < evidence["commit_index"]
        async with AsyncClient(api) as client, aiohttp.ClientSession() as http:
            assert await client.balance(BOB) == 5
            assert await client.balance(Address(b"\x66" * 20)) == 0
            assert (await client.status()).commit_index == evidence["served_index"]
            with pytest.raises(ConnectionError, match="diverged: this node takes no transactions"):
                await client.transfer(treasury, BOB, 5)
            async with http.get(f"{api}/readyz") as response:
                assert (response.status, "diverged" in await response.text()) == (503, True)
            async with http.get(f"{api}/metrics") as response:
                assert "cherrydag_diverged 1.0" in await response.text()
        process._on_stop()
        await asyncio.wait_for(running, PATIENCE_S)
        told = [json.loads(line) for line in stream.getvalue().splitlines()]
        assert [one["commit"] for one in told if one["event"] == "diverged"] == [evidence["commit_index"]]

        again = await start_node(bad, NetworkOptions(known=known), OPTIONS)
        assert again.ledger.freeze is not None and again.ledger.freeze.code == "diverged"
        assert again.ledger.books.commit_index == evidence["served_index"]
        assert again.ledger.host.node.me is None
        await again.close()
        await asyncio.wait_for(await AsyncLedger(others[0].ledger).transfer(treasury, BOB, 5), PATIENCE_S)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for one in others:
            await one.close()
