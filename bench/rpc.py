"""`bench.py rpc`: how many calls a second one node's API answers, and how late.

The node is a real process, `cherrydag run`, alone on its chain; a second process calls it, over connections
that stay open, each with one request under way. Every answer is checked: status 200, a result. In the same
run and in turns with it, the HTTP library serves answers of the same size that it need not look for: what is
left between the two is the node's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import uvloop
from aiohttp import web

from call_load import Caller, Done, Wanted
from cherrydag.address import Network, address_of, encode_address
from cherrydag.bench.local_network import LocalNetwork, NodeFailed, make_homes
from cherrydag.bench.local_run import loopback
from cherrydag.bench.process_figures import MAIN, machine, process_figures
from cherrydag.chain import Chain
from cherrydag.errors import ConfigError
from cherrydag.signing import sign_records
from cherrydag.transaction import build_transfers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from cherrydag.bench.node_api import NodeApi

ROOT = Path(__file__).resolve().parent.parent
ACCOUNTS: Final = 256
RESULT: Final = b'"result":{'
_PAUSE_S: Final = 0.2


class Target(NamedTuple):
    """What is called. bodies: of its requests, in turn; pid: of the process that answers."""

    name: str
    url: str
    bodies: tuple[bytes, ...]
    calls: int
    pid: int
    is_websocket: bool = False


class Turn(NamedTuple):
    """One turn of one target. main_us, all_us: CPU of the answering process a call: its loop, all threads."""

    rate: float
    done: Done
    main_us: float
    all_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one target, medians over its turns; latencies over all of them. The fields are the keys of --json.

    value: calls a second. node_us: CPU of the answering process a call, main_us of its loop's thread alone;
    caller_us: of the calling process. of_library: value, as a part of what the HTTP library reaches.
    """

    name: str
    value: float
    unit: str = "calls/s"
    p50_ms: float
    p99_ms: float
    node_us: float
    main_us: float
    caller_us: float
    of_library: float | None
    connections: int
    n: int


def main(arguments: Sequence[str]) -> int:
    """Measure; 0 if all answers were right."""
    options = _parser().parse_args(arguments)
    try:
        with ExitStack() as stack:
            figures = _measure(options, stack)
    except (ConfigError, NodeFailed, ConnectionError) as error:
        print(f"bench rpc: {error}", file=sys.stderr)
        return 2
    if options.json:
        for one in figures:
            print(json.dumps(asdict(one)))
        return 0
    print(", ".join(f"{name} {value}" for name, value in machine(source=ROOT).items()))
    print(
        f"\n{'target':22} {'calls/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'node us':>8} {'its loop':>8} caller us"
    )
    for one in figures:
        part = "" if one.of_library is None else f"{one.of_library:.2f}"
        print(
            f"{one.name:22} {one.value:9,.0f} {one.p50_ms:8.2f} {one.p99_ms:8.2f} "
            f"{one.node_us:8.1f} {one.main_us:8.1f} {one.caller_us:9.1f}  {part:>10}"
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench.py rpc", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="[status balance account receipt]")
    parser.add_argument("--connections", type=int, default=32, metavar="N", help="[32]")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="of a turn  [1]")
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="of each target  [5]")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="calls of a request  [1]")
    parser.add_argument("--websocket", action="store_true", help="over WebSockets, not requests of HTTP")
    parser.add_argument("--profile", type=Path, metavar="F", help="sample the node's main thread")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def _measure(options: argparse.Namespace, stack: ExitStack) -> list[Figures]:
    if options.connections < 1 or options.turns < 1 or options.batch < 1 or options.seconds <= 0:
        raise ConfigError("connections, turns, batch and seconds are above 0")
    folder = Path(tempfile.mkdtemp(prefix="cherrydag-rpc-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    network = stack.enter_context(_network(folder, options.profile))
    network.start()
    api = network.apis[0]
    calls = _calls(network)
    unknown = set(options.methods) - calls.keys()
    if unknown:
        raise ConfigError(f"methods: there are {', '.join(calls)}; got {min(unknown)}")
    targets = []
    for name in options.methods or calls:
        bodies = tuple(_body(name, one, options.batch) for one in calls[name])
        targets.append(Target(name, api.url, bodies, options.batch, network.pids[0], options.websocket))
    if not options.websocket and options.batch == 1:
        size = len(_answer(api, targets[0].bodies[0]))
        process, port = stack.enter_context(_Library()).start(size)
        targets.append(
            Target("(HTTP library alone)", f"http://127.0.0.1:{port}", targets[0].bodies, 1, process)
        )
    turns: dict[str, list[Turn]] = {target.name: [] for target in targets}
    caller = stack.enter_context(Caller())
    for _ in range(options.turns + 1):
        for target in targets:
            turns[target.name].append(_turn(caller, target, options))
            time.sleep(_PAUSE_S)
    figures = _figures(targets, turns, options.connections)
    network.stop()
    return figures


def _network(folder: Path, stacks: Path | None) -> LocalNetwork:
    programs: dict[int, Sequence[str]] = {}
    if stacks is not None:
        programs[0] = (sys.executable, str(ROOT / "bench" / "profiled_node.py"), str(stacks.absolute()))
    spec = loopback(1, ACCOUNTS)
    return LocalNetwork(spec, make_homes(spec, folder), programs=programs)


def _calls(network: LocalNetwork) -> dict[str, list[dict[str, Any]]]:
    """Parameters of each method that is called; the receipts are of transfers that are made first."""
    keys, _ = network.spec.keys()
    addresses = [{"address": encode_address(address_of(key.public_key), Network.DEV)} for key in keys]
    records = build_transfers(
        senders=b"".join(key.public_key for key in keys),
        recipients=b"".join(address_of(key.public_key) for key in reversed(keys)),
        amounts=1,
        nonces=np.zeros(len(keys), np.uint64),
    )
    sign_records(
        records, Chain.of(network.homes[0].genesis.digest).transaction_key, keys, np.arange(len(keys))
    )
    taken = network.apis[0].call("submit", records=records.tobytes().hex(), wait="final")
    if not taken["is_settled"]:
        raise ConnectionError("the transfers whose receipts are asked for did not become final")
    ids = [{"id": row["id"]} for row in taken["transactions"]]
    return {"status": [{}], "balance": addresses, "account": addresses, "receipt": ids}


def _body(method: str, params: dict[str, Any], batch: int) -> bytes:
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    return (call if batch == 1 else f"[{','.join([call] * batch)}]").encode()


def _answer(api: NodeApi, body: bytes) -> bytes:
    call = json.loads(body)
    result = api.call(call["method"], **call["params"])
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}, separators=(",", ":")).encode()


