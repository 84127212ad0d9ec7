"""What may be set for one node, with its default and bounds, and whether all of it fits together.

None of it is a rule of the chain: those are in its genesis. Where values come from: config_sources.
"""

from __future__ import annotations

import resource
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

from msgspec import Meta, Struct, field

from cherrydag.address import Network
from cherrydag.consensus.timing import Timing
from cherrydag.errors import ConfigError
from cherrydag.keystore import NAME as KEY_NAME
from cherrydag.mempool import MempoolLimits
from cherrydag.overload import OverloadLimits
from cherrydag.params import PUBLIC_KEY_BYTES
from cherrydag.primitives import PublicKey
from cherrydag.rpc.limits import RpcLimits
from cherrydag.runtime.checkpointing import TRANSACTIONS
from cherrydag.runtime.funding import FUNDING_MS
from cherrydag.storage.values import StoreOptions

if TYPE_CHECKING:
    from cherrydag.genesis import Genesis, Validator

AUTO: Final = "auto"

DRAIN_MS_MAX: Final = 7000
"""Longest that a stop may wait for what was accepted: with goodbyes and last writes it ends in 10 s."""

FILES_OWN: Final = 96
"""Descriptors that a node needs beside its links and its clients."""

_WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 - to recognise them

Role = Literal["auto", "validator", "operator", "observer"]


class NodeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the node is."""

    role: Annotated[
        Role,
        Meta(description="auto: a validator if its key is one of the genesis, else an observer"),
    ] = "auto"
    name: Annotated[
        str, Meta(max_length=64, pattern=r"^[ -~]*$", description="What the log calls it; '' for none")
    ] = ""
    drain_ms: Annotated[
        int,
        Meta(ge=0, le=DRAIN_MS_MAX, description="How long a stop waits for what was accepted to be final"),
    ] = 5000


class PeersConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The links with other nodes."""

    listen: Annotated[
        str,
        Meta(
            description="IP:PORT; '' to dial only; auto: the port that the genesis names for this "
            "validator, else any"
        ),
    ] = AUTO
    advertise: Annotated[
        str, Meta(description="HOST:PORT where others reach this node, if that is not where it listens")
    ] = ""
    seeds: Annotated[
        tuple[str, ...], Meta(max_length=64, description="KEYHEX@HOST:PORT of nodes to find others through")
    ] = ()
    known: Annotated[
        tuple[str, ...],
        Meta(max_length=256, description="KEYHEX@HOST:PORT of nodes to dial, before what the genesis says"),
    ] = ()
    others_max: Annotated[int, Meta(ge=0, le=4096, description="Links with nodes that are no validators")] = (
        64
    )


class ApiConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The API for clients."""

    listen: Annotated[str, Meta(description="IP:PORT; port 0 for any; '' for no API")] = "127.0.0.1:8645"
    hosts: Annotated[
        tuple[str, ...],
        Meta(max_length=64, description="Names under which clients reach it, besides this machine's own"),
    ] = ()
    origins: Annotated[
        tuple[str, ...], Meta(max_length=64, description="Web pages that may use it: https://NAME[:PORT]")
    ] = ()
    explorer: Annotated[bool, Meta(description="Whether a browser at its address gets the explorer")] = True
    limits: RpcLimits = field(default_factory=RpcLimits)


class FaucetConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that gives coins to whoever asks, on networks whose coins are worth nothing."""

    key: Annotated[str, Meta(description="Name of a key without a password; '' for no faucet")] = ""
    amount: Annotated[int, Meta(ge=1, description="Smallest units of a gift")] = 10**18
    pause_s: Annotated[int, Meta(ge=0, le=86_400, description="Between two gifts to one address")] = 60


class LedgerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Execution and checkpoints."""

    verify_threads: Annotated[
        int, Meta(ge=0, le=256, description="Native workers; 0: one less than there are cores, one at least")
    ] = 0
    checkpoint_transactions: Annotated[
        int,
        Meta(ge=1000, description="Between two checkpoints on disk; a restart replays as many at most"),
    ] = TRANSACTIONS


_OVERLOAD: Final = OverloadLimits()


class OverloadConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is admitted while more comes in than becomes final, or than is paid for."""

    vertex_ms: Annotated[
        int,
        Meta(
            ge=10,
            le=10_000,
            description="How much of what becomes final in a time a vertex of ours may carry",
        ),
    ] = _OVERLOAD.vertex_ms
    wait_ms: Annotated[
        int, Meta(ge=10, le=60_000, description="How long what is admitted may wait for its vertex")
    ] = _OVERLOAD.wait_ms
    patience_ms: Annotated[
        int, Meta(ge=1, le=60_000, description="How long more than that may wait before any is refused")
    ] = _OVERLOAD.patience_ms
    funding_ms: Annotated[
        int,
        Meta(ge=0, le=60_000, description="How long what nobody can pay for yet waits for its funds"),
    ] = FUNDING_MS


class LogConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The log, on stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Of a node that runs SIGUSR2 reads this anew, SIGUSR1 goes to the next one"),
    ] = "info"
    format: Annotated[
        Literal["auto", "json", "text"], Meta(description="auto: text on a terminal, else JSON")
    ] = "auto"
    rate: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Lines of one event in ten seconds; more are counted")
    ] = 20


ROUND_DELAY_MS: Final = 30
"""Of nodes: at 1,000 transfers/s four of them on two cores answer in 139 ms at p50, in 199 with the 50 of the
design, and under full load rounds are slower than either."""

_TIMING: Final = Timing()


class TimingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The node's patience."""

    leader_timeout_ms: Annotated[
        int, Meta(ge=50, le=10_000, description="How long a round waits for its leader")
    ] = _TIMING.leader_timeout_ms
    min_round_delay_ms: Annotated[int, Meta(ge=0, le=5000, description="Between two own vertices")] = (
        ROUND_DELAY_MS
    )
    idle_round_delay_ms: Annotated[
        int, Meta(ge=100, le=60_000, description="What that stretches to while there is nothing to order")
    ] = _TIMING.idle_round_delay_ms


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it."""

    node: NodeConfig = field(default_factory=NodeConfig)
    peers: PeersConfig = field(default_factory=PeersConfig)
    api: ApiConfig = field(default_factory=ApiConfig)
    faucet: FaucetConfig = field(default_factory=FaucetConfig)
    ledger: LedgerConfig = field(default_factory=LedgerConfig)
    mempool: MempoolLimits = field(default_factory=MempoolLimits)
    store: StoreOptions = field(default_factory=StoreOptions)
    overload: OverloadConfig = field(default_factory=OverloadConfig)
    log: LogConfig = field(default_factory=LogConfig)
    timing: TimingConfig = field(default_factory=TimingConfig)


# Values that have parts


class Place(NamedTuple):
    """Where something listens or is reached."""

    host: str
    port: int

    @property
    def text(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def place_of(key: str, text: str, *, port_min: int = 0) -> Place:
    """HOST:PORT. ConfigError, naming the key, if it is none."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_bare_v6 = ":" in host and bare == host
    if not colon or not bare or is_bare_v6 or not port.isascii() or not port.isdecimal() or len(port) > 5:
        raise ConfigError(f"{key}: expected HOST:PORT, or [IPV6]:PORT, got {text!r}")
    if not port_min <= int(port) <= 65_535:
        raise ConfigError(f"{key}: expected a port from {port_min} to 65535, got {port}")
    return Place(bare, int(port))


def listen_of(key: str, text: str) -> Place | None:
    """Where to listen, None for nowhere. ConfigError unless its host is an IP address."""
    if not text:
        return None
    place = place_of(key, text)
    try:
        ip_address(place.host)
    except ValueError:
        raise ConfigError(f"{key}: expected an IP address and a port, got {text!r}") from None
    return place


def node_of(key: str, text: str) -> tuple[PublicKey, Place]:
    """KEYHEX@HOST:PORT. ConfigError, naming the key, if it is none."""
    digits, at, rest = text.partition("@")
    try:
        public_key = bytes.fromhex(digits)
    except ValueError:
        public_key = b""
    if not at or len(public_key) != PUBLIC_KEY_BYTES or len(digits) != 2 * PUBLIC_KEY_BYTES:
        raise ConfigError(f"{key}: expected {2 * PUBLIC_KEY_BYTES} hex digits@HOST:PORT, got {text!r}")
    return PublicKey(public_key), place_of(key, rest, port_min=1)


# Whether it fits together


def peers_listen(config: Config, own: Validator | None) -> Place | None:
    """Where to listen for peers. own: what the genesis says of this node's key."""
    if config.peers.listen != AUTO:
        return listen_of("peers.listen", config.peers.listen)
    if own is None or not own.hosts:
        return Place("127.0.0.1", 0)
    named = place_of("genesis.validators.hosts", own.hosts[0], port_min=1)
    try:
        is_here = ip_address(named.host).is_loopback
    except ValueError:
        is_here = named.host == "localhost"
    return Place("127.0.0.1" if is_here else "0.0.0.0", named.port)  # noqa: S104 - others must reach it


def own_validator(genesis: Genesis, public_key: PublicKey) -> Validator | None:
    """What the genesis says of a key; None if it is no validator's."""
    return next((one for one in genesis.validators if one.public_key == public_key), None)


