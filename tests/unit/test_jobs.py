"""What of one peer may be under verification at a time."""

from itertools import count

import pytest
from vertices import validator_vertex

from cherrydag.codec import encode_vertex
from cherrydag.gossip import jobs
from cherrydag.gossip.jobs import Job, Jobs, Settled
from cherrydag.gossip.messages import Commits, Newest, Push, Vertices
from cherrydag.primitives import Peer
from cherrydag.vertex import Vertex

VERTICES = [validator_vertex(timestamp_ms=number) for number in range(4)]
VERTEX = VERTICES[0]
SIZE = len(encode_vertex(VERTEX))


def begin(made: Jobs, peer: int, vertex: Vertex) -> int:
    """The number of a job that is to be verified."""
    verify = made.open(Peer(peer), Push(vertex), [vertex])
    assert verify is not None
    return verify.job


def end(made: Jobs, number: int) -> list[Settled]:
    """All its verdicts are there."""
    job = made.close(number)
    return [made.settle(job, vertex) for vertex in job.vertices]


@pytest.mark.parametrize(("before", "has_room"), [(2, True), (3, False)])
def test_the_jobs_of_a_peer_are_bounded(before: int, has_room: bool) -> None:
    made = Jobs(count(), 3)
    for vertex in VERTICES[:before]:
        made.open(1, Push(vertex), [vertex])
    assert made.has_room(1) is has_room
    assert made.has_room(2)


@pytest.mark.parametrize(
    ("bound", "has_room"), [(SIZE * 2 - 1, False), (SIZE * 2, False), (SIZE * 2 + 1, True)]
)
def test_the_bytes_of_a_peer_under_verification_are_bounded(
    bound: int, has_room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PEER_BYTES_MAX", bound)
    made = Jobs(count(), 100)
    opened = [begin(made, 1, vertex) for vertex in VERTICES[:2]]
    assert made.has_room(1) is has_room
    assert made.has_room(2)
    made.close(opened[0])
    assert made.has_room(1)
    made.close(opened[1])
    assert not made._of_peer and not made._bytes_of_peer


@pytest.mark.parametrize("message", [Push(VERTEX), Vertices(7, (VERTEX,))])
def test_a_second_copy_waits_for_the_verdict_on_the_first(message: Push | Vertices) -> None:
    made = Jobs(count(), 100)
    number = begin(made, 1, VERTEX)
    assert made.open(2, message, [VERTEX]) is None
    assert end(made, number) == [Settled([Job(2, message, (VERTEX,))], ())]
    assert made.open(2, message, [VERTEX]) is not None


def test_what_of_an_answer_is_under_way_is_left_out() -> None:
    made = Jobs(count(), 100)
    begin(made, 1, VERTICES[1])
    verify = made.open(2, Vertices(7, tuple(VERTICES[:3])), VERTICES[:3])
    assert verify is not None
    assert verify.vertices == (VERTICES[0], VERTICES[2])


@pytest.mark.parametrize("message", [Commits(7, (), (VERTEX,)), Newest(7, 0, (VERTEX,))])
def test_votes_and_our_newest_are_verified_whatever_is_under_way(message: Commits | Newest) -> None:
    made = Jobs(count(), 100)
    first = begin(made, 1, VERTEX)
    second = made.open(2, message, [VERTEX])
    assert second is not None
    assert end(made, second.job) == [Settled((), ())]
    assert made.open(3, Push(VERTEX), [VERTEX]) is None
    assert [job.peer for job in end(made, first)[0].copies] == [3]


def test_copies_count_for_who_sent_them() -> None:
    made = Jobs(count(), 2)
    number = begin(made, 1, VERTEX)
    for has_room in (True, False):
        made.open(2, Push(VERTEX), [VERTEX])
        assert made.has_room(2) is has_room
    assert made.has_room(1)
    end(made, number)
    assert made.has_room(2)
    assert not made._of_peer and not made._bytes_of_peer and not made._under_way


def test_who_refers_to_what_is_under_way_is_told_of_once_it_is_settled() -> None:
    made = Jobs(count(), 100)
    number = begin(made, 1, VERTEX)
    refs = [VERTICES[1].ref, VERTEX.ref]
    for source in (3, 2, 3):
        assert made.not_under_way(refs, source) == refs[:1]
    assert end(made, number) == [Settled([], ((3, VERTEX.ref), (2, VERTEX.ref)))]
    assert made.not_under_way(refs, 3) == refs
