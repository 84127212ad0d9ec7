"""The folder of a devnet: the homes of its nodes, keys with coins, and which ports are whose.

devnet.json     nodes, ports, the load's accounts; written last, so it says that all is there
v0, v1, ...     homes of the validators, op0, ... of operators, ob0, ... of observers; each with a config.toml
                that is yours to edit
keys/           "user", whose coins are for whoever tries things; "probe", which measures finality; "bonds",
                the owner of the operators' bonds
logs/           what each node says, appended to by every run
"""

import json
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from cherrydag.address import address_of, encode_address
from cherrydag.bench.ports import HOST, free_ports, is_free
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.errors import ConfigError
from cherrydag.genesis import Allocation, LedgerParams
from cherrydag.keystore import Keystore
from cherrydag.primitives import Amount, TimestampMs
from cherrydag.runtime.home import COIN, KEYS, TREASURY, VALIDATOR, Home, complete, create_network
from cherrydag.signing import SEED_BYTES, KeyPair, generate_keypair
from cherrydag.workload import WorkloadSpec

FACTS: Final = "devnet.json"
LOGS: Final = "logs"
USER: Final = "user"
PROBE: Final = "probe"
BONDS: Final = "bonds"

API_PORT: Final = 8645
"""The first node's, if it is free."""

FUNDS: Final = Amount(10**6 * COIN)
"""What each key and each of the load's accounts begins with."""

LOAD_ACCOUNTS: Final = 512

MODULES: Final = ("anchor", "assets", "bonds", "multisig")

CHECKPOINT_COMMITS: Final = 16
"""Commits between two checkpoints: about a second, so that proofs are there at once."""

TREE_DEPTH: Final = 16
"""Of the state's trees: of deeper ones the load's few accounts touch a page for nearly every node."""

NODES_MAX: Final = 64

_VERSION: Final = 1
_OPERATOR: Final = "op"
_OBSERVER: Final = "ob"
_CONFIG: Final = "config.toml"
_DRAIN_MS: Final = 500
"""All nodes stop at a time, so what one of them waits for may never come."""

_MEMPOOL: Final = {"transactions_max": 1 << 16, "recent_max": 1 << 16}
"""A quarter of a node's own limits: its indexes are touched at the start, and nobody here sends that much."""


class DevnetNode(NamedTuple):
    """One node. folder: its home; log: where it writes. host, api_host: where peers and clients reach it.
    flags: of `cherrydag run`, beside the folder; prefix: words before that command, for who runs it alone."""

    name: str
    folder: Path
    log: Path
    peers_port: int
    api_port: int
    host: str = HOST
    api_host: str = HOST
    flags: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()

    @property
    def is_operator(self) -> bool:
        """Whether it issues vertices of its own."""
        return self.name.startswith(_OPERATOR)

    @property
    def takes_transactions(self) -> bool:
        """Whether transactions can be handed in there."""
        return not self.name.startswith(_OBSERVER)

    @property
    def peers(self) -> str:
        """Where it listens for peers."""
        return f"{self.host}:{self.peers_port}"

    @property
    def api(self) -> str:
        """Where it listens for clients."""
        return f"{self.api_host}:{self.api_port}"

    @property
    def url(self) -> str:
        """Its API's."""
        return f"http://{self.api}"

    @property
    def command(self) -> str:
        """How to start it by hand, while the network is there."""
        return shlex.join([*self.prefix, "cherrydag", "run", str(self.folder), *self.flags])


@dataclass(frozen=True, slots=True)
class DevnetSpec:
    """What to make. validators: they alone are the committee; operators issue vertices too, observers only
    follow. api_port: of the first node, where it and the next ones are free, else the next free ones. Raises
    ConfigError out of bounds."""

    validators: int = 4
    observers: int = 0
    api_port: int = API_PORT
    operators: int = 0

    def __post_init__(self) -> None:
        others = self.operators, self.observers
        if self.validators < 1 or min(others) < 0 or self.validators + sum(others) > NODES_MAX:
            raise ConfigError(
                f"devnet: expected 1 to {NODES_MAX} nodes, one validator at least, got {self.validators} "
                f"validators, {self.operators} operators and {self.observers} observers"
            )


class Facts(NamedTuple):
    """What devnet.json says. nodes: name, peers_port and api_port of each."""

    nodes: tuple[tuple[str, int, int], ...]
    load_seed: int
    load_accounts: int


