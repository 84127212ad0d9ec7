"""Settings of one node: its patience and its bounds. Nodes may differ in them without forking."""

from dataclasses import dataclass, fields

from cherrydag.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Timing:
    """When a validator proposes, and how much it keeps for others. ConfigError for a value below 1.

    leader_timeout_ms: how long a round waits for its leader. min_round_delay_ms: least time between our
    vertices. idle_round_delay_ms: what that stretches to, doubling, while there is nothing to order.
    future_ms: how far a timestamp may lie ahead of our clock. resend_ms: after that long without a quorum
    for our round, our last vertex is sent again; after that long without a new round we go on though nobody
    links our vertices. newest_ms: after that long, ask again for our newest vertex.
    stuck_ms: after that long without a new round, timestamps ahead of our clock are let pass.
    round_ahead_max: rounds above ours that are parked. pending_max, pending_peer_max, missing_max,
    pending_bytes_max, pending_peer_bytes_max: bounds of the pending table. early_peer_max: vertices of one
    peer that wait for their timestamp. unreferenced_max: how many vertices we make that a quorum has not
    linked, while rounds come. solo_burst: payloads that a solo chain puts under one durable write.
    """

    leader_timeout_ms: int = 200
    min_round_delay_ms: int = 50
    idle_round_delay_ms: int = 4000
    future_ms: int = 500
    resend_ms: int = 1000
    newest_ms: int = 1000
    stuck_ms: int = 5000
    round_ahead_max: int = 500
    pending_max: int = 16_384
    pending_peer_max: int = 4096
    missing_max: int = 32_768
    pending_bytes_max: int = 64 * 1024 * 1024
    pending_peer_bytes_max: int = 16 * 1024 * 1024
    early_peer_max: int = 64
    unreferenced_max: int = 5
    solo_burst: int = 8

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            least = 0 if item.name == "min_round_delay_ms" else 1
            if value < least:
                raise ConfigError(f"timing.{item.name}: expected at least {least}, got {value}")
