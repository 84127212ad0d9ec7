from collections.abc import Iterable
from dataclasses import replace
from itertools import count, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vertices import OPERATORS, digest, operator_vertex, validator_vertex

from cherrydag.errors import PeerFault
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.fetcher import Fetcher, FetchLimits
from cherrydag.gossip.messages import GetVertices, Vertices
from cherrydag.params import FETCH_REFS_MAX, PEER_OTHERS
from cherrydag.primitives import Peer, Round
from cherrydag.refs import AnyRef, OperatorRef, VertexRef
from cherrydag.vertex import ValidatorVertex, Vertex

A, B, C, D = (Peer(number) for number in range(4))
STRANGER = Peer(PEER_OTHERS)
LIMITS = FetchLimits()


def vertex(i: int, round_: int = 5) -> ValidatorVertex:
    return validator_vertex(round=round_, author=i % 4, timestamp_ms=i, signed=False)


def ref(i: int, round_: int = 5) -> VertexRef:
    return VertexRef(Round(round_), i % 4, digest(i))


def fetcher(*peers: Peer, **limits: int) -> Fetcher:
    made = Fetcher(LIMITS._replace(**limits), seed=0)
    made.set_peers(peers)
    return made


def asked(requests: Iterable[tuple[Peer, GetVertices]]) -> list[tuple[Peer, tuple[AnyRef, ...]]]:
    return [(peer, request.refs) for peer, request in requests]


def one(requests: list[tuple[Peer, GetVertices]]) -> tuple[Peer, int]:
    """The only request's peer and number."""
    ((peer, request),) = requests
    return peer, request.number


def fault(made: Fetcher, peer: Peer, reply: Vertices, now_ms: int = 0) -> str:
    with pytest.raises(PeerFault) as raised:
        made.on_reply(peer, reply, now_ms)
    assert str(raised.value)
    return raised.value.code


# Whom


def test_the_source_is_asked_first_and_at_once() -> None:
    made = fetcher(A, B, C, D)
    assert made.wake_at_ms is None
    made.want([ref(1)], C, 100)
    assert asked(made.requests(100)) == [(C, (ref(1),))]
    assert made.requests(100) == []
    assert made.wake_at_ms == 150  # for another holder, if one is known by then
    assert made.requests(150) == []
    assert made.wake_at_ms == 600


def test_holders_come_after_the_source_in_order_and_then_validators_in_turn() -> None:
    made = fetcher(A, B, C, D)
    made.want([ref(1)], D, 0)
    made.want([ref(1)], STRANGER, 0)
    made.holds([ref(1), ref(2)], B)
    order = []
    for now_ms in range(0, 8000, 100):
        order += [peer for peer, _ in asked(made.requests(now_ms))]
    assert order[:5] == [D, STRANGER, B, A, C]
    assert order[5] == D
    assert len(made) == 1


def test_what_is_not_wanted_is_not_wanted_because_somebody_holds_it() -> None:
    made = fetcher(A)
    made.holds([ref(1)], A)
    assert len(made) == 0
    assert made.requests(0) == []


def test_the_seed_turns_the_order() -> None:
    for seed, first in enumerate([A, B, C, D, A]):
        made = Fetcher(seed=seed)
        made.set_peers((A, B, C, D))
        made.want([ref(1)], STRANGER, 0)
        made.requests(0)
        assert one(made.requests(500))[0] == first


def test_two_peers_are_asked_at_once_and_no_more() -> None:
    made = fetcher(A, B, C, D)
    made.want([ref(1)], A, 0)
    times = {}
    for now_ms in range(0, 2600, 100):
        for peer, _ in made.requests(now_ms):
            times[peer] = now_ms
    assert times == {A: 0, B: 500, C: 2000, D: 2500}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_peers_per_vertex_is_a_bound(limit: int) -> None:
    made = fetcher(A, B, C, D, peers_per_vertex=limit)
    made.want([ref(1)], A, 0)
    assert sum(len(made.requests(now_ms)) for now_ms in range(0, 1999, 100)) == limit


def test_an_empty_answer_sends_the_want_to_the_next_peer_on_the_tick() -> None:
    made = fetcher(A, B)
    made.want([ref(1)], A, 0)
    _, number = one(made.requests(0))
    assert made.on_reply(A, Vertices(number, ()), 40) == ()
    assert made.requests(40) == []
    assert made.requests(499) == []
    assert one(made.requests(500))[0] == B
    assert made.strikes(A) == 0