@dataclass(frozen=True, slots=True)
class Devnet:
    """A devnet's folder, which exists and is complete. placed: its nodes, where they are elsewhere in this
    run than the folder says."""

    folder: Path
    facts: Facts
    placed: tuple[DevnetNode, ...] = ()

    @property
    def nodes(self) -> list[DevnetNode]:
        """Validators first, in the order of the committee."""
        return list(self.placed) or [
            DevnetNode(name, self.folder / name, self.log(name), peers, api)
            for name, peers, api in self.facts.nodes
        ]

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self.folder / LOGS / f"{name}.log"

    @property
    def home(self) -> Home:
        """Of the first node, with the genesis that all share."""
        return Home.load(self.nodes[0].folder)

    def key(self, name: str) -> KeyPair:
        """One of the keys with coins."""
        return Keystore(self.folder / KEYS).load(name, None)

    def key_file(self, name: str) -> Path:
        """Where it lies."""
        return self.folder / KEYS / f"{name}.json"

    def address(self, name: str) -> str:
        """Its address, as text."""
        return encode_address(address_of(self.key(name).public_key), self.home.genesis.network)

    def load_spec(self) -> WorkloadSpec:
        """The load's accounts."""
        return WorkloadSpec(
            seed=self.facts.load_seed,
            accounts=self.facts.load_accounts,
            transfers=0,
            genesis_digest=self.home.genesis.digest,
        )


def is_devnet(folder: Path) -> bool:
    """Whether a devnet's folder is there."""
    return (folder / FACTS).is_file()


def load_devnet(folder: Path) -> Devnet:
    """The devnet in a folder. ConfigError if there is none, or one of its ports is taken."""
    path = folder / FACTS
    try:
        form = json.loads(path.read_text())
        if form["version"] != _VERSION:
            raise ConfigError(f"{path}: version {form['version']}; this reads version {_VERSION}")
        nodes = tuple((one["name"], one["peers_port"], one["api_port"]) for one in form["nodes"])
        facts = Facts(nodes, form["load_seed"], form["load_accounts"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{path}: it is no devnet's: {error}") from error
    for name, *ports in nodes:
        for port in ports:
            if not is_free(port):
                raise ConfigError(f"{name}: port {port} is taken; is this devnet running already?")
    return Devnet(folder, facts)


def create_devnet(folder: Path, spec: DevnetSpec, created_ms: TimestampMs) -> Devnet:
    """Make a new one. ConfigError if the folder is there and not empty."""
    names = [f"v{index}" for index in range(spec.validators)]
    names += [f"{_OPERATOR}{index}" for index in range(spec.operators)]
    names += [f"{_OBSERVER}{index}" for index in range(spec.observers)]
    api_ports = free_ports(len(names), spec.api_port)
    peers_ports = free_ports(len(names), besides=api_ports)
    load = WorkloadSpec(seed=secrets.randbits(63), accounts=LOAD_ACCOUNTS, transfers=0)
    seeds = {name: secrets.token_bytes(SEED_BYTES) for name in (USER, PROBE, BONDS)}
    owners = [*(generate_keypair(seed) for seed in seeds.values()), *load.key_pairs()]
    homes = create_network(
        folder,
        [f"{HOST}:{port}" for port in peers_ports[: spec.validators]],
        created_ms=created_ms,
        modules=MODULES,
        chain_params=ChainParams(checkpoint_commits=CHECKPOINT_COMMITS),
        ledger_params=LedgerParams(tree_depth=TREE_DEPTH),
        allocations=[Allocation(address_of(key.public_key), FUNDS) for key in owners],
    )
    for name in names[spec.validators :]:
        home = Home(folder / name, homes[0].genesis)
        complete(home, home.keystore.create(VALIDATOR, None).public_key)
    for name, seed in seeds.items():
        Keystore(folder / KEYS).add(name, seed, None)
    (folder / LOGS).mkdir()
    facts = Facts(tuple(zip(names, peers_ports, api_ports, strict=True)), load.seed, load.accounts)
    made = Devnet(folder, facts)
    for node in made.nodes:
        (node.folder / _CONFIG).write_text(_config_text(node, has_faucet=node.name == names[0]))
    form = {"version": _VERSION, **facts._asdict()}
    form["nodes"] = [{"name": name, "peers_port": peers, "api_port": api} for name, peers, api in facts.nodes]
    (folder / FACTS).write_text(json.dumps(form, indent=2) + "\n")
    return made


def _config_text(node: DevnetNode, *, has_faucet: bool) -> str:
    role = "operator" if node.is_operator else "auto"
    lines = [
        f'[node]\nname = "{node.name}"\nrole = "{role}"\ndrain_ms = {_DRAIN_MS}\n',
        f'[peers]\nlisten = "{node.peers}"\n',
    ]
    lines += [f'[api]\nlisten = "{node.api}"\n', '[log]\nformat = "text"\n']
    lines += ["[mempool]", *(f"{name} = {value}" for name, value in _MEMPOOL.items()), ""]
    if has_faucet:
        lines += [f'[faucet]\nkey = "{TREASURY}"\n']
    return "\n".join(lines)
