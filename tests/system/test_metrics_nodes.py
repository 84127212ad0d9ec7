"""The figures of nodes that run: each that is listed is told, and they say what happens."""

import time
from urllib import request

from node_processes import NodeProcess
from prometheus_client.parser import text_string_to_metric_families
from rpc_rig import api
from waiting import PATIENCE_S, wait_until

from cherrydag.bench.ports import free_ports
from cherrydag.primitives import TimestampMs
from cherrydag.rpc.metric_families import Kind
from cherrydag.rpc.metrics import GROUPS, scrape
from cherrydag.rpc.metrics_network import DISCOVERY, PEERS
from cherrydag.rpc.metrics_process import STANDARD
from cherrydag.runtime.home import create_network

Told = dict[str, dict[tuple[str, ...], float]]


def parsed(text: str) -> Told:
    """Values by name and labels."""
    found: Told = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def missing(told: Told, groups) -> set[str]:
    """Families of these groups of which nothing is told."""
    names = {
        f"{family.full_name}_bucket" if family.kind is Kind.HISTOGRAM else family.full_name
        for group in groups
        for family in group.families
    }
    return (names | set(STANDARD)) - set(told)


async def test_a_node_without_peers_tells_all_but_those(tmp_path):
    async with api(tmp_path / "l") as node:
        await node.call("status")
        told = parsed(scrape(node.server).decode())
    assert not missing(told, [group for group in GROUPS if group not in (PEERS, DISCOVERY)])
    assert "cherrydag_peers" not in told
    reasons = told["cherrydag_not_ready"]
    assert reasons[("no_quorum",)] == 0 and len(reasons) >= 9


async def test_a_reason_that_nobody_has_listed_is_told_all_the_same(tmp_path):
    async with api(tmp_path / "l") as node:
        node.ledger._running.refusals["moonless"] = "no moon"
        told = parsed(scrape(node.server).decode())
        node.ledger._running.refusals.clear()
    assert told["cherrydag_not_ready"][("moonless",)] == 1 and told["cherrydag_ready"][()] == 0


def figures(node: NodeProcess) -> Told:
    with request.urlopen(f"{node.api}/metrics", timeout=PATIENCE_S) as answer:
        return parsed(answer.read().decode())


def test_two_nodes_tell_of_each_other_and_of_what_becomes_final(tmp_path):
    homes = create_network(
        tmp_path / "n",
        [f"127.0.0.1:{port}" for port in free_ports(2)],
        created_ms=TimestampMs(int(time.time() * 1000)),
    )
    with NodeProcess(homes[0].folder) as node, NodeProcess(homes[1].folder) as other:
        assert other.api and "result" in node.call("status")
        wait_until(lambda: sum(figures(node)["cherrydag_vertex_finality_seconds_count"].values()) >= 2)
        told = figures(node)
        assert not {name for name in missing(told, GROUPS) if name != "cherrydag_peer_rtt_seconds"}
        assert told["cherrydag_peer_linked"] == {("v1",): 1.0}
        assert set(told["cherrydag_peer_queue_bytes"]) == {("v1",), ("others",)}
        assert told["cherrydag_linked_stake"] == told["cherrydag_quorum_stake"] == {(): 2.0}
        assert abs(told["cherrydag_clock_offset_seconds"][()]) < PATIENCE_S
        assert told["cherrydag_vertices_final_total"][()] >= 2
        assert 0 <= told["cherrydag_since_commit_seconds"][()] < PATIENCE_S
        other.kill()
        wait_until(lambda: figures(node)["cherrydag_peer_linked"] == {("v1",): 0.0})
        assert figures(node)["cherrydag_not_ready"][("no_quorum",)] == 1
