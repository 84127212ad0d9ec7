from dataclasses import fields, replace

import pytest

from cherrydag.consensus.timing import Timing
from cherrydag.errors import ConfigError

NAMES = [item.name for item in fields(Timing)]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "min_round_delay_ms"])
def test_every_setting_is_at_least_one(name: str) -> None:
    assert getattr(replace(Timing(), **{name: 1}), name) == 1
    for value in (0, -1):
        with pytest.raises(ConfigError, match=rf"timing\.{name}: expected at least 1, got {value}"):
            replace(Timing(), **{name: value})


def test_a_round_may_follow_at_once() -> None:
    assert replace(Timing(), min_round_delay_ms=0).min_round_delay_ms == 0
    with pytest.raises(ConfigError, match=r"timing\.min_round_delay_ms: expected at least 0, got -1"):
        replace(Timing(), min_round_delay_ms=-1)