def test_when_all_were_asked_in_vain_pauses_double() -> None:
    made = fetcher(A, tick_ms=100, backoff_max_ms=400)
    made.want([ref(1)], A, 0)
    times = []
    for now_ms in range(0, 3000, 50):
        for peer, request in made.requests(now_ms):
            times.append(now_ms)
            made.on_reply(peer, Vertices(request.number, ()), now_ms)
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[0] < gaps[-1] <= 400 + 2 * 100


def test_without_validators_the_source_is_asked_again() -> None:
    made = fetcher()
    made.want([ref(1)], STRANGER, 0)
    peers = [peer for now_ms in range(0, 9000, 500) for peer, _ in made.requests(now_ms)]
    assert len(peers) > 1
    assert set(peers) == {STRANGER}


# How much


def test_requests_are_batched_per_peer_lowest_rounds_first() -> None:
    made = fetcher(A, B)
    made.want([ref(1, 9), ref(2, 7), ref(3, 8)], A, 0)
    made.want([ref(4, 6)], B, 0)
    tips = OperatorRef(Round(7), OPERATORS[0].public_key, digest("tip"))
    made.want([tips], A, 0)
    assert asked(made.requests(0)) == [(A, (ref(2, 7), tips, ref(3, 8), ref(1, 9))), (B, (ref(4, 6),))]


def test_repeats_come_lowest_rounds_first_too() -> None:
    made = fetcher(A, B)
    made.want([ref(1, 9), ref(2, 7), ref(3, 8)], A, 0)
    made.requests(0)
    assert asked(made.requests(500)) == [(B, (ref(2, 7), ref(3, 8), ref(1, 9)))]


@pytest.mark.parametrize("n", [FETCH_REFS_MAX - 1, FETCH_REFS_MAX, FETCH_REFS_MAX + 1])
def test_a_request_asks_for_no_more_than_may_be_asked(n: int) -> None:
    made = fetcher(A)
    made.want([ref(i) for i in range(n)], A, 0)
    sizes = [len(request.refs) for _, request in made.requests(0)]
    assert sizes == ([n] if n <= FETCH_REFS_MAX else [FETCH_REFS_MAX, 1])


def test_a_peer_has_five_requests_in_flight_and_the_rest_waits_for_an_answer() -> None:
    made = fetcher(refs_per_request=2)
    made.want([vertex(i).ref for i in range(13)], A, 0)
    requests = made.requests(0)
    assert [len(request.refs) for _, request in requests] == [2] * 5
    assert made.requests(499) == []
    _, request = requests[0]
    made.on_reply(A, Vertices(request.number, (vertex(0), vertex(1))), 499)
    assert [len(request.refs) for _, request in made.requests(499)] == [2]


def test_what_waits_for_a_busy_source_goes_to_others_on_the_tick() -> None:
    made = fetcher(A, B, refs_per_request=1, requests_per_peer=1)
    made.want([ref(1), ref(2)], A, 0)
    assert asked(made.requests(0)) == [(A, (ref(1),))]
    assert asked(made.requests(500)) == [(B, (ref(1),))]
    made.arrived(ref(1).digest)
    made.gone(B, 600)
    made.set_peers((A, C))
    assert asked(made.requests(1000)) == [(C, (ref(2),))]


def test_single_wants_fill_the_five_requests_too() -> None:
    made = fetcher(A)
    for i in range(7):
        made.want([ref(i)], A, 0)
        made.requests(0)
    assert sum(made.expects(A, number) for number in range(1, 9)) == 5


# Answers


def test_vertices_that_were_asked_for_are_handed_on_and_stay_wanted_until_they_arrive() -> None:
    made = fetcher(A, B)
    tip = operator_vertex(signed=False)
    made.want([vertex(1).ref, tip.ref], A, 0)
    _, number = one(made.requests(0))
    assert made.on_reply(A, Vertices(number, (tip, vertex(1))), 100) == (tip, vertex(1))
    made.arrived(vertex(1).digest)
    assert len(made) == 1
    # The tip did not pass verification: after a while another peer is asked.
    assert made.requests(500) == made.requests(1000) == made.requests(2000) == []
    assert asked(made.requests(2500)) == [(B, (tip.ref,))]


