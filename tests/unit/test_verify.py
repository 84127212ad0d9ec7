"""A vertex alone: one claim for each rule, at its bounds, and no signature that fits elsewhere."""

from dataclasses import replace
from typing import Any

import pytest
from vertices import (
    CHAIN,
    COMMITTEE,
    EPOCH,
    GENESIS,
    OPERATORS,
    OTHER_CHAIN,
    RULES,
    committee_of,
    digest,
    operator_vertex,
    refs,
    tip,
    transfers,
    validator_vertex,
    with_bodies,
    zeros,
)

from cherrydag.commit import CommitVote
from cherrydag.errors import PeerFault
from cherrydag.params import (
    COMMIT_VOTES_MAX,
    OPERATOR_PARENTS_MAX,
    OPERATOR_PARENTS_MIN,
    TIP_WINDOW,
    TIPS_MAX,
    VERTEX_BODIES_BYTES_MAX,
    VERTEX_TRANSACTIONS_MAX,
)
from cherrydag.payload import EMPTY_PAYLOAD, EMPTY_ROOT, build_payload
from cherrydag.refs import OperatorRef, VertexRef
from cherrydag.transaction import transaction_ids
from cherrydag.verify import (
    EpochRules,
    VertexFault,
    verify_operator_vertex,
    verify_validator_vertex,
    verify_vertex,
)
from cherrydag.vertex import genesis_vertices


def fault_of(vertex: Any, rules: EpochRules = RULES) -> str | None:
    """The code with which the vertex is refused, or None."""
    try:
        verify_vertex(vertex, rules)
    except PeerFault as error:
        assert isinstance(error.code, VertexFault)
        return error.code
    return None


def of_validator(**changes: Any) -> str | None:
    return fault_of(validator_vertex(signed=False, **changes))


def of_operator(**changes: Any) -> str | None:
    return fault_of(operator_vertex(signed=False, **changes))


# Both kinds


def test_valid_vertices_pass_and_tell_their_transaction_ids() -> None:
    records = transfers(5)
    payload = build_payload(records, CHAIN)
    ids = transaction_ids(records, CHAIN.transaction_key)
    assert verify_validator_vertex(validator_vertex(payload=payload), RULES) == ids
    assert verify_operator_vertex(operator_vertex(payload=payload), RULES) == ids
    assert verify_vertex(validator_vertex(), RULES) == b""


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1, 0, 2**32 - 1])
def test_a_vertex_of_another_epoch_is_refused(epoch: int) -> None:
    assert of_validator(epoch=epoch) == of_operator(epoch=epoch) == VertexFault.EPOCH


def test_too_many_transactions_are_refused() -> None:
    for make in (of_validator, of_operator):
        for count in (VERTEX_TRANSACTIONS_MAX - 1, VERTEX_TRANSACTIONS_MAX):
            assert (
                make(payload=zeros(count)) == VertexFault.PAYLOAD_ROOT
            )  # Past the limits, so refused later.
        assert make(payload=zeros(VERTEX_TRANSACTIONS_MAX + 1)) == VertexFault.TRANSACTIONS


def test_too_many_bytes_of_bodies_are_refused() -> None:
    for make in (of_validator, of_operator):
        for size in (VERTEX_BODIES_BYTES_MAX - 1, VERTEX_BODIES_BYTES_MAX):
            assert make(payload=zeros(1, size)) == VertexFault.PAYLOAD_ROOT
        assert make(payload=zeros(1, VERTEX_BODIES_BYTES_MAX + 1)) == VertexFault.BODIES


def test_a_payload_that_is_not_the_header_s_is_refused() -> None:
    payload = build_payload(transfers(3), CHAIN)
    others = [
        replace(payload, root=EMPTY_ROOT),
        replace(EMPTY_PAYLOAD, root=payload.root),
        replace(payload, records=payload.records[:2]),
        replace(build_payload(transfers(3, fee=2), CHAIN), root=payload.root),
        build_payload(transfers(3), OTHER_CHAIN),
    ]
    for other in others:
        assert of_validator(payload=other) == of_operator(payload=other) == VertexFault.PAYLOAD_ROOT


