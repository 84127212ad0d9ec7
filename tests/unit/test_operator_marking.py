"""A durable write that holds a vertex of ours is told to the node only once its mark is durable too."""

from engines import FOUR, Forge, Marks, issuer
from later import Later

from cherrydag.consensus.effects import Ticket
from cherrydag.consensus.issuing import mark_of
from cherrydag.consensus.ports import SignMark
from cherrydag.runtime.marking import Marking

FORGE = Forge()
ROW = FORGE.rounds(1)[0]
OWN = [FORGE.operator(1, ROW[:2], seq) for seq in range(3)]


def marking(
    me: int | None = None, operator: bytes | None = issuer(1)
) -> tuple[Marking, Marks, Later, list[int]]:
    marks, later, told = Marks(), Later(), []
    made = Marking(marks, FOUR.chain, later, me, operator)  # type: ignore[arg-type]
    made.attach(told.append)
    return made, marks, later, told


def test_an_operators_write_is_told_after_its_mark() -> None:
    made, marks, later, told = marking()
    made.expect(Ticket(1), OWN[0])
    made.durable(Ticket(1))
    assert told == [] and marks.marks == []
    later.run()
    assert told == [1] and marks.marks == [mark_of(OWN[0])] == [SignMark(1, OWN[0].digest)]


def test_one_mark_covers_all_that_is_durable_and_none_sinks() -> None:
    made, marks, later, told = marking()
    for ticket, vertex in enumerate(OWN, 1):
        made.expect(Ticket(ticket), vertex)
    made.durable(Ticket(2))
    made.durable(Ticket(3))
    later.run()
    later.run()
    assert told == [2, 3] and [mark.round for mark in marks.marks] == [2, 3]
    made.expect(Ticket(4), OWN[0])  # an old one, that came back with a commit
    made.durable(Ticket(4))
    later.run()
    assert told == [2, 3, 4] and len(marks.marks) == 2


def test_others_vertices_need_no_mark() -> None:
    made, _, later, told = marking()
    assert [made.is_ours(vertex) for vertex in (OWN[0], FORGE.operator(2, ROW[:2]), ROW[0])] == [
        True,
        False,
        False,
    ]
    assert not marking(operator=None)[0].is_ours(OWN[0])
    assert [marking(me=1)[0].is_ours(vertex) for vertex in ROW[:2]] == [False, True]
    made.durable(Ticket(1))
    assert told == [1] and later.tasks == []