def test_what_arrived_meanwhile_is_not_handed_on_again() -> None:
    made = fetcher(A, B)
    made.want([vertex(1).ref, vertex(2).ref], A, 0)
    _, number = one(made.requests(0))
    made.arrived(vertex(1).digest)
    assert made.on_reply(A, Vertices(number, (vertex(1), vertex(2))), 100) == (vertex(2),)


def test_what_a_full_answer_left_out_is_asked_of_the_same_peer_at_once() -> None:
    made = fetcher(A, B)
    wanted = [vertex(i).ref for i in range(5)]
    made.want(wanted, A, 0)
    _, number = one(made.requests(0))
    made.on_reply(A, Vertices(number, (vertex(0), vertex(2))), 100)
    # 1 lies before the last one sent, so it was denied; 3 and 4 need not have fitted.
    assert asked(made.requests(100)) == [(A, (wanted[3], wanted[4]))]
    made.arrived(vertex(0).digest)
    made.arrived(vertex(2).digest)
    assert asked(made.requests(600)) == [(B, (wanted[1], wanted[3], wanted[4]))]


def test_an_answer_that_nobody_asked_for_is_a_fault() -> None:
    made = fetcher(A, B)
    made.want([vertex(1).ref], A, 0)
    _, number = one(made.requests(0))
    answer = Vertices(number, (vertex(1),))
    assert made.expects(A, number)
    assert not made.expects(B, number)
    assert not made.expects(A, number + 1)
    assert fault(made, B, answer) == SyncFault.UNSOLICITED
    assert fault(made, A, Vertices(number + 1, ())) == SyncFault.UNSOLICITED
    assert made.on_reply(A, answer, 0) == (vertex(1),)
    assert fault(made, A, answer) == SyncFault.UNSOLICITED


def test_a_vertex_that_was_not_asked_for_is_a_fault_and_others_are_asked() -> None:
    for false in ((vertex(3),), (vertex(1), vertex(1)), (vertex(1), replace(vertex(2), round=6))):
        made = fetcher(A, B)
        made.want([vertex(1).ref, vertex(2).ref], A, 0)
        _, number = one(made.requests(0))
        assert fault(made, A, Vertices(number, false)) == SyncFault.NOT_ASKED
        assert not made.expects(A, number)
        assert asked(made.requests(500)) == [(B, (vertex(1).ref, vertex(2).ref))]


def test_more_vertices_than_were_asked_for_are_a_fault() -> None:
    made = fetcher(A, B)
    made.want([vertex(1).ref], A, 0)
    _, number = one(made.requests(0))
    assert fault(made, A, Vertices(number, (vertex(1), vertex(2)))) == SyncFault.TOO_MANY


def test_an_unanswered_request_costs_a_strike_and_a_late_answer_takes_it_off() -> None:
    made = fetcher(A)
    made.want([vertex(1).ref], A, 0)
    _, number = one(made.requests(0))
    made.requests(1999)
    assert made.strikes(A) == 0
    made.requests(2000)
    assert made.strikes(A) == 1
    assert made.expects(A, number)
    assert made.on_reply(A, Vertices(number, (vertex(1),)), 2100) == (vertex(1),)
    assert made.strikes(A) == 0
    assert fault(made, A, Vertices(number, ())) == SyncFault.UNSOLICITED


def test_late_answers_are_remembered_for_sixteen_requests() -> None:
    made = fetcher(requests_per_peer=1, tick_ms=2000, backoff_max_ms=2000)
    made.want([ref(1)], A, 0)
    numbers: list[int] = []
    for now_ms in range(0, 200_000, 2000):
        numbers += [request.number for _, request in made.requests(now_ms)]
        if len(numbers) == 18:
            break
    assert made.strikes(A) == 17
    assert [made.expects(A, number) for number in numbers] == [False] + [True] * 17


# Forgetting


def test_gc_forgets_what_is_low_and_wants_no_more_of_it() -> None:
    made = fetcher(A)
    made.want([ref(1, 4), ref(2, 5), ref(3, 6)], A, 0)
    made.set_gc_round(Round(5))
    assert asked(made.requests(0)) == [(A, (ref(3, 6),))]
    made.want([ref(4, 5), ref(5, 6), ref(6, 0)], A, 0)
    assert asked(made.requests(0)) == [(A, (ref(5, 6),))]


