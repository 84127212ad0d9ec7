"""Answers to what other nodes ask for: vertices, commits with their certificate, an author's newest."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, NoReturn

from cherrydag.codec import vertex_parts
from cherrydag.commit import Commit, CommitVote
from cherrydag.committee import Committee
from cherrydag.consensus.ports import Store
from cherrydag.dag.window import Window
from cherrydag.errors import PeerFault
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.messages import Commits, GetCommits, GetNewest, GetVertices, Newest, Vertices
from cherrydag.params import COMMIT_SYNC_BATCH, FETCH_REFS_MAX
from cherrydag.primitives import Round, ValidatorIndex
from cherrydag.refs import AnyRef, VertexRef
from cherrydag.vertex import ValidatorVertex, Vertex

RESPONSE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Most bytes of frames in an answer of more than one vertex or commit."""

VOTE_COMMITS_MAX: Final = 16
"""How many commits after the last one sent are searched for votes for it."""

_LOAD_MAX: Final = 16

Voters = dict[ValidatorIndex, ValidatorVertex]


class Server:
    """Answers from the window and the store; changes neither.

    newest_stored: an author's vertices of the highest round that the store has. Requests are checked before
    anything is looked up; PeerFault with a SyncFault REQUEST code if one is not allowed.
    """

    __slots__ = ("_bytes_max", "_committee", "_newest_stored", "_store", "_window")

    def __init__(
        self,
        committee: Committee,
        window: Window,
        store: Store,
        newest_stored: Callable[[ValidatorIndex], Sequence[ValidatorVertex]],
        response_bytes_max: int = RESPONSE_BYTES_MAX,
    ) -> None:
        self._committee = committee
        self._window = window
        self._store = store
        self._newest_stored = newest_stored
        self._bytes_max = response_bytes_max

    # Vertices

    def vertices(self, request: GetVertices) -> Vertices:
        """Those of the vertices asked for that are here, in the order asked, each once.

        It ends before the first one that does not fit into response_bytes_max, but holds at least one if
        there is any. So what the request names after the last vertex may be here all the same.
        """
        if len(request.refs) > FETCH_REFS_MAX:
            expected = f"expected at most {FETCH_REFS_MAX}"
            _refuse(SyncFault.REQUEST_REFS, f"refs: {expected}, got {len(request.refs)}")
        for ref in request.refs:
            if isinstance(ref, VertexRef):
                self._check_author(ref.author)
        refs = iter(dict.fromkeys(request.refs))
        found: list[Vertex] = []
        room = self._bytes_max
        # A few at a time: what no longer fits should not be loaded.
        while chunk := list(islice(refs, _LOAD_MAX)):
            for vertex in self._load(chunk):
                if vertex is None:
                    continue
                room -= sum(map(len, vertex_parts(vertex)))
                if room < 0 and found:
                    return Vertices(request.number, tuple(found))
                found.append(vertex)
        return Vertices(request.number, tuple(found))

    def _load(self, refs: Sequence[AnyRef]) -> list[Vertex | None]:
        """The vertices of these references: from the window, else from the store."""
        found: list[Vertex | None] = []
        for ref in refs:
            vertex = self._window.get(ref.digest)
            # A reference that does not match in every field is to nothing.
            found.append(vertex if vertex is not None and vertex.ref == ref else None)
        absent = [place for place, vertex in enumerate(found) if vertex is None]
        if absent:
            stored = self._store.vertices([refs[place] for place in absent])
            for place, vertex in zip(absent, stored, strict=True):
                found[place] = vertex
        return found

    # Commits

    def commits(self, request: GetCommits) -> Commits:
        """Commits from the first one asked for on, up to the highest that can be certified; none if none can.

        Commits end before response_bytes_max, but for the first one. The votes, of validity stake and no
        more, come on top of that.
        """
        first, last = request.first, request.last
        if first < 1 or not first <= last < first + COMMIT_SYNC_BATCH:
            expected = f"expected 1 <= first <= last < first + {COMMIT_SYNC_BATCH}"
            _refuse(SyncFault.REQUEST_RANGE, f"range: {expected}, got {first}..{last}")
        commits = self._fitting(self._store.commits(first, last))
        votes = self._certify(commits)
        return Commits(request.number, tuple(commits), votes)

    def _fitting(self, commits: Sequence[Commit]) -> list[Commit]:
        """As many of the first as an answer may hold."""
        room = self._bytes_max
        fitting: list[Commit] = []
        for commit in commits:
            room -= len(commit.encoding)
            if room < 0 and fitting:
                break
            fitting.append(commit)
        return fitting

    def _certify(self, commits: list[Commit]) -> tuple[ValidatorVertex, ...]:
        """Votes of validity stake for the last commit; commits without such are taken from the end."""
        if not commits:
            return ()
        last = commits[-1].index
        voters: dict[CommitVote, Voters] = {_vote_for(commit): {} for commit in commits}
        for later in self._store.commits(last + 1, last + VOTE_COMMITS_MAX):
            self._collect(later, voters)
            if (votes := self._valid(voters[_vote_for(commits[-1])])) is not None:
                return votes
        # Who votes for a commit does so in vertices of later ones: each that is dropped may certify the next.
        while commits:
            if (votes := self._valid(voters[_vote_for(commits[-1])])) is not None:
                return votes
            self._collect(commits.pop(), voters)
        return ()

    def _collect(self, commit: Commit, voters: dict[CommitVote, Voters]) -> None:
        """Find the votes in the vertices of a commit."""
        for vertex in self._load([ref for ref in commit.vertices if isinstance(ref, VertexRef)]):
            if isinstance(vertex, ValidatorVertex):
                for vote in vertex.commit_votes:
                    if (found := voters.get(vote)) is not None:
                        found.setdefault(vertex.author, vertex)

    def _valid(self, voters: Voters) -> tuple[ValidatorVertex, ...] | None:
        """The first of these that have validity stake, by author."""
        votes: list[ValidatorVertex] = []
        for author in sorted(voters):
            votes.append(voters[author])
            if self._committee.stake_of([vertex.author for vertex in votes]) >= self._committee.validity:
                return tuple(votes)
        return None

    # An author's newest

    def newest(self, request: GetNewest) -> Newest:
        """All vertices of the highest round in which there is one of the author."""
        self._check_author(request.author)
        graph = self._window.graph
        for number in range(graph.highest_round, graph.gc_round, -1):
            if found := self._window.slot(Round(number), request.author):
                return Newest(request.number, request.author, tuple(found))
        return Newest(request.number, request.author, tuple(self._newest_stored(request.author)))

    def _check_author(self, author: ValidatorIndex) -> None:
        if not 0 <= author < len(self._committee):
            expected = f"expected an index below {len(self._committee)}"
            _refuse(SyncFault.REQUEST_AUTHOR, f"author: {expected}, got {author}")


def _vote_for(commit: Commit) -> CommitVote:
    return CommitVote(commit.index, commit.digest)


def _refuse(fault: SyncFault, message: str) -> NoReturn:
    raise PeerFault(fault, message)
