"""Nodes that find one another through seeds and peer records, over real TLS sockets and real disks."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from waiting import until

from cherrydag.consensus.main_chain import ChainParams
from cherrydag.genesis import LedgerParams
from cherrydag.keystore import Keystore
from cherrydag.net.addresses import Address, Place
from cherrydag.net.discovery import Seed
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.book_file import PEERS, SET_ASIDE
from cherrydag.runtime.home import KEYS, VALIDATOR, Home, complete, create_network
from cherrydag.runtime.node_runner import NetworkOptions, RunningNode, start_node
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.runtime.peers import FAULTS_MAX
from cherrydag.storage.values import StoreOptions

COUNT = 4
OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 30, preflight=False), verify_threads=1)


class Net:
    """Nodes by name that know one seed at most: the genesis says of no validator where it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        homes = create_network(
            folder / "net",
            [""] * COUNT,
            created_ms=TimestampMs(1_700_000_000_000),
            chain_params=ChainParams(checkpoint_commits=10),
            ledger_params=LedgerParams(tree_depth=10),
        )
        self.homes: dict[str, Home] = {f"v{index}": home for index, home in enumerate(homes)}
        self.nodes: dict[str, RunningNode] = {}

    def add_observer(self, name: str) -> None:
        """A home whose key is no validator's."""
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        Keystore(folder / KEYS).create(VALIDATOR, None)
        home = Home(folder, self.homes["v0"].genesis)
        complete(home, None)
        self.homes[name] = home

    def seed(self, name: str) -> Seed:
        key = self.homes[name].key(VALIDATOR).public_key
        return Seed(key, Place("127.0.0.1", self.nodes[name].peers.transport.port))

    async def start(self, name: str, *seeds: Seed, port: int = 0) -> RunningNode:
        network = NetworkOptions(("127.0.0.1", port), seeds=seeds)
        self.nodes[name] = await start_node(self.homes[name], network, OPTIONS)
        return self.nodes[name]

    async def stop(self, name: str) -> None:
        await self.nodes.pop(name).close()

    def is_mesh(self) -> bool:
        """Whether every running validator is linked with all others that run."""
        running = [name for name in self.nodes if name.startswith("v")]
        return all(len(self.nodes[name].linked_validators) == len(running) - 1 for name in running)


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    net = Net(tmp_path)
    yield net
    for name in list(net.nodes):
        await net.stop(name)


async def test_validators_that_know_one_seed_find_each_other(net: Net) -> None:
    await net.start("v0")
    for name in ("v1", "v2", "v3"):
        await net.start(name, net.seed("v0"))
    await until(net.is_mesh)
    key = net.homes["v3"].key(VALIDATOR).public_key
    (line,) = [line for line in net.nodes["v1"].peers.lines() if line.key == key]
    assert (line.validator, line.peer, line.host) == (3, 3, "127.0.0.1")
    assert line.bytes_in > 0 and line.bytes_out > 0 and line.faults == 0


async def test_validators_find_each_other_through_an_observer(net: Net) -> None:
    net.add_observer("o")
    await net.start("o")
    for index in range(COUNT):
        await net.start(f"v{index}", net.seed("o"))
    await until(net.is_mesh)
    await until(lambda: len(net.nodes["o"].linked_validators) == COUNT)
    assert net.nodes["o"].linked_validators == [0, 1, 2, 3]
    assert [net.nodes[name].linked_validators for name in ("v0", "v3")] == [[1, 2, 3], [0, 1, 2]]


async def test_a_fresh_observer_with_one_seed_finds_all_validators_and_follows(net: Net) -> None:
    await net.start("v0")
    for name in ("v1", "v2", "v3"):
        await net.start(name, net.seed("v0"))
    net.add_observer("o")
    observer = await net.start("o", net.seed("v2"))
    await until(lambda: len(observer.linked_validators) == COUNT)
    validator = net.nodes["v0"]
    await until(lambda: observer.ledger.books.commit_index > 0 < validator.ledger.books.commit_index)
    assert observer.ledger.store.commits(1, 1) == validator.ledger.store.commits(1, 1) != []
    net.add_observer("p")  # whose only seed is no validator
    other = await net.start("p", net.seed("o"))
    await until(lambda: len(other.linked_validators) == COUNT)
    assert observer.linked_validators == other.linked_validators == [0, 1, 2, 3]


async def test_a_validator_at_another_port_is_found_again_through_records(net: Net) -> None:
    await net.start("v0")
    for name in ("v1", "v2", "v3"):
        await net.start(name, net.seed("v0"))
    await until(net.is_mesh)
    key = net.homes["v3"].key(VALIDATOR).public_key
    old_port = net.nodes["v3"].peers.transport.port
    await net.stop("v3")
    moved = await net.start("v3")  # with no seed: the book has the others
    assert moved.peers.transport.port != old_port
    await until(net.is_mesh)
    place = Address.of("127.0.0.1", moved.peers.transport.port)

    def is_known(name: str) -> bool:
        """Its record takes a while longer than the link, which it may have dialled itself."""
        entry = net.nodes[name].finder.book.find(key)
        places = net.nodes[name].peers.transport._dialer.targets[key].places
        return (
            entry is not None
            and entry.record.addresses == (place,)
            and places[0] == Place("127.0.0.1", place.port)
        )

    await until(lambda: all(is_known(name) for name in ("v0", "v1", "v2")))


async def test_all_validators_restart_without_a_seed_at_their_old_ports(net: Net) -> None:
    await net.start("v0")
    for name in ("v1", "v2", "v3"):
        await net.start(name, net.seed("v0"))
    await until(net.is_mesh)
    ports = {name: node.peers.transport.port for name, node in net.nodes.items()}
    for name in ports:
        await net.stop(name)
    for name, port in ports.items():
        await net.start(name, port=port)
    await until(net.is_mesh)
    assert {name: node.peers.transport.port for name, node in net.nodes.items()} == ports
    assert [net.nodes[name].linked_validators for name in ("v0", "v3")] == [[1, 2, 3], [0, 1, 2]]


async def test_a_ban_outlives_a_restart_and_can_be_lifted(net: Net) -> None:
    await net.start("v0")
    net.add_observer("o")
    observer = await net.start("o", net.seed("v0"))
    key = net.homes["o"].key(VALIDATOR).public_key
    await until(lambda: key in net.nodes["v0"].peers.transport.links)
    validator = net.nodes["v0"]
    peer = next(line.peer for line in validator.peers.lines() if line.key == key)
    for _ in range(FAULTS_MAX + 1):
        validator.peers.penalise(peer, "test", "it lied")
    await until(lambda: not observer.peers.links)
    port = validator.peers.transport.port
    await net.stop("v0")
    validator = await net.start("v0", port=port)
    (ban,) = validator.peers.bans()
    assert (ban.key, ban.text) == (key, "too many faults")
    assert validator.peers.unban(key)
    assert validator.peers.bans() == []
    await net.stop("o")
    await net.start("o")
    await until(lambda: key in validator.peers.transport.links)


async def test_a_damaged_book_is_set_aside_and_the_node_starts(net: Net) -> None:
    await net.start("v0")
    await net.stop("v0")
    path = net.homes["v0"].folder / PEERS
    path.write_bytes(path.read_bytes()[:-1])
    node = await net.start("v0")
    assert node.finder is not None and "checksum" in str(node.finder.file.note)
    assert path.with_name(SET_ASIDE).is_file()