def test_all_references_with_a_digest_are_forgotten_when_it_arrives() -> None:
    made = fetcher(A)
    true = ref(1)
    false = [true._replace(round=Round(6)), OperatorRef(Round(5), OPERATORS[0].public_key, true.digest)]
    made.want([*false, true], A, 0)
    assert len(made) == 3
    made.arrived(true.digest)
    assert len(made) == 0
    assert made.requests(0) == []


def test_a_false_reference_does_not_hide_the_true_one() -> None:
    made = fetcher(A, B)
    made.want([vertex(1).ref._replace(round=Round(4))], A, 0)
    made.want([vertex(1).ref], B, 0)
    numbers = {peer: request.number for peer, request in made.requests(0)}
    assert made.on_reply(B, Vertices(numbers[B], (vertex(1),)), 10) == (vertex(1),)


def test_the_requests_of_a_peer_that_is_gone_go_to_others() -> None:
    made = fetcher(A, B)
    made.want([vertex(1).ref, vertex(2).ref], A, 0)
    _, number = one(made.requests(0))
    made.gone(A, 100)
    made.set_peers((B,))
    assert not made.expects(A, number)
    assert fault(made, A, Vertices(number, ())) == SyncFault.UNSOLICITED
    assert made.strikes(A) == 0
    assert asked(made.requests(500)) == [(B, (vertex(1).ref, vertex(2).ref))]
    assert made.requests(2100) == []


def test_of_a_peer_that_is_gone_no_late_answer_is_taken() -> None:
    made = fetcher(A)
    made.want([vertex(1).ref], A, 0)
    _, number = one(made.requests(0))
    made.requests(2000)
    made.gone(A, 2100)
    assert made.strikes(A) == 0
    assert not made.expects(A, number)


def test_a_peer_that_is_gone_is_not_asked() -> None:
    made = fetcher(refs_per_request=1, requests_per_peer=1)
    made.want([ref(1), ref(2)], A, 0)
    made.requests(0)
    made.gone(A, 0)
    assert all(not made.requests(now_ms) for now_ms in range(0, 5000, 500))
    made.want([ref(1)], B, 5000)
    assert [peer for now_ms in (5000, 5500) for peer, _ in made.requests(now_ms)] == [B]


def test_wake_ends_when_there_is_nothing_to_do() -> None:
    made = fetcher(A)
    made.want([vertex(1).ref], A, 0)
    made.requests(0)
    made.arrived(vertex(1).digest)
    made.requests(500)
    assert made.wake_at_ms == 1000  # the answer that does not come is a strike
    for now_ms in (1000, 1500, 2000):
        made.requests(now_ms)
    assert made.strikes(A) == 1
    assert made.wake_at_ms is None


# Bounds


def test_a_source_at_its_share_evicts_its_own_farthest() -> None:
    made = fetcher(A, B, source_max=3)
    made.want([ref(9, 90)], B, 0)
    made.want([ref(1, 5), ref(2, 8), ref(3, 6), ref(4, 7)], A, 0)
    made.want([ref(5, 50)], A, 0)
    assert asked(made.requests(0)) == [
        (B, (ref(9, 90),)),
        (A, (ref(1, 5), ref(3, 6), ref(4, 7))),
    ]


def test_a_full_table_evicts_from_the_largest_share() -> None:
    made = fetcher(A, B, C, wanted_max=4)
    made.want([ref(1, 1), ref(2, 2), ref(3, 3)], A, 0)
    made.want([ref(4, 99)], B, 0)
    assert len(made) == 4
    made.want([ref(5, 98)], C, 0)
    made.want([ref(6, 97)], C, 0)
    assert len(made) == 4
    assert {wanted for _, refs in asked(made.requests(0)) for wanted in refs} == {
        ref(1, 1),
        ref(4, 99),
        ref(6, 97),
    } | {ref(2, 2)}


