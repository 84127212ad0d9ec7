"""Keys without cryptography: a signature is a hash that anyone could make and nobody here makes for another.

A world spends its time on the protocol, so that a signature costs one hash; a wrong one still fails.
"""

from cherrydag import crypto
from cherrydag.errors import PeerFault
from cherrydag.primitives import Digest, PublicKey
from cherrydag.verify import EpochRules, VertexFault, signature_items, verify_vertex
from cherrydag.vertex import Vertex


def mock_key(label: str) -> PublicKey:
    """The public key of this name."""
    return PublicKey(crypto.hash_bytes(label.encode()))


def mock_sign(digest: bytes, key: PublicKey) -> bytes:
    """64 bytes that stand for a signature of 32 bytes."""
    half = crypto.hash_bytes(digest, key)
    return half + half[::-1]


class MockSigner:
    """A validator's or operator's key: consensus.ports.Signer."""

    __slots__ = ("public_key",)

    def __init__(self, public_key: PublicKey) -> None:
        self.public_key = public_key

    def sign(self, digest: Digest) -> bytes:
        """The mock signature of 32 bytes."""
        return mock_sign(digest, self.public_key)


class Verifier:
    """Answers Verify effects: every stateless rule and the mock signatures, once for a vertex of the world.

    Values are shared between the nodes of a world, so the second node that asks gets the first one's answer.
    """

    __slots__ = ("_known", "_rules", "checked")

    def __init__(self, rules: EpochRules) -> None:
        self._rules = rules
        self._known: dict[Digest, tuple[Vertex, VertexFault | None]] = {}
        self.checked = 0

    def faults(self, vertices: tuple[Vertex, ...]) -> list[VertexFault | None]:
        """The fault of each vertex, or None."""
        return [self._fault(vertex) for vertex in vertices]

    def _fault(self, vertex: Vertex) -> VertexFault | None:
        known = self._known.get(vertex.digest)
        if known is not None and known[0] is vertex:  # another payload may hide behind the same header
            return known[1]
        self.checked += 1
        fault = self._check(vertex)
        if known is None:
            self._known[vertex.digest] = vertex, fault
        return fault

    def _check(self, vertex: Vertex) -> VertexFault | None:
        try:
            verify_vertex(vertex, self._rules)
        except PeerFault as fault:
            return VertexFault(fault.code)
        own, *checkpoint = signature_items(vertex, self._rules)
        if mock_sign(own.digest, own.public_key) != own.signature:
            return VertexFault.SIGNATURE
        if any(mock_sign(item.digest, item.public_key) != item.signature for item in checkpoint):
            return VertexFault.CHECKPOINT_SIGNATURE
        return None
