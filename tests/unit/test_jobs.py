"""What of one peer may be under verification at a time."""

from itertools import count

import pytest
from vertices import validator_vertex

from cherrydag.codec import encode_vertex
from cherrydag.gossip import jobs
from cherrydag.gossip.jobs import Jobs
from cherrydag.gossip.messages import Push

VERTEX = validator_vertex()
SIZE = len(encode_vertex(VERTEX))


@pytest.mark.parametrize(("before", "has_room"), [(2, True), (3, False)])
def test_the_jobs_of_a_peer_are_bounded(before: int, has_room: bool) -> None:
    made = Jobs(count(), 3)
    for _ in range(before):
        made.open(1, Push(VERTEX), [VERTEX])
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
    opened = [made.open(1, Push(VERTEX), [VERTEX]).job for _ in range(2)]
    assert made.has_room(1) is has_room
    assert made.has_room(2)
    made.close(opened[0])
    assert made.has_room(1)
    made.close(opened[1])
    assert not made._of_peer and not made._bytes_of_peer
