"""The tip pool of the production graph and selector: stable, as large as published, fair under a flood."""

import numpy as np
import pytest

from cherrydag.errors import ConfigError
from cherrydag.params import TIP_WINDOW
from cherrydag.sim.tip_pool import PoolReport, Setting, TipPool


def run(**changes: object) -> tuple[Setting, TipPool, PoolReport]:
    setting = Setting(**{"rate": 400, "delay_ms": 100, "parents": 2, "seconds": 20, **changes})
    pool = TipPool(setting)
    return setting, pool, pool.run()


# Over seeds 0..19 the mean lay within 4 % of the formula, the drift within 9 % of the mean (standard
# deviation 4.5 %), and the largest pool below 1.5 times the formula.
@pytest.mark.parametrize("parents", [2, 3, 8])
def test_the_pool_is_stable_and_as_large_as_the_formula_says(parents: int) -> None:
    setting, pool, report = run(parents=parents)
    expected = setting.expected(report.validators_tips)
    assert report.mean == pytest.approx(expected, rel=0.06)
    assert report.mean == pytest.approx(setting.expected(), rel=0.06 + 4 / 40)
    assert abs(report.slope * 15) < 0.15 * report.mean
    assert report.largest < 2 * expected
    assert report.unapproved == report.lazy == 0
    assert report.lag_rounds < TIP_WINDOW / 2
    assert len(pool.selector) == sum(map(len, pool.tips))


def test_the_formula_is_that_of_the_paper() -> None:
    setting = Setting(rate=400, delay_ms=100, parents=2)
    assert setting.expected() == 80
    assert setting.expected(validators_tips=4) == 84
    assert Setting(rate=400, delay_ms=100, parents=3).expected() == 60
    assert Setting(rate=400, delay_ms=100, parents=3, chained=True).expected() == 80


def test_twice_the_rate_or_the_delay_is_twice_the_pool() -> None:
    changes: list[dict[str, int]] = [{}, {"rate": 400}, {"delay_ms": 200}]
    base, rate, delay = (run(**{"rate": 200, "seconds": 16, **change})[2].mean for change in changes)
    assert rate / base == pytest.approx(2, rel=0.15)
    assert delay / base == pytest.approx(2, rel=0.15)


def test_links_to_the_own_last_vertex_bound_the_pool_by_the_issuers() -> None:
    _, _, report = run(parents=3, chained=True, issuers=10)
    assert report.largest <= 10


@pytest.mark.parametrize("listings", [1, 8])
def test_validators_commit_every_vertex_and_the_pool_only_shrinks(listings: int) -> None:
    setting, _, report = run(listings=listings)
    assert report.committed == 1
    assert report.lazy == 0
    assert report.mean < 1.06 * setting.expected(report.validators_tips)


def test_a_lone_operator_s_tips_go_lazy_unless_validators_list_them() -> None:
    alone = run(rate=1, seconds=200)[2]
    listed = run(rate=1, seconds=200, listings=1)[2]
    assert alone.lazy > 0.1
    assert alone.committed == 0
    assert listed.lazy == 0
    assert listed.committed == 1


def test_a_flood_gets_no_more_than_its_bond_s_share_of_the_lists() -> None:
    setting, _, report = run(rate=2000, seconds=8, issuers=10, flood=500, bonds=(1, 1, 2, 3), listings=1)
    flooder = report.shares(setting)[0]
    assert flooder.is_flooder
    assert flooder.of_issued > 0.5
    assert report.selected[0] > 0.5 * report.selected.sum()  # the uniform rule follows the flood
    for share in report.shares(setting):
        assert share.of_listed == pytest.approx(share.of_bond, rel=0.03)


def test_a_flood_leaves_those_who_ask_for_less_all_they_ask_for() -> None:
    """Nine honest issuers want fewer places than their bonds give them: each tip of theirs is listed."""
    calm = run(rate=40, seconds=20, issuers=9, listings=1)[2]
    _, _, flooded = run(rate=400, seconds=20, issuers=10, flood=900, listings=1)
    honest = flooded.listed[1:].sum() / flooded.issued[1:].sum()
    assert flooded.issued[1:].sum() == pytest.approx(calm.issued.sum(), rel=0.2)
    assert honest > 0.8 * calm.listed.sum() / calm.issued.sum()
    assert flooded.listed[0] / flooded.issued[0] < honest / 3
    assert flooded.committed == 1


def test_equal_seeds_give_equal_runs() -> None:
    first, second, other = (run(rate=50, seconds=10, seed=seed, listings=1)[2] for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first.issued, other.issued)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("rate", 1, 1_000_000),
        ("parents", 2, 8),
        ("issuers", 1, 65_536),
        ("listings", 0, 8),
        ("flood", 0, 1000),
        ("validators", 1, 200),
    ],
)
def test_settings_are_bounded(name: str, low: int, high: int) -> None:
    for value in (low, high):
        Setting(**{"rate": 10, "delay_ms": 100, "parents": 3, name: value})
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=name):
            Setting(**{"rate": 10, "delay_ms": 100, "parents": 3, name: value})


def test_a_run_too_short_to_judge_is_refused() -> None:
    assert Setting(rate=1, delay_ms=1000, parents=2, seconds=80)
    with pytest.raises(ConfigError, match="at least 80"):
        Setting(rate=1, delay_ms=1000, parents=2, seconds=79)
    assert Setting(rate=5, delay_ms=100, parents=2, seconds=10)
    with pytest.raises(ConfigError, match="at least 50, got 40"):
        Setting(rate=4, delay_ms=100, parents=2, seconds=10)
    with pytest.raises(ConfigError, match="bonds"):
        Setting(rate=1, delay_ms=100, parents=2, bonds=(1, 0))
    with pytest.raises(ConfigError, match="chained"):
        Setting(rate=1, delay_ms=100, parents=2, chained=True)
