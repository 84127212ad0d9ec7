"""Bounds of the API. Each is named in the error that it causes, served by `limits`, and tested."""

from dataclasses import dataclass, fields
from typing import Final

from cherrydag.errors import ConfigError

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """What one client may ask for, and all of them together. Raises ConfigError for a value below 1.

    A body of JSON: body_bytes, depth of arrays and objects, tokens (quotes, commas, colons and opening
    brackets, wherever they stand), id_chars of a request's id, batch_calls of one batch.
    Answers: response_bytes, of a batch as a whole too; list_bytes, after which a list ends early with a
    cursor; ids of one call; history_items; commits_count; commit_rows as JSON, rows_count as bytes.
    Submissions: submit_rows as JSON; submit_bytes of one binary body, submit_bytes_open of all in work;
    wait_ms for what is final; held_submissions and held_rows whose results are kept for who asks, the oldest
    go first.
    Sockets: connections; calls_open in work; head_ms for the first request, body_ms for a body, idle_ms
    between requests.
    WebSocket: websockets; subscriptions and queue_bytes of one; calls_waiting behind the one in work, and
    calls_waiting_bytes, at which no more is received, pings neither; ids_watched by a subscription; stall_ms
    without progress while old commits are read; ping_ms between pings.
    The DAG: dag_notes, of vertices and commits, that are kept for who follows it; dag_event_bytes of one of
    its events, of which there are ten a second at most; vertex_ids of one vertex.
    Time: read_ms for a read that goes through many commits, and for all reads of a batch; lag_ms, how late
    the event loop may be before it counts as dead and reads are turned away.
    """

    body_bytes: int = MIB
    depth: int = 32
    tokens: int = 1 << 16
    id_chars: int = 128
    batch_calls: int = 100
    response_bytes: int = 10 * MIB
    list_bytes: int = 4 * MIB
    ids: int = 1000
    history_items: int = 1000
    commits_count: int = 1000
    commit_rows: int = 1000
    submit_rows: int = 1000
    submit_bytes: int = 16 * MIB
    submit_bytes_open: int = 128 * MIB
    wait_ms: int = 30_000
    held_submissions: int = 4096
    held_rows: int = 1 << 21
    rows_count: int = 32_768
    connections: int = 512
    calls_open: int = 1024
    head_ms: int = 10_000
    body_ms: int = 30_000
    idle_ms: int = 60_000
    websockets: int = 256
    subscriptions: int = 16
    queue_bytes: int = MIB
    calls_waiting: int = 16
    calls_waiting_bytes: int = 256 << 10
    ids_watched: int = 1000
    stall_ms: int = 30_000
    ping_ms: int = 20_000
    dag_notes: int = 8192
    dag_event_bytes: int = 256 << 10
    vertex_ids: int = 100
    read_ms: int = 2000
    lag_ms: int = 1000

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value < 1:
                raise ConfigError(f"rpc.{item.name}: expected at least 1, got {value}")

    def as_dict(self) -> dict[str, int]:
        """All of them by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}
