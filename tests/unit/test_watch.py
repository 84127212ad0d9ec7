"""What the log tells of how a node fares, from samples."""

from cherrydag.watch import CLOCK_STEP_MS, DISK_LOW_BYTES, STALL_MS, Sample, Watch

PLENTY = 10 * DISK_LOW_BYTES


class Rig:
    def __init__(self, *, expects_commits: bool = True) -> None:
        self.told: list[tuple[str, dict[str, object]]] = []
        self.watch = Watch(
            lambda event, **facts: self.told.append((event, facts)), expects_commits=expects_commits
        )
        self.sample = Sample(1000, 5, 10, PLENTY, ())

    def look(self, **changes: object) -> list[tuple[str, dict[str, object]]]:
        """What is told of a sample like the last one but for these."""
        self.told.clear()
        self.sample = self.sample._replace(**changes)  # type: ignore[arg-type]
        self.watch.look(self.sample)
        return list(self.told)


def test_readiness_is_told_at_first_and_when_it_changes():
    rig = Rig()
    assert rig.look() == [("ready", {})]
    assert rig.look() == []
    assert rig.look(reasons=("behind",)) == [("not_ready", {"reasons": ("behind",)})]
    assert rig.look(reasons=("behind", "no_quorum"))[0][0] == "not_ready"
    assert rig.look(reasons=()) == [("ready", {})]


def test_a_network_without_commits_has_stalled_once_and_goes_on():
    rig = Rig()
    rig.look()
    assert rig.look(now_ms=1000 + STALL_MS - 1) == []
    assert [event for event, _ in rig.look(now_ms=1000 + STALL_MS)] == ["commits_stalled"]
    assert rig.look(now_ms=1000 + 3 * STALL_MS) == []
    assert rig.look(commit_index=11) == [("commits_resumed", {"commit": 11, "after_ms": 3 * STALL_MS})]
    assert rig.look(now_ms=1000 + 4 * STALL_MS - 1) == []
    assert rig.look(now_ms=1000 + 4 * STALL_MS)[0][0] == "commits_stalled"


def test_a_solo_chain_does_not_stall():
    rig = Rig(expects_commits=False)
    rig.look()
    assert rig.look(now_ms=1000 + 9 * STALL_MS) == []


def test_a_clock_that_was_set_is_told_but_not_one_that_drifts():
    rig = Rig()
    rig.look()
    assert rig.look(offset_ms=5 + CLOCK_STEP_MS) == []
    assert rig.look(offset_ms=5 + 2 * CLOCK_STEP_MS + 1) == [("clock_step", {"by_ms": CLOCK_STEP_MS + 1})]
    assert rig.look(offset_ms=5)[0][1] == {"by_ms": -2 * CLOCK_STEP_MS - 1}


def test_a_low_disk_is_told_once_until_it_has_clearly_recovered():
    rig = Rig()
    rig.look()
    assert rig.look(free_bytes=DISK_LOW_BYTES) == []
    assert rig.look(free_bytes=DISK_LOW_BYTES - 1)[0][0] == "disk_low"
    assert rig.look(free_bytes=DISK_LOW_BYTES * 3 // 2 - 1) == []
    assert rig.look(free_bytes=DISK_LOW_BYTES * 3 // 2)[0][0] == "disk_recovered"
