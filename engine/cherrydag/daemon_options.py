"""What a node's process runs, out of its configuration."""

from dataclasses import dataclass, field

from cherrydag.config import (
    Config,
    files_needed,
    listen_of,
    node_of,
    own_validator,
    peers_listen,
    place_of,
)
from cherrydag.consensus.timing import Timing
from cherrydag.net.addresses import Place
from cherrydag.net.admission import AdmissionLimits
from cherrydag.net.discovery import Seed
from cherrydag.net.peer_record import FLAG_OPERATOR
from cherrydag.net.transport import TransportLimits
from cherrydag.overload import OverloadLimits
from cherrydag.primitives import Amount
from cherrydag.rpc.backend import Faucet
from cherrydag.rpc.server import RpcOptions
from cherrydag.runtime.home import Home
from cherrydag.runtime.node_runner import NetworkOptions
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.runtime.service_limits import ServiceLimits
from cherrydag.signing import KeyPair


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """What a node's process runs. api: None for a node without one. drain_ms: how long a stop waits for what
    was accepted. files: descriptors that it may need."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    ledger: LedgerOptions = field(default_factory=LedgerOptions)
    api: RpcOptions | None = field(default_factory=RpcOptions)
    drain_ms: int = 5000
    files: int = 0


def options_of(config: Config, home: Home, key: KeyPair) -> DaemonOptions:
    """A configuration, which has been checked, as the parts take it. ConfigError for what they cannot do."""
    peers, ledger, api = config.peers, config.ledger, config.api
    listen = peers_listen(config, own_validator(home.genesis, key.public_key))
    network = NetworkOptions(
        listen,
        dict(node_of("peers.known", text) for text in peers.known),
        TransportLimits(admission=AdmissionLimits(others_max=peers.others_max)),
        [
            Seed(public_key, Place(*place))
            for public_key, place in (node_of("peers.seeds", text) for text in peers.seeds)
        ],
        [place_of("peers.advertise", peers.advertise)] if peers.advertise else [],
        flags=FLAG_OPERATOR if config.node.role == "operator" else 0,
    )
    timing = {name: getattr(config.timing, name) for name in config.timing.__struct_fields__}
    ledger_options = LedgerOptions(
        ledger.verify_threads,
        ledger.checkpoint_transactions,
        config.mempool,
        config.store,
        Timing(**timing),
        _service_limits(config),
        signs=config.node.role in ("auto", "validator"),
        issues=config.node.role == "operator",
    )
    api_listen = listen_of("api.listen", api.listen)
    faucet = None
    if config.faucet.key:
        giver = home.key(config.faucet.key)
        faucet = Faucet(giver, Amount(config.faucet.amount), config.faucet.pause_s)
    served = (
        None
        if api_listen is None
        else RpcOptions(api_listen, api.hosts, api.origins, faucet, api.limits, api.explorer)
    )
    files = files_needed(config, len(home.genesis.validators))
    return DaemonOptions(network, ledger_options, served, config.node.drain_ms, files)


def _service_limits(config: Config) -> ServiceLimits:
    given = config.overload
    overload = OverloadLimits(given.vertex_ms, given.wait_ms, given.patience_ms)
    return ServiceLimits(fee_min=config.mempool.fee_min, funding_ms=given.funding_ms, overload=overload)
