"""Settings, exit codes and limits, as the code has them."""

import ast
import inspect
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, Final, NamedTuple, get_args, get_origin

from cherrydag import overload, params
from cherrydag.cli.exits import MEANINGS
from cherrydag.config_sources import known_keys, section_texts, toml_text
from cherrydag.consensus import door
from cherrydag.consensus.timing import Timing
from cherrydag.execution import accounts, anchor, bonds, entries, multisig
from cherrydag.gossip import backlog, jobs, message_codec, server
from cherrydag.gossip.fetcher import FetchLimits
from cherrydag.gossip.push_filter import OrphanLimits
from cherrydag.gossip.pushes import PushLimits
from cherrydag.gossip.spread import SpreadLimits
from cherrydag.gossip.sync_limits import SyncLimits
from cherrydag.gossip.turns import TurnLimits
from cherrydag.mempool import MempoolLimits
from cherrydag.net import control, peer_record
from cherrydag.net.address_book import BookLimits
from cherrydag.net.admission import AdmissionLimits
from cherrydag.net.dialing import DialLimits
from cherrydag.net.discovery import DiscoveryLimits
from cherrydag.net.pacing import ConnectionLimits
from cherrydag.rpc.health import readiness as health_readiness
from cherrydag.rpc.limits import RpcLimits
from cherrydag.runtime import evidence, marks, peers, room, submissions
from manual.markdown import code, paragraphs, table, texts_below

CONSTANTS: Final[Sequence[tuple[ModuleType, Sequence[str]]]] = (
    (message_codec, ("CONTROL_BYTES_MAX", "ANSWER_BYTES_MAX")),
    (control, ("HELLO_EXTRA_BYTES_MAX", "RECORDS_MAX")),
    (peer_record, ("ADDRESSES_MAX", "LIFE_MS")),
    (server, ("RESPONSE_BYTES_MAX",)),
    (backlog, ("UNEXECUTED_MAX", "UNEXECUTED_BYTES_MAX")),
    (jobs, ("PEER_BYTES_MAX",)),
    (peers, ("FAULTS_MAX", "SCORED_MAX")),
    (door, ("SPONSORED_MAX",)),
    (room, ("UNWRITTEN_BYTES_MAX",)),
    (submissions, ("ROWS_MAX",)),
    (overload, ("ROUND_MIN", "RETRY_MS_MAX")),
    (evidence, ("FILES_MAX",)),
    (marks, ("CRASHES_MAX", "CRASH_WINDOW_MS")),
)
"""Limits of a node that are no settings."""

CHAIN_CONSTANTS: Final[Sequence[tuple[ModuleType, Sequence[str]]]] = (
    (accounts, ("LINES_MAX",)),
    (entries, ("MODULE_KEY_BYTES_MAX", "TABLE_BYTES_MAX")),
    (bonds, ("BOND_MIN", "BONDS_MAX", "QUOTA_MAX")),
    (anchor, ("SIGNERS_MAX",)),
    (multisig, ("MEMBERS_MAX", "OPEN_PROPOSALS_MAX")),
)
"""Limits of the chain's modules and state."""

LIMITS: Final[Sequence[type]] = (
    AdmissionLimits,
    ConnectionLimits,
    DialLimits,
    DiscoveryLimits,
    BookLimits,
    PushLimits,
    OrphanLimits,
    TurnLimits,
    FetchLimits,
    SyncLimits,
    SpreadLimits,
    Timing,
    MempoolLimits,
    RpcLimits,
)
"""Limits of a node by the part that they are of."""


class _Constant(NamedTuple):
    name: str
    value: object
    text: str


# Settings


def settings() -> str:
    """Every key with its default and bounds, section by section."""
    texts, parts, last = section_texts(), [], ""
    rows: list[tuple[str, str, str, str]] = []

    def end() -> None:
        if rows:
            parts.append(table(("key", "default", "bounds", "meaning"), rows))
            rows.clear()

    for key in known_keys():
        section = key.name.rpartition(".")[0]
        if section != last:
            end()
            last = section
            parts += [f"### `[{section}]`", paragraphs(texts[section])]
        rows.append((code(key.name), code(toml_text(key.default)), _bounds(key.type), key.text))
    end()
    return "\n\n".join(parts)


