import random

from engines import Forge, of_type
from vertices import commit

from cherrydag.consensus.effects import AskNewest, Broadcast, Execute, Lost, Persist, SubDag, SwapRecord
from cherrydag.consensus.leader import SwapTable
from cherrydag.consensus.outbox import Outbox

FORGE = Forge()
A, B, C = (FORGE.first(author) for author in range(3))
SEND_A, SEND_B = Broadcast(A), Broadcast(B)


def tickets(effects: list[object]) -> list[int]:
    return [persist.ticket for persist in of_type(effects, Persist)]


def test_what_waits_for_nothing_leaves_at_once_and_in_order() -> None:
    box = Outbox()
    box.emit(AskNewest())
    box.emit(Lost((A,)))
    assert box.take() == [AskNewest(), Lost((A,))]
    assert box.take() == []


def test_a_vertex_alone_is_not_written() -> None:
    box = Outbox()
    box.write_vertex(A)
    assert box.take() == []
    box.hold(SEND_B)
    assert box.take() == [Persist(1, (A,), (), ())]


def test_a_held_effect_leaves_when_its_write_is_durable_and_not_before() -> None:
    box = Outbox()
    box.write_vertex(A)
    box.hold(SEND_A)
    assert box.take() == [Persist(1, (A,), (), ())]
    assert (box.unsent, box.is_clear) == (1, False)
    box.on_persisted(0)
    assert box.take() == []
    box.on_persisted(1)
    assert box.take() == [SEND_A]
    assert (box.unsent, box.is_clear) == (0, True)


def test_an_effect_held_after_the_write_was_taken_waits_for_it_too() -> None:
    box = Outbox()
    box.write_commit(commit(), None)
    assert tickets(box.take()) == [1]
    box.hold(SEND_A)
    assert box.take() == []
    box.on_persisted(1)
    assert box.take() == [SEND_A]


def test_with_all_written_and_durable_nothing_is_held() -> None:
    box = Outbox()
    box.hold(SEND_A)
    assert box.take() == [SEND_A]
    box.write_vertex(B)
    box.hold(SEND_B)
    box.take()
    box.on_persisted(1)
    box.hold(SEND_A)
    assert box.take() == [SEND_B, SEND_A]


def test_a_commit_is_written_with_everything_before_it() -> None:
    box = Outbox()
    swaps = SwapRecord(12, SwapTable((1,), (2,)))
    box.write_vertex(A)
    box.write_vertex(B)
    box.write_commit(commit(), swaps)
    box.write_commit(commit(index=13), None)
    box.write_vertex(C)
    assert box.take() == [Persist(1, (A, B, C), (commit(), commit(index=13)), (swaps,))]


def test_a_later_ticket_tells_of_all_before_it_and_an_unknown_one_of_none_to_come() -> None:
    box = Outbox()
    for vertex in (A, B):
        box.write_vertex(vertex)
        box.hold(Broadcast(vertex))
        box.take()
    box.on_persisted(99)
    assert box.take() == [SEND_A, SEND_B]
    box.write_vertex(C)
    box.hold(Broadcast(C))
    assert tickets(box.take()) == [3]
    box.on_persisted(2)
    assert box.take() == []
    box.on_persisted(3)
    assert box.take() == [Broadcast(C)]


def test_only_broadcasts_count_as_unsent() -> None:
    box = Outbox()
    box.write_commit(commit(), None)
    box.hold(Execute(SubDag(commit(), ())))
    box.hold(SEND_A)
    assert box.unsent == 1


def test_in_any_interleaving_held_effects_leave_in_order_after_their_write() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        box = Outbox()
        made, staged, wanted, durable, sent = 0, [], {}, 0, []
        written: list[Persist] = []
        for _ in range(30):
            step = rng.randrange(4)
            if step == 0:
                vertex = FORGE.first(0, variant=rng.randrange(256), timestamp_ms=made)
                made += 1
                staged.append(vertex)
                box.write_vertex(vertex)
            elif step == 1:
                effect = Broadcast(FORGE.first(1, timestamp_ms=made))
                made += 1
                wanted[effect.vertex.digest] = list(staged)
                box.hold(effect)
            elif step == 2 and written:
                durable = max(durable, rng.choice(written).ticket)
                box.on_persisted(durable)
            taken = box.take()
            written += of_type(taken, Persist)
            on_disk = [v for persist in written if persist.ticket <= durable for v in persist.vertices]
            for effect in of_type(taken, Broadcast):
                assert on_disk[: len(wanted[effect.vertex.digest])] == wanted[effect.vertex.digest]
                sent.append(effect.vertex.digest)
        assert sent == list(wanted)[: len(sent)]
        assert [persist.ticket for persist in written] == list(range(1, len(written) + 1))
