import pytest

from cherrydag.runtime.spent import Spent


@pytest.mark.parametrize(
    ("clock_us", "cpu_us", "cost_us"),
    [(30, 30, 30), (59, 30, 59), (60, 30, 60), (61, 30, 60), (900, 30, 60), (5, 0, 0)],
)
def test_time_without_a_core_counts_up_to_the_time_with_one(clock_us: int, cpu_us: int, cost_us: int) -> None:
    assert Spent(7 + clock_us, 5 + cpu_us, 3).since(Spent(7, 5, 3)) == cost_us


def test_time_in_which_the_disk_was_read_counts_in_full() -> None:
    assert Spent(1000, 30, 4).since(Spent(100, 10, 3)) == 900


def test_short_work_takes_time_too() -> None:
    for _ in range(20):
        before = Spent.now()
        sum(range(1000))
        assert Spent.now().since(before) > 0
