"""How vertices reach nodes that are no validators: pushed along a tree, announced to the rest (network.md).

Each link is a branch of the tree or is not: along a branch both ends push what is new, else they announce it,
many at a time. All links begin as branches. Who keeps getting vertices twice prunes a link that brings them
late; who hears of a vertex that does not come grafts the link that it heard it by, which repairs the tree.
(Plumtree: Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees", 2007.)

Validators push to each other always, so to the tree they are as one node, its root, and their vertices alone
shape it; operators' go up and down the same branches. Were the tree shaped by all sources at once, two of
them would cut one cycle in two places, and it would never come to rest: twice the traffic, as measured. For
the same reason pauses are random, so that not all of a lost subtree grafts. Nobody prunes its last branch.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple, TypeAlias

from cherrydag.gossip.messages import Announce, Graft, Prune, Push
from cherrydag.params import ANNOUNCE_REFS_MAX, GRAFT_REFS_MAX
from cherrydag.primitives import Digest, Peer
from cherrydag.refs import AnyRef, VertexRef
from cherrydag.vertex import ValidatorVertex, Vertex

Sent: TypeAlias = tuple[Peer, Push | Announce | Graft | Prune]
"""A message and whom it is for."""


class SpreadLimits(NamedTuple):
    """Bounds of spreading; all >= 1.

    announce_ms: how long what is announced to a peer is collected. graft_ms: how long a vertex that was
    announced may take by a branch, up to twice that by chance. prune_ms: how long a branch may bring what is
    known, at most, and until a peer is told again. retry_ms: until another peer that announced it is asked.
    announced_max: what waits to be announced to one peer; the oldest is left out. missing_max,
    missing_peer_max: announced vertices that are waited for, and those that one peer was the first to
    announce. origins_max: vertices of which it is remembered who brought them.
    """

    announce_ms: int = 40
    graft_ms: int = 120
    prune_ms: int = 1000
    retry_ms: int = 500
    announced_max: int = 4096
    missing_max: int = 16_384
    missing_peer_max: int = 2048
    origins_max: int = 16_384


@dataclass(slots=True, eq=False)
class _Link:
    """is_branch: as far as we know. prune_at_ms: from when on a second copy prunes it; stale some time later.
    queue: what waits to be announced. missing: how many vertices that are waited for the peer was the first
    to announce."""

    is_branch: bool = True
    prune_at_ms: int | None = None
    queue: OrderedDict[AnyRef, None] = field(default_factory=OrderedDict)
    missing: int = 0


@dataclass(slots=True, eq=False)
class _Missing:
    """A vertex that was announced. first: by whom. holders: who did, the next to be asked first. tries: how
    often somebody was asked."""

    first: Peer
    holders: list[Peer]
    tries: int = 0


class Spread:
    """The links of one node over which vertices spread. Not for threads; now_ms never sinks.

    seed: of the pauses; equal seeds and histories give equal ones.
    has: whether a vertex is here, parked ones included, or is no longer wanted. is_fed: whether vertices come
    without any branch, too, as validators' do among them.
    """

    def __init__(
        self,
        has: Callable[[AnyRef], bool],
        limits: SpreadLimits | None = None,
        *,
        seed: int = 0,
        is_fed: bool = False,
    ) -> None:
        self._has = has
        self._limits = limits or SpreadLimits()
        self._is_fed = is_fed
        self._chance = seed
        self._links: dict[Peer, _Link] = {}
        self._origins: OrderedDict[Digest, Peer] = OrderedDict()
        self._missing: OrderedDict[AnyRef, _Missing] = OrderedDict()
        self._announce: OrderedDict[Peer, int] = OrderedDict()  # when, earliest first
        self._due: list[tuple[int, int, AnyRef]] = []  # a heap of those that were not asked for
        self._count = 0  # of what was put there
        self._asked: OrderedDict[AnyRef, int] = OrderedDict()  # the others

    def __len__(self) -> int:
        """How many vertices are waited for."""
        return len(self._missing)

    # Links

    def connected(self, peer: Peer) -> None:
        """A link is up."""
        self._links.setdefault(peer, _Link())

    def gone(self, peer: Peer) -> None:
        """A link is gone: what it was to bring is asked of others when that is due."""
        if self._links.pop(peer, None) is None:
            return
        self._announce.pop(peer, None)
        for ref, missing in list(self._missing.items()):
            if peer in missing.holders:
                missing.holders.remove(peer)
                if not missing.holders:
                    self._forget(ref)

    @property
    def branches(self) -> list[Peer]:
        """The peers that we push to."""
        return [peer for peer, link in self._links.items() if link.is_branch]

    # Vertices

    def entered(self, vertex: Vertex, source: Peer, now_ms: int) -> list[Sent]:
        """A vertex is in the window, or ours is durable: what to push now. The rest is announced later."""
        ref = vertex.ref
        self._note_origin(vertex.digest, source)
        missing = self._missing.get(ref)
        holders = () if missing is None else missing.holders
        pushed: list[Sent] = []
        push = Push(vertex)
        for peer, link in self._links.items():
            if peer == source or peer in holders:
                continue
            if link.is_branch:
                pushed.append((peer, push))
                continue
            self._announce.setdefault(peer, now_ms + self._limits.announce_ms)
            link.queue[ref] = None
            if len(link.queue) > self._limits.announced_max:
                link.queue.popitem(last=False)
        self._forget(ref)
        return pushed

    def pushed(self, peer: Peer, vertex: Vertex, now_ms: int) -> list[Sent]:
        """A peer has pushed a valid vertex. The first copy makes a branch; second ones prune theirs."""
        link = self._links.get(peer)
        if link is None:
            return []
        origin = self._note_origin(vertex.digest, peer)
        shapes = isinstance(vertex, ValidatorVertex)
        if origin == peer:
            link.is_branch |= shapes
            return []
        if link.is_branch and not (shapes and self._is_fed_beside(link, origin)):
            return []
        pause_ms = self._limits.prune_ms
        if link.prune_at_ms is None or now_ms > link.prune_at_ms + pause_ms:
            link.prune_at_ms = now_ms + self._random(pause_ms)
        if now_ms < link.prune_at_ms:
            return []
        link.is_branch = False
        link.prune_at_ms = now_ms + pause_ms
        return [(peer, Prune())]

    def _is_fed_beside(self, link: _Link, origin: Peer) -> bool:
        """Whether vertices would come without this link: by the branch that brought this one."""
        other = self._links.get(origin)
        if other is not None:
            return other.is_branch
        # By ourselves, by a validator as to one, or by a link that is gone.
        return self._is_fed or any(known.is_branch for known in self._links.values() if known is not link)

    def _random(self, below: int) -> int:
        """The next number of a linear congruential sequence (Knuth's MMIX), by its high bits."""
        self._chance = (self._chance * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._chance >> 32) * below >> 32

    def _note_origin(self, digest: Digest, peer: Peer) -> Peer:
        """Who brought it first."""
        origin = self._origins.setdefault(digest, peer)
        if len(self._origins) > self._limits.origins_max:
            self._origins.popitem(last=False)
        return origin

    # What peers say

    def on_announce(self, peer: Peer, message: Announce, now_ms: int) -> None:
        """A peer has these: they come by a branch in time, or are asked for."""
        link = self._links.get(peer)
        if link is None:
            return
        for ref in message.refs:
            link.queue.pop(ref, None)
            known = self._missing.get(ref)
            if known is not None:
                if peer not in known.holders:
                    known.holders.append(peer)
            elif not self._has(ref):
                self._miss(ref, peer, link, now_ms)

    def on_graft(self, peer: Peer, message: Graft) -> None:
        """A peer wants these, and the link to be a branch if validators' vertices are among them."""
        if (link := self._links.get(peer)) is not None:
            link.is_branch |= any(isinstance(ref, VertexRef) for ref in message.refs)

    def on_prune(self, peer: Peer) -> None:
        """A peer wants announcements alone, and will give no more."""
        if (link := self._links.get(peer)) is not None:
            link.is_branch = False

    def _miss(self, ref: AnyRef, peer: Peer, link: _Link, now_ms: int) -> None:
        if len(self._missing) >= self._limits.missing_max or link.missing >= self._limits.missing_peer_max:
            return
        link.missing += 1
        self._missing[ref] = _Missing(peer, [peer])
        pause_ms = self._limits.graft_ms
        self._count += 1
        heappush(self._due, (now_ms + pause_ms + self._random(pause_ms), self._count, ref))

    def _forget(self, ref: AnyRef) -> None:
        missing = self._missing.pop(ref, None)
        if missing is None:
            return
        self._asked.pop(ref, None)
        if (link := self._links.get(missing.first)) is not None:
            link.missing = max(0, link.missing - 1)  # a validator that is back keeps its number

    # What is due

    @property
    def wake_at_ms(self) -> int | None:
        """When to call `due` at the latest if nothing else happens; None while there is nothing to do."""
        times = [next(iter(queue.values())) for queue in (self._announce, self._asked) if queue]
        if self._due:
            times.append(self._due[0][0])
        return min(times, default=None)

    def due(self, now_ms: int) -> list[Sent]:
        """Announcements whose time has come, and grafts for what has not arrived. O(what is due)."""
        return [*self._announcements(now_ms), *self._grafts(now_ms)]

    def _announcements(self, now_ms: int) -> Iterator[Sent]:
        while self._announce and next(iter(self._announce.values())) <= now_ms:
            peer, _ = self._announce.popitem(last=False)
            queue = self._links[peer].queue
            refs = tuple(queue)
            queue.clear()
            for at in range(0, len(refs), ANNOUNCE_REFS_MAX):
                yield peer, Announce(refs[at : at + ANNOUNCE_REFS_MAX])

    def _grafts(self, now_ms: int) -> list[Sent]:
        wanted: dict[Peer, list[AnyRef]] = {}
        refs = []
        while self._due and self._due[0][0] <= now_ms:
            refs.append(heappop(self._due)[2])
        while self._asked and next(iter(self._asked.values())) <= now_ms:
            refs.append(self._asked.popitem(last=False)[0])
        for ref in refs:
            if (peer := self._next_holder(ref, now_ms)) is not None:
                wanted.setdefault(peer, []).append(ref)
        return [
            (peer, Graft(tuple(refs[at : at + GRAFT_REFS_MAX])))
            for peer, refs in wanted.items()
            for at in range(0, len(refs), GRAFT_REFS_MAX)
        ]

    def _next_holder(self, ref: AnyRef, now_ms: int) -> Peer | None:
        """Whom to ask for this one now; None if it is here, was asked for, or all were asked for it twice."""
        missing = self._missing.get(ref)
        if missing is None or ref in self._asked:
            return None
        if self._has(ref) or missing.tries >= 2 * len(missing.holders):
            self._forget(ref)
            return None
        missing.tries += 1
        peer = missing.holders.pop(0)
        missing.holders.append(peer)
        self._asked[ref] = now_ms + self._limits.retry_ms
        return peer
