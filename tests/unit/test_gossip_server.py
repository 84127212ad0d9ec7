from collections.abc import Sequence
from dataclasses import replace

import pytest
from sync_chain import VOTE_DELAY, MainChain, main_chain
from vertices import COMMITTEE, committee_of, digest, tip, validator_vertex

from cherrydag.codec import encode_vertex
from cherrydag.commit import CommitVote
from cherrydag.consensus.effects import Persist, Ticket
from cherrydag.dag.graph import Outcome
from cherrydag.dag.window import Window
from cherrydag.errors import PeerFault
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.messages import GetCommits, GetNewest, GetVertices
from cherrydag.gossip.server import VOTE_COMMITS_MAX, Server
from cherrydag.params import COMMIT_SYNC_BATCH, FETCH_REFS_MAX
from cherrydag.primitives import Round
from cherrydag.refs import AnyRef, VertexRef
from cherrydag.storage.memory import MemoryStore
from cherrydag.vertex import Vertex

SEED = bytes(16)


class CountingStore(MemoryStore):
    """Counts the vertices that it is asked for."""

    loaded = 0

    def vertices(self, refs: Sequence[AnyRef]) -> list[Vertex | None]:
        self.loaded += len(refs)
        return super().vertices(refs)


def window_of(vertices: Sequence[Vertex], gc_round: int = 0) -> Window:
    window = Window([1, 1, 1, 1], SEED)
    window.set_gc_round(Round(gc_round))
    for vertex in vertices:
        assert window.insert(vertex).outcome is Outcome.INSERTED
    return window


def server_of(store: MemoryStore, vertices: Sequence[Vertex] = (), gc_round: int = 0, **more: int) -> Server:
    return Server(COMMITTEE, window_of(vertices, gc_round), store, store.newest, **more)


def ask(server: Server, *refs: AnyRef) -> tuple[Vertex, ...]:
    answer = server.vertices(GetVertices(77, refs))
    assert answer.number == 77
    return answer.vertices


def fault(function: object, request: object) -> str:
    with pytest.raises(PeerFault) as raised:
        function(request)  # type: ignore[operator]
    assert str(raised.value)
    return raised.value.code


# Vertices


def test_vertices_come_from_window_and_store_in_the_order_asked() -> None:
    sync = main_chain(10)
    recent = [v for commit in sync.commits[6:] for v in sync.of(commit)]
    server = server_of(sync.store(last=7), recent, gc_round=6)
    refs = [sync.commits[8].leader, sync.commits[1].leader, *sync.commits[4].vertices, sync.commits[6].leader]
    assert ask(server, *refs) == tuple(sync.vertices[ref] for ref in refs)


def test_the_window_comes_before_the_store() -> None:
    sync, store = main_chain(3), CountingStore()
    server = server_of(store, list(sync.vertices.values()))
    assert len(ask(server, *sync.commits[2].vertices)) == 4
    assert store.loaded == 0


def test_what_is_not_here_is_left_out_and_what_is_asked_twice_comes_once() -> None:
    sync = main_chain(5)
    server = server_of(sync.store(), list(sync.of(sync.commits[0])))
    here, there = sync.commits[0].leader, sync.commits[3].leader
    strangers: list[AnyRef] = [VertexRef(Round(3), 1, digest("?")), tip(2)]
    assert ask(server, strangers[0], here, there, strangers[1], here) == (
        sync.vertices[here],
        sync.vertices[there],
    )
    assert ask(server) == ask(server, *strangers) == ()


@pytest.mark.parametrize("in_window", [False, True])
def test_a_reference_that_differs_in_any_field_is_to_nothing(in_window: bool) -> None:
    sync = main_chain(2)
    server = server_of(sync.store(), list(sync.vertices.values()) if in_window else ())
    ref = sync.commits[1].leader
    wrong: list[AnyRef] = [
        ref._replace(round=Round(3)),
        ref._replace(author=0),
        tip(2)._replace(digest=ref.digest),
    ]
    assert ask(server, *wrong) == ()