def test_a_record_that_breaks_a_rule_is_refused_by_row_and_rule() -> None:
    records = transfers(5)
    records["fee"][3] = 0
    vertex = validator_vertex(payload=build_payload(records, CHAIN))
    with pytest.raises(PeerFault, match="transaction 3: FEE_TOO_LOW") as caught:
        verify_validator_vertex(vertex, RULES)
    assert caught.value.code == VertexFault.RECORD == "vertex_record"
    assert of_operator(payload=with_bodies([1])) == VertexFault.RECORD


def test_expiry_is_no_rule_of_a_vertex_alone() -> None:
    assert of_validator(payload=build_payload(transfers(2, valid_until=0), CHAIN)) is None


def test_timestamps_are_no_rule_of_a_vertex() -> None:
    for timestamp_ms in (0, 2**64 - 1):
        assert of_validator(timestamp_ms=timestamp_ms) is None
        assert of_operator(timestamp_ms=timestamp_ms) is None


# Validator vertices


def test_a_vertex_of_round_0_is_refused_even_the_genesis() -> None:
    for vertex in genesis_vertices(COMMITTEE, CHAIN.genesis_digest):
        assert fault_of(vertex) == VertexFault.ROUND


def test_round_1_stands_on_the_genesis() -> None:
    assert of_validator(round=1, ancestors=refs(0), tips=()) is None
    assert of_validator(round=2, ancestors=(*refs(1, "012"), *refs(0, "3")), tips=()) is None


@pytest.mark.parametrize("author", [4, 2**16 - 1])
def test_an_author_outside_the_committee_is_refused(author: int) -> None:
    assert of_validator(author=author) == VertexFault.AUTHOR
    assert of_validator(author=3, ancestors=refs(4, "3012")) is None


def test_a_vertex_without_ancestors_or_with_more_than_validators_is_refused() -> None:
    assert of_validator(ancestors=()) == VertexFault.ANCESTORS
    assert of_validator(ancestors=refs(4, "012")) is None
    assert of_validator(ancestors=refs(4, "0123")) is None
    assert of_validator(ancestors=(*refs(4, "0123"), *refs(3, "3"))) == VertexFault.ANCESTORS


@pytest.mark.parametrize("author", [4, 2**16 - 1])
def test_an_ancestor_of_no_validator_is_refused(author: int) -> None:
    assert of_validator(ancestors=refs(4, [0, 1, 2, author])) == VertexFault.ANCESTOR_AUTHOR
    assert of_validator(ancestors=refs(4, [author, 1, 2])) == VertexFault.ANCESTOR_AUTHOR


@pytest.mark.parametrize("authors", ["1023", "123", "3210"])
def test_the_first_ancestor_must_be_the_author_s_own(authors: str) -> None:
    assert of_validator(ancestors=refs(4, authors)) == VertexFault.OWN_ANCESTOR


def test_the_own_ancestor_may_be_older() -> None:
    assert of_validator(ancestors=(*refs(1, "0"), *refs(4, "123"))) is None


def test_two_ancestors_of_one_author_are_refused() -> None:
    equivocation = VertexRef(4, 1, digest("another"))
    assert of_validator(ancestors=(*refs(4, "012"), equivocation)) == VertexFault.ANCESTOR_TWICE
    assert of_validator(ancestors=(*refs(4, "012"), *refs(3, "0"))) == VertexFault.ANCESTOR_TWICE
    assert of_validator(ancestors=refs(4, "0121")) == VertexFault.ANCESTOR_TWICE


@pytest.mark.parametrize("round_", [5, 6, 2**32 - 1])
def test_an_ancestor_that_is_not_of_an_earlier_round_is_refused(round_: int) -> None:
    assert of_validator(ancestors=(*refs(4, "012"), *refs(round_, "3"))) == VertexFault.ANCESTOR_ROUND


