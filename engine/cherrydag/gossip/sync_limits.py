"""When commits are synced, and how much of that is in flight at once."""

from typing import NamedTuple

from cherrydag.gossip.server import RESPONSE_BYTES_MAX
from cherrydag.params import COMMIT_SYNC_BATCH, COMMIT_SYNC_LAG, FETCH_REFS_MAX


class SyncLimits(NamedTuple):
    """Bounds of commit sync; all >= 1.

    lag: commits behind from which on they are synced. tail: the last of these, which are not asked for: the
    votes that certify them are in later commits, so a peer could not send them all. batch: commits of a
    request. batches_max: how far ahead of the main chain they are asked for and held. ranges_max,
    vertex_requests_max, vertex_requests_per_peer: in flight at once. held_bytes_max: frames held and on their
    way, beyond which only the next commit's vertices are asked for. response_bytes_max: what an answer can
    hold. timeout_ms: up to eight times that while nobody answers in time. hedge_ms: after which another peer,
    that owes no answer, is asked for what the next commit waits for. pause_ms, pause_max_ms: for which a peer
    that failed is not asked, doubling.
    """

    lag: int = COMMIT_SYNC_LAG
    tail: int = 8
    batch: int = COMMIT_SYNC_BATCH
    batches_max: int = 3
    ranges_max: int = 2
    refs_per_request: int = FETCH_REFS_MAX
    vertex_requests_max: int = 4
    vertex_requests_per_peer: int = 2
    held_bytes_max: int = 64 * 1024 * 1024
    response_bytes_max: int = RESPONSE_BYTES_MAX
    timeout_ms: int = 4000
    hedge_ms: int = 500
    pause_ms: int = 500
    pause_max_ms: int = 30_000