def test_an_answer_ends_before_the_vertex_that_does_not_fit() -> None:
    sync = main_chain(7)
    refs = sync.commits[6].vertices
    sizes = [len(encode_vertex(sync.vertices[ref])) for ref in refs]
    assert sizes[2] > sizes[0]
    for bytes_max, expected in (
        (sum(sizes), 4),
        (sum(sizes) - 1, 3),
        (sum(sizes[:3]), 3),
        (sum(sizes[:3]) - 1, 2),
        (sizes[0], 1),
        (1, 1),
    ):
        found = ask(server_of(sync.store(), response_bytes_max=bytes_max), *refs)
        assert found == tuple(sync.vertices[ref] for ref in refs[:expected])


def test_what_does_not_fit_is_hardly_loaded() -> None:
    sync, store = main_chain(100), CountingStore()
    store.write(Persist(Ticket(1), tuple(sync.vertices.values()), (), ()))
    server = server_of(store, response_bytes_max=1)
    assert len(ask(server, *sync.vertices)) == 1
    assert store.loaded <= 16


def test_as_many_vertices_are_served_as_may_be_asked_for() -> None:
    refs = tuple(VertexRef(Round(1), 0, digest(i)) for i in range(FETCH_REFS_MAX + 1))
    server = server_of(MemoryStore())
    assert ask(server, *refs[:-1]) == ()
    assert fault(server.vertices, GetVertices(1, refs)) == SyncFault.REQUEST_REFS


def test_a_validator_that_does_not_exist_is_refused() -> None:
    server = server_of(main_chain(3).store())
    for author in (3, 4, 2**16 - 1):
        request, ref = GetNewest(1, author), VertexRef(Round(1), author, digest(1))
        if author < 4:
            assert server.newest(request).vertices
            assert ask(server, ref) == ()
        else:
            assert fault(server.newest, request) == SyncFault.REQUEST_AUTHOR
            assert fault(server.vertices, GetVertices(1, (tip(2), ref))) == SyncFault.REQUEST_AUTHOR


# Commits


def check_certificate(server: Server, sync: MainChain, first: int, last: int, expected: int) -> None:
    """Commits first..expected come, certified."""
    answer = server.commits(GetCommits(5, first, last))
    assert answer.number == 5
    assert answer.commits == sync.commits[first - 1 : expected]
    certified = answer.commits[-1]
    assert len({vertex.author for vertex in answer.votes}) == len(answer.votes) == COMMITTEE.validity == 2
    for vertex in answer.votes:
        assert vertex == sync.vertices[vertex.ref]
        assert CommitVote(certified.index, certified.digest) in vertex.commit_votes


def test_commits_come_with_votes_of_validity_stake_and_no_more() -> None:
    sync = main_chain(120)
    server = server_of(sync.store())
    check_certificate(server, sync, 1, 100, 100)
    check_certificate(server, sync, 7, 7, 7)
    check_certificate(server, sync, 110, 117, 117)


def test_a_range_is_shortened_to_what_can_be_certified() -> None:
    sync = main_chain(120)
    server = server_of(sync.store())
    for last in (118, 120, 150):
        check_certificate(server, sync, 100, last, 120 - VOTE_DELAY)
    answer = server.commits(GetCommits(5, 118, 120))
    assert (answer.commits, answer.votes) == ((), ())


def test_nothing_is_sent_of_what_is_not_here_or_not_voted_for() -> None:
    assert server_of(main_chain(20).store()).commits(GetCommits(1, 21, 30)).commits == ()
    assert server_of(MemoryStore()).commits(GetCommits(1, 1, 100)).commits == ()
    assert server_of(main_chain(20, votes=1).store()).commits(GetCommits(1, 1, 20)).commits == ()


@pytest.mark.parametrize(
    ("stakes", "voters", "commits", "votes"),
    [
        ([3, 3, 2, 2], 1, 0, 0),
        ([4, 2, 2, 2], 1, 17, 1),
        ([5, 2, 2, 1], 1, 17, 1),
        ([2, 1, 4, 3], 2, 0, 0),
        ([2, 2, 3, 3], 2, 17, 2),
        ([2, 3, 3, 2], 2, 17, 2),
        ([4, 2, 2, 2], 4, 17, 1),
        ([1, 2, 1, 6], 4, 17, 3),
    ],
)
def test_votes_count_by_stake(stakes: list[int], voters: int, commits: int, votes: int) -> None:
    """Of ten, f + 1 is 4: once one voter, once two have 3, 4 and 5. No more votes are sent than it takes."""
    store = main_chain(20, votes=voters).store()
    server = Server(committee_of(stakes), window_of(()), store, store.newest)
    answer = server.commits(GetCommits(1, 1, 20))
    assert (len(answer.commits), [vote.author for vote in answer.votes]) == (commits, list(range(votes)))