def test_a_flooder_does_not_evict_what_others_need_too() -> None:
    made = fetcher(A, B, source_max=5)
    made.want([ref(0, 50)], A, 0)
    made.want([ref(0, 50)], B, 0)
    made.want([ref(i, 10) for i in range(1, 100)], A, 0)
    assert len(made) == 6
    made.want([ref(i, 10) for i in range(100, 200)], A, 0)
    assert ref(0, 50) in {
        wanted for now_ms in (0, 500) for _, refs in asked(made.requests(now_ms)) for wanted in refs
    }


def test_a_tick_looks_at_so_many_wants_and_lets_none_starve() -> None:
    made = fetcher(B, turns_per_tick=10)
    made.want([ref(i, 3) for i in range(100)], STRANGER, 0)
    made.want([ref(i, 90) for i in range(200, 204)], A, 0)
    made.requests(0)
    turns = [
        [wanted for peer, refs in asked(made.requests(now_ms)) if peer == B for wanted in refs]
        for now_ms in range(500, 10_000, 500)
    ]
    assert len(turns[0]) == 10
    # A flooder has what the others leave, and his wants come in turn.
    assert turns[0] == [*(ref(i, 3) for i in range(6)), *(ref(i, 90) for i in range(200, 204))]
    assert turns[1] == [ref(i, 3) for i in range(6, 12)]
    assert {wanted for turn in turns for wanted in turn} == {
        *(ref(i, 3) for i in range(100)),
        *(ref(i, 90) for i in range(200, 204)),
    }


