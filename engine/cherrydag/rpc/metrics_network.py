"""Figures of peers: links, queues, admission, discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cherrydag.params import PEER_OTHERS
from cherrydag.rpc.metric_families import Group, counter, counters, gauge, gauges

if TYPE_CHECKING:
    from collections.abc import Callable

    from cherrydag.net.link import Link
    from cherrydag.rpc.server import RpcServer
    from cherrydag.runtime.node_runner import RunningNode
    from cherrydag.runtime.peer_finder import PeerFinder

OTHERS: Final = "others"
"""The label of all peers that are no validators: there may be thousands over time."""


def _node(server: RpcServer) -> RunningNode | None:
    return server.backend.node


def _finder(server: RpcServer) -> PeerFinder | None:
    return None if server.backend.node is None else server.backend.node.finder


def _by_validator(node: RunningNode, value: Callable[[Link], float]) -> dict[str, float]:
    """A value of each link with a validator under its name, and the sum of the rest."""
    names = [validator.name for validator in node.ledger.home.genesis.validators]
    found = {OTHERS: 0.0}
    for peer, link in sorted(node.peers.links.items()):
        if peer < PEER_OTHERS:
            found[names[peer]] = value(link)
        else:
            found[OTHERS] += value(link)
    return found


def _queued(link: Link) -> int:
    return 0 if link.connection is None else link.connection.queued_bytes


def _received(link: Link) -> int:
    return 0 if link.connection is None else link.connection.traffic.bytes_in


def _sent(link: Link) -> int:
    return 0 if link.connection is None else link.connection.traffic.bytes_out


def _rtts(node: RunningNode) -> dict[str, float]:
    """Of the links with validators that have answered a ping."""
    names = [validator.name for validator in node.ledger.home.genesis.validators]
    found = {}
    for peer, link in sorted(node.peers.links.items()):
        rtt_ms = None if link.connection is None else link.connection.rtt_ms
        if peer < PEER_OTHERS and rtt_ms is not None:
            found[names[peer]] = rtt_ms / 1000
    return found


def _linked(node: RunningNode) -> dict[str, float]:
    """1 or 0 for every other validator."""
    host = node.ledger.host
    me = None if host is None else host.node.me
    linked = set(node.linked_validators)
    validators = enumerate(node.ledger.home.genesis.validators)
    return {validator.name: index in linked for index, validator in validators if index != me}


PEERS: Final = Group(
    "Peers",
    _node,
    (
        gauge("peers", "Linked peers", lambda at: len(at.peers.links)),
        gauges("peer_linked", "validator", "1 if this node is linked with the validator", _linked),
        gauges("peer_rtt_seconds", "validator", "Round trip of the last ping", _rtts),
        gauges(
            "peer_queue_bytes",
            "validator",
            "Bytes that wait to be sent, by validator, and to all other peers together",
            lambda at: _by_validator(at, _queued),
        ),
        gauge(
            "peer_queue_bytes_limit",
            "Bytes of one lane to one peer after which nothing is added",
            lambda at: at.peers.transport.limits.connection.queue_bytes_max,
        ),
        gauges(
            "peer_link_received_bytes",
            "validator",
            "Bytes that came over the links that are up",
            lambda at: _by_validator(at, _received),
        ),
        gauges(
            "peer_link_sent_bytes",
            "validator",
            "Bytes that went over the links that are up",
            lambda at: _by_validator(at, _sent),
        ),
        counters(
            "peer_bytes",
            "direction",
            "Bytes of all links so far",
            lambda at: {
                "in": at.peers.transport.traffic.bytes_in,
                "out": at.peers.transport.traffic.bytes_out,
            },
        ),
        counters(
            "peer_frames",
            "direction",
            "Frames of all links so far",
            lambda at: {
                "in": at.peers.transport.traffic.frames_in,
                "out": at.peers.transport.traffic.frames_out,
            },
        ),
        counter(
            "peer_shed",
            "Answers and requests refused for lack of room",
            lambda at: at.peers.transport.traffic.shed,
        ),
        gauge(
            "peer_requests_waiting",
            "Requests of peers that wait for their turn",
            lambda at: at.peers.requests_waiting,
        ),
        gauge(
            "peers_paused",
            "Peers from which nothing is read for a moment",
            lambda at: at.peers.paused,
        ),
        gauge("peers_banned", "Keys that are refused", lambda at: len(at.peers.bans())),
        gauge(
            "handshakes_pending",
            "Handshakes under way with peers that dialled this node",
            lambda at: at.peers.transport.pending,
        ),
        gauge(
            "handshakes_pending_limit",
            "Handshakes that may be under way",
            lambda at: at.peers.transport.limits.admission.pending_max,
        ),
        counter(
            "sockets_refused",
            "Sockets of peers closed before a handshake",
            lambda at: at.peers.transport.admission.refused,
        ),
        gauge(
            "peers_others_limit",
            "Peers that are no validators of which there may be",
            lambda at: at.peers.transport.limits.admission.others_max,
        ),
    ),
)

DISCOVERY: Final = Group(
    "Discovery",
    _finder,
    (
        gauges(
            "address_book_entries",
            "bucket",
            "Nodes in the address book: tried ones have answered",
            lambda at: {"tried": len(at.book.tried), "new": len(at.book.new)},
        ),
        gauge("outbound_peers", "Peers that this node keeps dialled", lambda at: len(at.discovery.outbound)),
        gauge(
            "outbound_peers_wanted",
            "Peers that it wants to keep dialled",
            lambda at: at.discovery.outbound_wanted,
        ),
    ),
)