def check(config: Config, genesis: Genesis, public_key: PublicKey) -> tuple[str, ...]:
    """What is allowed but may surprise. ConfigError if parts contradict each other, or the genesis.

    public_key: of the node's key.
    """
    own = own_validator(genesis, public_key)
    if config.node.role == "validator" and own is None:
        raise ConfigError(
            f"node.role: 'validator', but the genesis has no validator with the key {public_key.hex()}"
        )
    if config.node.role == "operator" and own is not None:
        raise ConfigError("node.role: 'operator', but the node's key is a validator's: it cannot be both")
    for key, texts in (("peers.seeds", config.peers.seeds), ("peers.known", config.peers.known)):
        for text in texts:
            node_of(key, text)
    if config.peers.advertise:
        place_of("peers.advertise", config.peers.advertise, port_min=1)
    peers, api = peers_listen(config, own), listen_of("api.listen", config.api.listen)
    if peers is not None and api is not None and peers.port and _collide(peers, api):
        raise ConfigError(f"api.listen: {api.text} is where peers.listen is, too: {peers.text}")
    _check_api(config, api)
    _check_faucet(config, genesis)
    _check_values(config)
    return _warnings(config, own, peers, len(genesis.validators))


def _collide(one: Place, other: Place) -> bool:
    is_same_host = one.host == other.host or one.host in _WILDCARDS or other.host in _WILDCARDS
    return one.port == other.port and is_same_host


def _check_api(config: Config, api: Place | None) -> None:
    if api is None:
        return
    if ip_address(api.host).is_unspecified and not config.api.hosts:
        raise ConfigError(
            f"api.hosts: needed where api.listen is {api.text}: the names under which clients reach "
            "this node; others are refused"
        )
    if "*" in config.api.origins:
        raise ConfigError("api.origins: expected https://NAME[:PORT], got '*': there is no wildcard")


def _check_faucet(config: Config, genesis: Genesis) -> None:
    key = config.faucet.key
    if not key:
        return
    if genesis.network is not Network.DEV:
        raise ConfigError(f"faucet.key: only on the network {Network.DEV}, this one is {genesis.network}")
    if not KEY_NAME.fullmatch(key):
        raise ConfigError(f"faucet.key: expected the name of a key, got {key!r}")


def _check_values(config: Config) -> None:
    """What no single key says."""
    store, timing = config.store, config.timing
    for name in ("map_bytes", "queue_batches", "queue_bytes"):
        value = getattr(store, name)
        if value < 1:
            raise ConfigError(f"store.{name}: expected at least 1, got {value}")
    if store.map_bytes > store.map_bytes_max:
        raise ConfigError(
            f"store.map_bytes: expected at most store.map_bytes_max, {store.map_bytes_max}, "
            f"got {store.map_bytes}"
        )
    if config.overload.wait_ms < config.overload.vertex_ms:
        raise ConfigError(
            f"overload.wait_ms: expected at least overload.vertex_ms, {config.overload.vertex_ms}, "
            f"got {config.overload.wait_ms}"
        )
    if timing.min_round_delay_ms > timing.idle_round_delay_ms:
        raise ConfigError(
            f"timing.min_round_delay_ms: expected at most timing.idle_round_delay_ms, "
            f"{timing.idle_round_delay_ms}, got {timing.min_round_delay_ms}"
        )


def files_needed(config: Config, validators: int) -> int:
    """Descriptors at most: links, clients and what the node opens itself."""
    clients = config.api.limits.connections if config.api.listen else 0
    return FILES_OWN + 2 * validators + config.peers.others_max + clients


def _warnings(config: Config, own: Validator | None, peers: Place | None, validators: int) -> tuple[str, ...]:
    found = []
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    least, needed = FILES_OWN + 2 * validators, files_needed(config, validators)
    if hard != resource.RLIM_INFINITY and hard < least:
        raise ConfigError(
            f"RLIMIT_NOFILE: {hard} files may be open, {least} are needed for {validators} validators"
        )
    if hard != resource.RLIM_INFINITY and hard < needed:
        found.append(
            f"RLIMIT_NOFILE: {hard} files may be open, {needed} may be needed (api.limits.connections, "
            "peers.others_max): clients are turned away first"
        )
    if own is not None and config.node.role in ("observer", "operator"):
        found.append(f"node.role: its key is the validator {own.name}'s, which signs nothing here")
    is_here = peers is not None and ip_address(peers.host).is_loopback
    if validators > 1 and is_here and not config.peers.advertise and own is not None and not own.hosts:
        found.append("peers.listen: nobody outside of this machine reaches this validator")
    return tuple(found)