def test_strangers_that_are_gone_share_one_place() -> None:
    made = fetcher(A, source_max=5)
    for number in range(20):
        stranger = Peer(PEER_OTHERS + number)
        made.want([ref(10 * number + i, 7) for i in range(4)], stranger, 0)
        made.gone(stranger, 0)
    assert len(made) == 5
    made.want([ref(i, 9) for i in range(1000, 1004)], B, 0)
    made.gone(B, 0)
    assert len(made) == 9


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_a_flood_stays_within_every_bound_and_evicts_nobody_else(seed: int) -> None:
    rng = Random(seed)
    made = Fetcher(FetchLimits(wanted_max=40, source_max=15, refs_per_request=4), seed=1)
    made.set_peers((A, B, C))
    honest = [ref(-i, 60 + i) for i in range(1, 8)]
    made.want(honest, A, 0)
    names = count(1)
    for now_ms in range(0, 4000, 100):
        flooder = rng.choice([B, C, D, STRANGER])
        made.want(
            [ref(next(names), rng.randrange(1, 100)) for _ in range(rng.randrange(30))], flooder, now_ms
        )
        if rng.random() < 0.1:
            made.gone(STRANGER, now_ms)
        assert len(made) <= 40
        for peer, request in made.requests(now_ms):
            assert len(request.refs) <= 4
            if rng.random() < 0.3:
                made.on_reply(peer, Vertices(request.number, ()), now_ms)
        assert all(sum(made.expects(p, n) for n in range(200)) <= 5 + 16 for p in (A, B, C))
        low = rng.randrange(1, 4)
        made.set_gc_round(Round(low))
    for wanted in honest:
        before = len(made)
        made.arrived(wanted.digest)
        assert len(made) == before - 1


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_everything_is_fetched_if_one_honest_peer_has_it(seed: int) -> None:
    """Others are silent, answer with nothing, with something else, or drop out."""
    rng = Random(seed)
    made = Fetcher(FetchLimits(refs_per_request=8, requests_per_peer=2), seed=rng.randrange(9))
    peers = [Peer(number) for number in range(4)]
    rng.shuffle(peers)
    made.set_peers(peers)
    honest, *liars = peers
    wanted: dict[AnyRef, Vertex] = {v.ref: v for v in (vertex(i, 1 + i // 5) for i in range(40))}
    for source in (*liars, *liars, honest):
        made.want(rng.sample(sorted(wanted), 15), source, 0)
    made.want(sorted(wanted), liars[0], 0)
    in_flight: list[tuple[int, Peer, Vertices]] = []
    for now_ms in range(0, 120_000, 50):
        for due_ms, peer, reply in [entry for entry in in_flight if entry[0] <= now_ms]:
            in_flight.remove((due_ms, peer, reply))
            try:
                for found in made.on_reply(peer, reply, now_ms):
                    made.arrived(found.digest)
            except PeerFault as error:
                assert peer != honest, error
        for peer, request in made.requests(now_ms):
            here = [wanted[r] for r in request.refs]
            if peer == honest:
                # Now and then too slow, always cut to what it may send.
                delay_ms = rng.choice([20, 200, 2500])
                in_flight.append((now_ms + delay_ms, peer, Vertices(request.number, tuple(here[:3]))))
            elif (lie := rng.randrange(4)) == 0:
                in_flight.append((now_ms + 30, peer, Vertices(request.number, ())))
            elif lie == 1:
                in_flight.append((now_ms + 30, peer, Vertices(request.number, (vertex(99),))))
            elif lie == 2:
                in_flight.append((now_ms + 30, peer, Vertices(request.number, tuple(here[-1:]))))
        if not len(made):
            break
    assert len(made) == 0


def test_equal_inputs_make_equal_requests() -> None:
    def run() -> list[tuple[Peer, GetVertices]]:
        rng, made = Random(5), Fetcher(seed=3)
        made.set_peers((A, B, C, D))
        sent = []
        for now_ms in range(0, 5000, 100):
            made.want(
                [ref(rng.randrange(500), rng.randrange(1, 40)) for _ in range(9)],
                Peer(rng.randrange(4)),
                now_ms,
            )
            for peer, request in made.requests(now_ms):
                sent.append((peer, request))
                if rng.random() < 0.5:
                    made.on_reply(peer, Vertices(request.number, ()), now_ms)
        return sent

    assert run() == run()


def test_a_new_holder_is_asked_at_once_if_nobody_is_and_after_a_while_if_one_is_slow() -> None:
    made = Fetcher(FetchLimits(hedge_ms=50))
    wanted = [ref(1)]
    made.want(wanted, Peer(1), 0)
    assert [peer for peer, _ in made.requests(0)] == [1]
    made.want(wanted, Peer(2), 49)
    assert made.requests(49) == []
    made.want(wanted, Peer(3), 50)
    assert [peer for peer, _ in made.requests(50)] == [3]
    made.want(wanted, Peer(4), 200)
    assert made.requests(200) == []  # two are being asked


def test_a_holder_that_becomes_known_early_is_asked_after_a_while_if_nobody_has_answered() -> None:
    """Who refers to a vertex and then does not answer must not cost others a scheduler's tick."""
    made = fetcher(A, B, C, hedge_ms=50)
    made.want([ref(1)], A, 10)
    assert asked(made.requests(10)) == [(A, (ref(1),))]
    made.want([ref(1)], B, 11)
    assert asked(made.requests(11)) == []
    assert made.wake_at_ms == 60
    assert not made.is_due(59)
    assert asked(made.requests(59)) == []
    assert made.is_due(60)
    assert asked(made.requests(60)) == [(B, (ref(1),))]
    made.want([ref(1)], C, 61)
    assert asked(made.requests(509)) == []  # two are being asked
    assert made.wake_at_ms == 510


def test_what_has_arrived_is_asked_of_no_other_holder() -> None:
    made = fetcher(A, B, hedge_ms=50)
    made.want([ref(1), ref(2)], A, 0)
    made.requests(0)
    made.want([ref(1), ref(2)], B, 1)
    made.arrived(ref(1).digest)
    assert asked(made.requests(50)) == [(B, (ref(2),))]
    made.arrived(ref(2).digest)
    assert made.wake_at_ms == 500


def test_what_waits_for_a_busy_source_is_asked_of_a_new_holder_at_once() -> None:
    """A peer that answers nothing has five requests open: what it refers to next waits for none of them."""
    made = fetcher(A, B, C, refs_per_request=1, requests_per_peer=1)
    made.want([ref(1), ref(2)], A, 0)
    assert asked(made.requests(0)) == [(A, (ref(1),))]
    made.want([ref(3)], B, 1)
    assert asked(made.requests(1)) == [(B, (ref(3),))]
    made.want([ref(2)], B, 2)
    assert asked(made.requests(2)) == []  # B is as busy
    made.want([ref(2)], C, 3)
    assert asked(made.requests(3)) == [(C, (ref(2),))]


def test_what_a_source_with_room_is_about_to_be_asked_for_stays_with_it() -> None:
    made = fetcher(A, B)
    made.want([ref(1)], A, 0)
    made.want([ref(1)], B, 0)
    assert asked(made.requests(0)) == [(A, (ref(1),))]