def _turn(caller: Caller, target: Target, options: argparse.Namespace) -> Turn:
    before = process_figures(target.pid)
    wanted = Wanted(
        target.url,
        target.bodies,
        RESULT,
        target.calls,
        options.connections,
        options.seconds,
        target.is_websocket,
    )
    done = caller.run(wanted)
    after = process_figures(target.pid)
    if before is None or after is None:
        raise ConnectionError(f"{target.name}: its process has ended")
    calls = max(1, len(done.latencies_us) * target.calls)
    threads = {
        name: used.run_s - (before.threads[name].run_s if name in before.threads else 0)
        for name, used in after.threads.items()
    }
    return Turn(calls / done.seconds, done, threads[MAIN] / calls * 1e6, sum(threads.values()) / calls * 1e6)


def _figures(targets: Sequence[Target], turns: dict[str, list[Turn]], connections: int) -> list[Figures]:
    """The first turn of each warms up and does not count."""
    library = turns.get("(HTTP library alone)", [])[1:]
    made = []
    for target in targets:
        counted = turns[target.name][1:]
        latencies = np.concatenate([np.array(turn.done.latencies_us) for turn in counted])
        calls = len(latencies) * target.calls
        parts = [turn.rate / bare.rate for turn, bare in zip(counted, library, strict=bool(library))]
        made.append(
            Figures(
                name=target.name,
                value=round(statistics.median(turn.rate for turn in counted), 1),
                p50_ms=round(float(np.quantile(latencies, 0.5)) / 1000, 3),
                p99_ms=round(float(np.quantile(latencies, 0.99)) / 1000, 3),
                node_us=round(statistics.median(turn.all_us for turn in counted), 2),
                main_us=round(statistics.median(turn.main_us for turn in counted), 2),
                caller_us=round(sum(turn.done.cpu_s for turn in counted) / calls * 1e6, 2),
                of_library=round(statistics.median(parts), 3) if parts else None,
                connections=connections,
                n=calls,
            )
        )
    return made


# The library alone


class _Library:
    """A process in which the HTTP library answers each POST with as many bytes, and nothing else happens."""

    def start(self, size: int) -> tuple[int, int]:
        """Its process, and its port."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(size, theirs), daemon=True)
        self._process.start()
        if not ours.poll(20):
            raise ConnectionError("the process of the HTTP library does not begin")
        return self._process.pid or 0, int(ours.recv())

    def __enter__(self) -> _Library:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


def _serve(size: int, pipe: Connection) -> None:
    uvloop.run(_answer_all(RESULT.ljust(size), pipe))


async def _answer_all(body: bytes, pipe: Connection) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/json")

    server = web.Server(answer, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    pipe.send(listener.sockets[0].getsockname()[1])
    await listener.serve_forever()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