def test_an_ancestor_of_round_0_must_be_a_genesis_vertex() -> None:
    for false in (VertexRef(0, 3, digest("false")), VertexRef(0, 3, GENESIS[2].digest)):
        assert of_validator(ancestors=(*refs(4, "012"), false)) == VertexFault.GENESIS_REF
        assert of_validator(round=1, ancestors=(*refs(0, "012"), false), tips=()) == VertexFault.GENESIS_REF
    other = EpochRules.of(CHAIN, COMMITTEE, origin=digest("last commit of the epoch before"))
    vertex = validator_vertex(round=1, ancestors=refs(0), tips=())
    assert fault_of(vertex, other) == VertexFault.GENESIS_REF


def test_strong_ancestors_need_a_quorum_of_stake() -> None:
    assert of_validator(ancestors=refs(4, "01")) == VertexFault.STRONG_STAKE
    assert of_validator(ancestors=(*refs(4, "01"), *refs(3, "23"))) == VertexFault.STRONG_STAKE
    assert of_validator(ancestors=(*refs(4, "012"), *refs(3, "3"))) is None


@pytest.mark.parametrize(
    ("stakes", "fault"),
    [
        ([2, 2, 2, 2], None),  # N = 8, Q = 6
        ([2, 2, 2, 3], VertexFault.STRONG_STAKE),  # N = 9, Q = 7
        ([2, 2, 3, 3], None),  # N = 10, Q = 7
        ([1, 1, 1, 2], VertexFault.STRONG_STAKE),  # N = 5, Q = 4
        ([1, 1, 9, 1], None),  # N = 12, Q = 9
    ],
)
def test_a_quorum_is_of_stake_and_not_of_heads(stakes: list[int], fault: str | None) -> None:
    """Authors 0, 1 and 2 are strong."""
    rules = EpochRules.of(CHAIN, committee_of(stakes))
    assert fault_of(validator_vertex(ancestors=refs(4, "012")), rules) == fault


def test_too_many_tips_are_refused() -> None:
    for count in (TIPS_MAX - 1, TIPS_MAX):
        assert of_validator(tips=tuple(tip(4, number) for number in range(count))) is None
    assert of_validator(tips=tuple(tip(4, number) for number in range(TIPS_MAX + 1))) == VertexFault.TIPS


def test_a_tip_listed_twice_is_refused() -> None:
    assert of_validator(tips=(tip(3), tip(4, 1), tip(3))) == VertexFault.TIP_TWICE
    assert of_validator(tips=(tip(3), tip(3)._replace(digest=digest("another")))) is None


def test_a_tip_outside_the_window_is_refused() -> None:
    round_ = TIP_WINDOW + 10
    outcomes = {
        anchor: of_validator(round=round_, ancestors=refs(round_ - 1), tips=(tip(anchor),))
        for anchor in (9, 10, 11, round_ - 2, round_ - 1, round_, round_ + 1)
    }
    refused = {anchor for anchor, code in outcomes.items() if code == VertexFault.TIP_ROUND}
    assert refused == {9, round_, round_ + 1}
    assert {code for anchor, code in outcomes.items() if anchor not in refused} == {None}


def test_the_window_of_tips_begins_with_the_genesis() -> None:
    assert of_validator(round=1, ancestors=refs(0), tips=(tip(0),)) is None
    assert of_validator(round=TIP_WINDOW, ancestors=refs(TIP_WINDOW - 1), tips=(tip(0),)) is None
    late = of_validator(round=TIP_WINDOW + 1, ancestors=refs(TIP_WINDOW), tips=(tip(0),))
    assert late == VertexFault.TIP_ROUND


def test_too_many_commit_votes_are_refused() -> None:
    votes = tuple(CommitVote(index, digest(index)) for index in range(COMMIT_VOTES_MAX + 1))
    for count in (COMMIT_VOTES_MAX - 1, COMMIT_VOTES_MAX):
        assert of_validator(commit_votes=votes[:count]) is None
    assert of_validator(commit_votes=votes) == VertexFault.COMMIT_VOTES


def test_commit_votes_out_of_order_are_refused() -> None:
    for indices in ((8, 8), (9, 8)):
        votes = tuple(CommitVote(index, digest(index)) for index in indices)
        assert of_validator(commit_votes=votes) == VertexFault.COMMIT_VOTE_ORDER


