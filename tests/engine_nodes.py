"""A node without its host, one message at a time."""

from dataclasses import dataclass, field
from typing import Any

from engines import ALWAYS, FOUR, START_MS, Marks, MockSigner, Payloads, of_type

from cherrydag.consensus.effects import Execute, Persist
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.consensus.timing import Timing
from cherrydag.errors import PeerFault
from cherrydag.gossip.effects import Penalise, Send, Verify
from cherrydag.gossip.messages import Message
from cherrydag.node import Node, NodeConfig
from cherrydag.storage.memory import MemoryStore
from cherrydag.verify import VertexFault, verify_vertex
from cherrydag.vertex import Vertex


@dataclass
class Seat:
    """A node and its disk; `done` is all that it has done. Signatures are as verdict takes them."""

    me: int | None = 0
    params: ChainParams = field(default_factory=ChainParams)
    timing: Timing = field(default_factory=Timing)
    payloads: Payloads = field(default_factory=lambda: Payloads(ALWAYS))
    settings: dict[str, Any] = field(default_factory=dict)
    marks: Marks = field(default_factory=Marks)
    store: MemoryStore = field(default_factory=MemoryStore)
    now_ms: int = START_MS
    done: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = NodeConfig(FOUR, self.me, self.params, self.timing, bytes(16), **self.settings)
        self.node = Node(config, MockSigner(self.me or 0), self.marks, self.payloads, self.store)

    def start(self, *peers: int) -> "Seat":
        self.perform(self.node.start(self.now_ms))
        for peer in peers:
            self.perform(self.node.on_connected(peer, self.now_ms))
        return self

    def say(self, peer: int, message: Message) -> list[Any]:
        """What the node does about it, in the end."""
        return self.perform(self.node.on_message(peer, message, self.now_ms))

    def tick(self, after_ms: int) -> list[Any]:
        self.now_ms += after_ms
        return self.perform(self.node.on_tick(self.now_ms))

    def perform(self, effects: list[Any]) -> list[Any]:
        """Verify, write and execute at once; the rest is returned."""
        found: list[Any] = []
        waiting = list(effects)
        while waiting:
            effect = waiting.pop(0)
            if isinstance(effect, Verify):
                faults = [verdict(vertex) for vertex in effect.vertices]
                waiting += self.node.on_verified(effect.job, faults, self.now_ms)
            elif isinstance(effect, Persist):
                self.store.write(effect)
                self.store.sync()
                waiting += self.node.on_persisted(effect.ticket, self.now_ms)
            elif isinstance(effect, Execute):
                waiting += self.node.on_executed(effect.sub_dag.commit.index, None, self.now_ms)
                found.append(effect)
            else:
                found.append(effect)
        self.done += found
        return found

    def holds(self, vertex: Vertex) -> bool:
        return self.node.engine.window.get(vertex.digest) is vertex


_BAD = {b"\xff": VertexFault.SIGNATURE, b"\xfe": VertexFault.PAYLOAD_ROOT}


def verdict(vertex: Vertex) -> VertexFault | None:
    """Every stateless rule; two signatures are bad, all others pass."""
    try:
        verify_vertex(vertex, FOUR)
    except PeerFault as fault:
        return VertexFault(fault.code)
    return _BAD.get(vertex.signature[:1])


def seat_of(me: int | None = 0, *peers: int, **settings: Any) -> Seat:
    return Seat(me, **settings).start(*peers)


def sends(effects: list[Any], kind: type) -> list[tuple[int, Any]]:
    return [(e.peer, e.message) for e in of_type(effects, Send) if isinstance(e.message, kind)]


def blamed(effects: list[Any]) -> list[tuple[int, str]]:
    return [(effect.peer, effect.code) for effect in of_type(effects, Penalise)]