def _bounds(kind: Any) -> str:
    found = []
    for meta in getattr(kind, "__metadata__", ()):
        least, most = getattr(meta, "ge", None), getattr(meta, "le", None)
        if least is not None or most is not None:
            found.append(f"{least:,} to {most:,}" if most is not None else f"from {least:,}")
        if getattr(meta, "max_length", None) is not None:
            found.append(f"at most {meta.max_length} long")
    plain = get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
    if str(get_origin(plain)) == "typing.Literal":
        found.append(", ".join(get_args(plain)))
    return "; ".join(found)


def exit_codes() -> str:
    """What a command's exit code says."""
    return table(("code", "meaning"), [(int(number), text) for number, text in MEANINGS.items()])


def readiness() -> str:
    """Why /readyz says no. KeyError unless the codes are those of the code."""
    calls = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(health_readiness)))
        if isinstance(node, ast.Call)
    ]
    made = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Reason"]
    codes = {one.value for one in made if isinstance(one, ast.Constant)}
    if codes | REFUSALS != set(READINESS):
        raise KeyError(*(codes | REFUSALS) ^ set(READINESS))
    return table(("reason", "meaning"), [(code(one), text) for one, text in READINESS.items()])


REFUSALS: Final = frozenset(["draining", "safe_mode", "diverged"])

READINESS: Final = {
    "stopped": "the node has not begun, or its host has failed: the log says why, and the process ends",
    "not_writable": "the disk is full or refuses writes; the node waits for room and loses nothing",
    "recovering": "a validator that has just started has not yet heard from a quorum what it has signed",
    "behind": "it fetches commits that others have",
    "no_quorum": "its links reach less stake than a quorum",
    "draining": "it has been told to stop",
    "safe_mode": "it has crashed three times without getting further: it is only read",
    "diverged": "a quorum has signed another state than its own: it signs nothing more",
}


# Limits


def chain_limits() -> str:
    """Limits that all nodes of a chain share."""
    found = [*_constants(params, None)]
    for module, names in CHAIN_CONSTANTS:
        found += _constants(module, names)
    return _constants_table(found)


def node_limits() -> str:
    """Limits of a node, by part, then those that stand alone."""
    parts = []
    for limits in LIMITS:
        parts += [f"### {limits.__name__}", paragraphs(inspect.getdoc(limits) or "")]
        parts.append(table(("limit", "default"), [(code(name), _number(v)) for name, v in _defaults(limits)]))
    alone = [one for module, names in CONSTANTS for one in _constants(module, names)]
    return "\n\n".join([*parts, "### Others", _constants_table(alone)])


def _defaults(limits: type) -> Iterator[tuple[str, object]]:
    make: Callable[[], Any] = limits
    made = make()
    for name in getattr(limits, "_fields", None) or getattr(limits, "__dataclass_fields__", {}):
        yield name, getattr(made, name)


def _constants(module: ModuleType, names: Sequence[str] | None) -> Iterator[_Constant]:
    """Constants of a module with the words that stand below each. names: which; None for all with words."""
    words = texts_below(module)
    for name in names if names is not None else words:
        yield _Constant(name, getattr(module, name), words[name])


def _constants_table(found: Sequence[_Constant]) -> str:
    rows = [(code(one.name), _number(one.value), one.text) for one in found]
    return table(("limit", "value", "meaning"), rows)


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value).lower()
    for power in (128, 64, 63, 32):
        for less in range(3):
            if value == 2**power - less:
                return f"2^{power}" + (f" - {less}" if less else "")
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= 4 * size and value % size == 0:
            return f"{value // size:,} {unit}" if unit != "KiB" else f"{value:,}"
    return f"{value:,}"