# Operator vertices


@pytest.mark.parametrize("count", [0, OPERATOR_PARENTS_MIN - 1, OPERATOR_PARENTS_MAX + 1])
def test_too_few_or_too_many_parents_are_refused(count: int) -> None:
    parents = tuple(tip(5, 2 * number) for number in range(count))
    assert of_operator(parents=parents) == VertexFault.PARENTS


@pytest.mark.parametrize(
    "count", [OPERATOR_PARENTS_MIN, OPERATOR_PARENTS_MIN + 1, OPERATOR_PARENTS_MAX - 1, OPERATOR_PARENTS_MAX]
)
def test_numbers_of_parents_within_the_limits(count: int) -> None:
    assert of_operator(parents=(tip(5), *(tip(4, 2 * n + 1) for n in range(count - 1)))) is None


@pytest.mark.parametrize("author", [4, 2**16 - 1])
def test_a_parent_of_no_validator_is_refused(author: int) -> None:
    assert of_operator(parents=(tip(3), *refs(5, [author]))) == VertexFault.PARENT_AUTHOR
    assert of_operator(parents=(tip(3), *refs(5, [3]))) is None


def test_a_parent_listed_twice_is_refused() -> None:
    for twice in (refs(5, "1"), (tip(4, 1),)):
        assert of_operator(parents=(tip(3), *refs(5, "1"), tip(4, 1), *twice)) == VertexFault.PARENT_TWICE


def test_the_first_parent_must_be_the_issuer_s_own_once_there_is_one() -> None:
    assert of_operator(parents=(tip(4, 1), *refs(5, "1"))) == VertexFault.OWN_PARENT
    assert of_operator(parents=(tip(4, 1), tip(3), *refs(5, "1"))) == VertexFault.OWN_PARENT
    assert of_operator(seq=0, parents=(tip(4, 1), *refs(5, "1"))) is None


def test_a_first_vertex_has_no_parent_of_its_issuer() -> None:
    assert of_operator(seq=0) == VertexFault.OWN_PARENT
    assert of_operator(seq=0, parents=(*refs(5, "1"), tip(3))) == VertexFault.OWN_PARENT


def test_two_parents_of_the_issuer_are_refused() -> None:
    own = OperatorRef(5, OPERATORS[0].public_key, digest("another"))
    assert of_operator(parents=(tip(3), own)) == VertexFault.OWN_PARENT


@pytest.mark.parametrize("anchor_round", [0, 4, 6, 2**32 - 1])
def test_the_anchor_round_must_be_the_highest_among_the_parents(anchor_round: int) -> None:
    assert of_operator(anchor_round=anchor_round) == VertexFault.ANCHOR_ROUND


def test_operator_parents_count_for_the_anchor_round() -> None:
    parents = (tip(3), tip(9, 1), *refs(5, "1"))
    assert of_operator(parents=parents) == VertexFault.ANCHOR_ROUND
    assert of_operator(parents=parents, anchor_round=9) is None


def test_a_parent_of_round_0_must_be_a_genesis_vertex() -> None:
    assert of_operator(seq=0, anchor_round=0, parents=refs(0, "01")) is None
    false = (*refs(0, "0"), VertexRef(0, 1, digest("false")))
    assert of_operator(seq=0, anchor_round=0, parents=false) == VertexFault.GENESIS_REF


def test_codes_are_stable() -> None:
    names = {m.name: m.value for m in VertexFault}
    for name, value in names.items():
        assert value == name.lower() if name.startswith("CERTIFICATE") else value == "vertex_" + name.lower()
    assert len(names) == 32


@pytest.mark.parametrize(("least", "is_valid"), [(1, True), (2, True), (3, False)])
def test_a_chain_may_ask_for_more_than_the_least_fee(least: int, is_valid: bool) -> None:
    rules = EpochRules.of(CHAIN, COMMITTEE, fee_min=least)
    vertex = validator_vertex(payload=build_payload(transfers(2, fee=2), CHAIN))
    assert fault_of(vertex, rules) == (None if is_valid else VertexFault.RECORD)