def test_votes_in_vertices_of_the_window_are_found() -> None:
    sync = main_chain(20)
    store = MemoryStore()
    # The store has lost the vertices: they are in the window alone.
    store.write(Persist(Ticket(1), (), sync.commits, ()))
    server = server_of(store, [v for commit in sync.commits for v in sync.of(commit)])
    check_certificate(server, sync, 1, 20, 17)


def test_a_vote_for_another_commit_of_that_index_does_not_count() -> None:
    sync, other = main_chain(20), main_chain(20, label="other")
    store = MemoryStore()
    for ticket, (commit, voting) in enumerate(zip(sync.commits, other.commits, strict=True), 1):
        mixed = replace(commit, timestamp_ms=99, vertices=voting.vertices)
        assert mixed.digest != voting.digest
        store.write(Persist(Ticket(ticket), other.of(voting), (mixed,), ()))
    assert server_of(store).commits(GetCommits(1, 1, 10)).commits == ()


def test_the_search_for_votes_is_bounded() -> None:
    sync, store = main_chain(200, operators=False, votes=1), CountingStore()
    for ticket, commit in enumerate(sync.commits, 1):
        store.write(Persist(Ticket(ticket), sync.of(commit), (commit,), ()))
    assert server_of(store).commits(GetCommits(1, 1, 100)).commits == ()
    assert store.loaded == 4 * (100 + VOTE_COMMITS_MAX)


def test_commits_end_before_the_one_that_does_not_fit() -> None:
    sync = main_chain(20)
    sizes = [len(commit.encoding) for commit in sync.commits]
    for bytes_max, expected in ((sum(sizes[:5]), 5), (sum(sizes[:5]) - 1, 4), (1, 1)):
        check_certificate(server_of(sync.store(), response_bytes_max=bytes_max), sync, 1, 20, expected)


def test_a_range_that_may_not_be_asked_for_is_refused() -> None:
    server = server_of(main_chain(120).store())
    assert len(server.commits(GetCommits(1, 5, 4 + COMMIT_SYNC_BATCH)).commits) == COMMIT_SYNC_BATCH
    for first, last in ((5, 5 + COMMIT_SYNC_BATCH), (5, 4), (0, 1), (0, 0), (1, 2**64 - 1)):
        assert fault(server.commits, GetCommits(1, first, last)) == SyncFault.REQUEST_RANGE


# An author's newest


def test_the_newest_of_the_window_are_all_of_the_highest_round() -> None:
    sync = main_chain(9)
    twin = validator_vertex(
        round=9, author=2, ancestors=(*sync.commits[7].vertices[2:3], *[
            ref for ref in sync.commits[7].vertices if ref[1] != 2]), tips=(), signed=False
    )  # fmt: skip
    server = server_of(sync.store(), [*sync.vertices.values(), twin])
    (own,) = (vertex for vertex in sync.of(sync.commits[8]) if vertex.ref[1] == 2)
    answer = server.newest(GetNewest(3, 2))
    assert (answer.number, answer.author) == (3, 2)
    assert answer.vertices == tuple(sorted([own, twin], key=lambda vertex: vertex.digest))
    assert [vertex.round for vertex in server.newest(GetNewest(3, 1)).vertices] == [9]


def test_an_author_that_the_window_has_lost_is_found_in_the_store() -> None:
    sync = main_chain(9)
    server = server_of(sync.store(last=4), gc_round=6)
    assert [vertex.round for vertex in server.newest(GetNewest(1, 0)).vertices] == [4]
    late = [vertex for vertex in sync.of(sync.commits[6]) if vertex.ref[1] != 0]
    server = server_of(sync.store(last=4), late, gc_round=6)
    assert [vertex.round for vertex in server.newest(GetNewest(1, 0)).vertices] == [4]
    assert [vertex.round for vertex in server.newest(GetNewest(1, 1)).vertices] == [7]


def test_of_an_author_without_a_vertex_there_is_none() -> None:
    assert server_of(MemoryStore()).newest(GetNewest(1, 0)).vertices == ()
