#!/usr/bin/env python3
"""Attack a live network: `python3 tools/attack.py [--only NAME,...] [--seconds S] [--json] [--keep DIR]`.

Starts four of five validators as processes on loopback, with honest clients beside them, and runs each attack
against one of the nodes for S seconds, from a process of its own at low priority. Prints a row for each: its
bound, what was measured, and whether that holds; exits 1 if one does not. Latencies are compared with those
right before the attack, since other work on the machine is part of both. S scales what is sent; the full form
is --seconds 60.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import _setup

_setup.bootstrap()

from attacks.attack import Attack, Facts, Outcome, Verdict
from attacks.catalogue import ATTACKS
from attacks.site import HONEST, Network, Site, fetch
from attacks.watch import Span, Watch

_QUIET = 0.6
"""Share of the attack's time, before and after it, in which the network is watched alone."""


def main() -> int:
    """Run what was asked for; 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help=f"names, with commas: {', '.join(ATTACKS)}")
    parser.add_argument("--seconds", type=float, default=10, help="of each attack (default 10)")
    parser.add_argument("--rate", type=int, default=160, help="honest transfers a second (default 160)")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--keep", type=Path, help="a new folder for homes and logs; kept")
    parser.add_argument("--attacker", nargs=2, metavar=("NAME", "SITE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attacker:
        return attack_alone(
            ATTACKS[options.attacker[0]], Site.from_json(options.attacker[1]), options.seconds
        )
    names = options.only.split(",") if options.only else list(ATTACKS)
    unknown = [name for name in names if name not in ATTACKS]
    if unknown:
        sys.exit(f"attack: there is no {', '.join(unknown)}; there are {', '.join(ATTACKS)}")
    chosen = [ATTACKS[name] for name in names]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # nodes are stopped on the way
    if options.keep:
        options.keep.mkdir(parents=True)
        return asyncio.run(campaign(options.keep, chosen, options.seconds, options.rate, options.json))
    with tempfile.TemporaryDirectory(prefix="cherrydag-attack-") as folder:
        return asyncio.run(campaign(Path(folder), chosen, options.seconds, options.rate, options.json))


def attack_alone(attack: Attack, site: Site, seconds: float) -> int:
    """The attacker's process: prints what it found out."""
    if attack.run is None:
        sys.exit(f"attack: {attack.name} runs beside the network")
    os.nice(10)
    print(json.dumps(asyncio.run(attack.run(site, seconds))))
    return 0


async def campaign(folder: Path, chosen: Sequence[Attack], seconds: float, rate: int, as_json: bool) -> int:
    """One network, one attack after another."""
    failed = 0
    with Network(folder) as network:
        watch = Watch(network.site, rate)
        await watch.start()
        try:
            await watch.span(3.0)
            show(None, await watch.span(max(3.0, seconds)), as_json)
            for attack in chosen:
                outcome = await run(network, watch, attack, seconds)
                failed += not show(attack, outcome, as_json)
                if network.dead():
                    break
        finally:
            await watch.stop()
    return int(bool(failed))


async def run(network: Network, watch: Watch, attack: Attack, seconds: float) -> Outcome:
    """One attack, between two quiet spans."""
    quiet_s = max(2.0, _QUIET * seconds)
    watch.entry = attack.entry
    before = await watch.span(quiet_s)
    running = asyncio.create_task(_facts(network, attack, seconds))
    during = await watch.span(seconds)
    facts = await running
    watch.cut()
    await asyncio.sleep(1.0)
    after = await watch.span(quiet_s)
    return Outcome(before, during, after, facts, tuple(faults(network, after)))


async def _facts(network: Network, attack: Attack, seconds: float) -> Facts:
    if attack.stage is not None:
        return await attack.stage(network, seconds)
    command = [sys.executable, str(Path(__file__).resolve()), "--seconds", f"{seconds:g}"]
    process = await asyncio.create_subprocess_exec(
        *command, "--attacker", attack.name, network.site.to_json(), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds * 3 + 300):
            told, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return {"error": "the attacker did not end"}
    if process.returncode:
        return {"error": f"the attacker ended with {process.returncode}"}
    facts: Facts = json.loads(told)
    return facts


def faults(network: Network, after: Span) -> list[str]:
    """What must hold after any attack: all nodes live and are linked, the chain goes on, all are served."""
    found = network.dead()
    if not after.commits:
        found.append("no commit after it")
    if not after.finality_ms:
        found.append("nothing final after it")
    site = network.site
    for node in range(HONEST):
        status, told = fetch(f"{site.api(node)}/readyz", 10.0)
        if status != 200:
            found.append(f"v{node} not ready: {told}")
    if after.lost:
        found.append(f"{after.lost} honest requests lost after it")
    return found


def show(attack: Attack | None, outcome: Outcome | Span, as_json: bool) -> bool:
    """Print a row; whether its bound holds."""
    load = os.getloadavg()[0]
    if isinstance(outcome, Span) or attack is None:
        figures = outcome.figures() if isinstance(outcome, Span) else {}
        print(json.dumps({"name": "idle", "load": load} | figures), flush=True)
        return True
    error = outcome.facts.get("error")
    verdict = Verdict(error, is_good=False) if error else attack.judge(outcome)
    good = verdict.is_good and not outcome.faults
    if as_json:
        spans = {name: getattr(outcome, name).figures() for name in ("before", "during", "after")}
        row = {"name": attack.name, "bound": attack.bound, "measured": verdict.measured, "ok": good}
        more = {"faults": outcome.faults, "facts": dict(outcome.facts), "load": load}
        print(json.dumps(row | more | spans), flush=True)
        return good
    print(f"{attack.name:18} {'ok' if good else 'FAIL':4} {attack.bound} | {verdict.measured}", flush=True)
    for fault in outcome.faults:
        print(f"{'':18} {fault}", flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
