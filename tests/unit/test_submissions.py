"""Submissions and the tracker of their tags."""

import numpy as np
import pytest

from cherrydag.mempool import AddStatus
from cherrydag.runtime.submissions import (
    SIGNATURE_CODE,
    Phase,
    Submission,
    Tracker,
    code_of_fault,
    describe,
)
from cherrydag.transaction import RecordFault


def ids_of(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(32, "little") for number in numbers)


def words(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def octets(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)


def test_an_empty_submission_is_settled_at_once() -> None:
    empty = Submission(b"")
    assert empty.is_settled and empty.wait(0) is empty and empty.wait_sequenced(0) is empty


def test_rows_go_their_ways_and_the_last_settles() -> None:
    tracker, one = Tracker(), Submission(ids_of(1, 2, 3, 4))
    number = tracker.register(one)
    one.mark_refused(words(3), octets(SIGNATURE_CODE))
    tags = tracker.tags(number, words(0, 1, 2))
    tracker.sequenced(ids_of(1, 2), tags[:2], words(70, 71))
    assert one.phases.tolist() == [Phase.SEQUENCED, Phase.SEQUENCED, Phase.ACCEPTED, Phase.REFUSED]
    with pytest.raises(TimeoutError):
        one.wait_sequenced(0)
    tracker.dropped(tags[2:])
    assert one.wait_sequenced(0) is one and not one.is_settled
    tracker.final(ids_of(1, 2), tags[:2], words(70, 71), octets(1, 2))
    assert one.wait(0).statuses.tolist() == [1, 2, 0, 0]
    assert one.phases.tolist() == [Phase.FINAL, Phase.FINAL, Phase.DROPPED, Phase.REFUSED]
    assert len(tracker) == 0


def test_what_is_final_without_having_been_sequenced_counts_as_both() -> None:
    tracker, one = Tracker(), Submission(ids_of(9))
    tags = tracker.tags(tracker.register(one), words(0))
    tracker.final(ids_of(9), tags, words(5), octets(1))
    assert one.wait_sequenced(0) is one.wait(0)


def test_tags_of_several_submissions_in_one_commit_find_their_rows() -> None:
    tracker = Tracker()
    many = [Submission(ids_of(*range(10 * i, 10 * i + 3))) for i in range(1, 5)]
    numbers = [tracker.register(one) for one in many]
    rows = [(2, 1), (0, 0), (3, 2), (1, 0), (2, 0), (0, 2)]
    tags = np.array([int(tracker.tags(numbers[i], words(row))[0]) for i, row in rows] + [0], np.uint64)
    ids = ids_of(*[10 * (i + 1) + row for i, row in rows], 99)
    tracker.final(ids, tags, np.arange(7, dtype=np.uint64) + 100, octets(*range(1, 8)))
    for at, (i, row) in enumerate(rows):
        assert (int(many[i].places[row]), int(many[i].statuses[row])) == (100 + at, at + 1)
    assert sum(int((one.phases == Phase.FINAL).sum()) for one in many) == len(rows)


def test_followers_hear_what_the_first_hears() -> None:
    tracker, first = Tracker(), Submission(ids_of(1, 2))
    tags = tracker.tags(tracker.register(first), words(0, 1))
    followers = [Submission(ids_of(2)) for _ in range(2)]
    dropped = Submission(ids_of(7, 1))
    for follower in followers:
        tracker.follow(tracker.register(follower), 0)
    tracker.follow(tracker.register(dropped), 1)
    tracker.sequenced(ids_of(5, 2), words(0, int(tags[1])), words(3, 4))
    assert [int(one.phases[0]) for one in followers] == [Phase.SEQUENCED] * 2
    tracker.final(ids_of(5, 2), words(0, int(tags[1])), words(3, 4), octets(1, 6))
    assert [(int(one.places[0]), int(one.statuses[0])) for one in followers] == [(4, 6)] * 2
    tracker.dropped(tags[:1])
    assert dropped.phases.tolist() == [Phase.ACCEPTED, Phase.DROPPED]
    assert first.is_settled
    assert len(tracker) == 1  # the one that waits for 7: who follows is let go like the first


def test_a_follower_hears_of_the_drop_of_what_was_given_up() -> None:
    tracker, given_up, follower = Tracker(), Submission(ids_of(1, 2, 3)), Submission(ids_of(1))
    number = tracker.register(given_up)
    tags = tracker.tags(number, words(0, 1))
    given_up.codes[:2] = AddStatus.ADDED, AddStatus.REPLACED  # the third never came so far
    tracker.give_up(number)
    tracker.follow(tracker.register(follower), 0)
    tracker.dropped(tags[:1])
    assert follower.wait(0).phases.tolist() == [Phase.DROPPED]
    tracker.final(ids_of(2), tags[1:], words(7), octets(1))
    assert len(tracker) == 0


def test_of_what_was_given_up_only_what_is_followed_stays() -> None:
    """Whatever the mempool knows of a row from others: nobody would tell of one that never came so far."""
    tracker, given_up = Tracker(), Submission(ids_of(1, 2, 3))
    number = tracker.register(given_up)
    given_up.codes[:] = AddStatus.DUPLICATE, AddStatus.SENDER_FULL, 0
    tracker.follow(number, 0)
    tracker.give_up(number)
    assert given_up.phases.tolist() == [Phase.ACCEPTED, Phase.REFUSED, Phase.REFUSED]
    tracker.final(ids_of(1), words(0), words(7), octets(1))
    assert len(tracker) == 0


def test_a_follower_of_a_transaction_that_nobody_tagged_is_found_by_its_id() -> None:
    tracker, one = Tracker(), Submission(ids_of(3))
    tracker.follow(tracker.register(one), 0)
    tracker.final(ids_of(1, 2, 3), words(0, 0, 0), words(1, 2, 3), octets(1, 1, 2))
    assert one.wait(0).statuses.tolist() == [2]


def test_of_two_copies_in_one_commit_a_follower_hears_the_first() -> None:
    tracker = Tracker()
    one, twice = Submission(ids_of(3)), Submission(ids_of(3, 3))
    tracker.follow(tracker.register(one), 0)
    number = tracker.register(twice)
    tracker.follow(number, 0)
    tracker.follow(number, 1)
    copies = ids_of(3, 8, 3)
    tracker.sequenced(copies, words(0, 0, 0), words(5, 6, 7))
    tracker.final(copies, words(0, 0, 0), words(5, 6, 7), octets(1, 1, 9))
    assert (one.wait(0).statuses.tolist(), one.places.tolist()) == ([1], [5])
    assert (twice.wait(0).statuses.tolist(), twice.places.tolist()) == ([1, 1], [5, 5])
    assert len(tracker) == 0


def test_when_the_ledger_stops_everybody_hears_why() -> None:
    tracker, one, other = Tracker(), Submission(ids_of(1)), Submission(ids_of(1))
    tracker.register(one)
    tracker.follow(tracker.register(other), 0)
    tracker.fail(RuntimeError("disk"))
    for submission in (one, other):
        with pytest.raises(RuntimeError, match="disk"):
            submission.wait(0)


async def test_awaiting_does_not_cancel_for_others() -> None:
    tracker, one = Tracker(), Submission(ids_of(1))
    tags = tracker.tags(tracker.register(one), words(0))
    tracker.final(ids_of(1), tags, words(1), octets(1))
    assert await one is one and await one.sequenced() is one


def test_every_code_has_a_name_and_words() -> None:
    faults = octets(*[fault.value for fault in RecordFault])
    codes = [int(code) for code in code_of_fault(faults) if code]
    assert len(codes) == len(RecordFault) - 1
    named = [describe(code) for code in [*codes, SIGNATURE_CODE, *map(int, AddStatus)]]
    assert len({name for name, _ in named}) == len(named)
    assert all(text for _, text in named)
    assert describe(SIGNATURE_CODE)[0] == "transaction_signature"
