"""The log: what a line may hold, how many there are, and that nothing else is said."""

import io
import json
import logging
import re
from pathlib import Path

import pytest

from cherrydag import logs
from cherrydag.errors import ConfigError
from cherrydag.logs import (
    CONFIGURED,
    EVENTS,
    LEVEL_REQUEST,
    LEVELS,
    RECENT,
    RECENT_OLD,
    TEXT_CHARS_MAX,
    WINDOW_MS,
    EventLog,
    RecentLines,
    forget_request,
    is_level_requested,
    request_level,
    take_library_lines,
    take_request,
)


class Rig:
    def __init__(self, **options: object) -> None:
        self.stream = io.StringIO()
        self.now_ms = 0
        self.log = EventLog(self.stream, lambda: self.now_ms, **options)  # type: ignore[arg-type]

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def told(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stream.getvalue().split("\n")[:-1]]


NASTY = "a\r\nb\x1b[31m\x85\u2028\u202e\ud800\x00é🍒"


@pytest.mark.parametrize("as_json", [True, False])
def test_what_peers_say_breaks_no_line_and_steers_no_terminal(as_json: bool):
    rig = Rig(as_json=as_json)
    rig.log("peer_closed", reason=NASTY, parts=[NASTY, b"\x1b"])
    text = rig.stream.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n")
    assert text[:-1].isprintable()
    assert "é🍒" in text


def test_a_line_of_json_has_time_level_event_and_facts():
    rig = Rig(name="v0")
    rig.log("peer_opened", peer=3, key=b"\x01\xff", big=2**53, less=2**53 - 1, none=None, flag=True)
    (told,) = rig.told
    assert list(told)[:3] == ["time", "level", "event"]
    assert str(told.pop("time")).endswith("Z")
    assert told == {
        "level": "info",
        "event": "peer_opened",
        "node": "v0",
        "peer": 3,
        "key": "01ff",
        "big": str(2**53),
        "less": 2**53 - 1,
        "none": None,
        "flag": True,
    }


def test_a_line_of_text_quotes_what_has_spaces():
    rig = Rig(as_json=False)
    rig.log("failed", words='no "room" left', code=4, empty="")
    assert rig.lines[0].endswith(r'failed               words="no \"room\" left" code=4 empty=""')


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_long_texts_are_cut(extra: int):
    rig = Rig()
    rig.log("stop", words="x" * (TEXT_CHARS_MAX + extra))
    assert len(str(rig.told[0]["words"])) == (TEXT_CHARS_MAX + extra if extra <= 0 else TEXT_CHARS_MAX + 3)


def test_what_is_below_the_level_is_not_said():
    for level in LEVELS:
        rig = Rig(level=level)
        for event in EVENTS:
            rig.log(event)
        said = {EVENTS[str(line["event"])] for line in rig.told}
        assert said == set(LEVELS[LEVELS.index(level) :])


def test_the_level_goes_round_and_says_so():
    rig = Rig(level="info")
    for _ in LEVELS:
        rig.log.cycle_level()
    assert [line["now"] for line in rig.told] == ["warning", "error", "debug", "info"]
    rig.log("checkpoint_certified")
    assert len(rig.told) == len(LEVELS)


def test_of_one_event_so_many_lines_are_written_in_a_time_and_the_rest_counted():
    rig = Rig(rate=3)
    for number in range(10):
        rig.log("penalty", number=number)
    rig.log("ban")
    assert [line.get("number") for line in rig.told] == [0, 1, 2, None]
    rig.now_ms = WINDOW_MS - 1
    rig.log("penalty", number=10)
    assert len(rig.told) == 4
    rig.now_ms = WINDOW_MS
    rig.log("penalty", number=11)
    assert (rig.told[-1]["number"], rig.told[-1]["suppressed"]) == (11, 8)
    rig.log("penalty", number=12)
    assert "suppressed" not in rig.told[-1]


def test_what_was_suppressed_is_told_when_the_event_has_ceased():
    rig = Rig(rate=1)
    for _ in range(5):
        rig.log("penalty")
    rig.log.flush()
    assert len(rig.told) == 1
    rig.now_ms = WINDOW_MS
    rig.log.flush()
    rig.log.flush()
    assert [(line["event"], line.get("of"), line.get("count")) for line in rig.told[1:]] == [
        ("suppressed", "penalty", 4)
    ]


def test_every_event_that_is_told_is_in_the_table():
    package = Path(logs.__file__).parent
    names = set()
    for path in package.rglob("*.py"):
        names |= set(re.findall(r'(?:\btell|\b_tell|\b_?log)\(\s*"([a-z_]+)"', path.read_text()))
    assert {"peer_opened", "drain", "clock_step", "diverged"} < names
    assert names <= set(EVENTS)


def test_an_event_that_is_not_in_the_table_is_told_all_the_same():
    rig = Rig()
    rig.log("colour", of="blue")
    assert (rig.told[0]["level"], rig.told[0]["of"]) == ("warning", "blue")


def test_what_libraries_say_is_a_line_like_any_other():
    rig, root = Rig(), logging.getLogger()
    before = list(root.handlers), root.level
    try:
        take_library_lines(rig.log)
        logging.getLogger("asyncio").warning("task %s\r\n\x1b[31m", 7)
        logging.getLogger("asyncio").info("nothing")
        try:
            raise ValueError("oh")
        except ValueError:
            logging.getLogger("aiohttp").exception("failed")
    finally:
        root.handlers, level = before
        root.setLevel(level)
    first, second = rig.told
    assert (first["event"], first["source"], first["words"]) == ("library", "asyncio", r"task 7\r\n\x1b[31m")
    assert second["error"] == "ValueError('oh')"


@pytest.mark.parametrize("error", [BrokenPipeError("gone"), ValueError("closed file")], ids=repr)
@pytest.mark.parametrize("step", ["write", "flush"])
def test_a_stream_that_takes_nothing_loses_lines_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
):
    rig, refused = Rig(), []

    def refuse(*_: object) -> None:
        refused.append(step)
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(rig.stream, step, refuse)
        rig.log("drain")
    rig.log("stop")
    assert refused == [step]
    assert rig.told[-1]["event"] == "stop"


# The last lines


def test_what_is_written_is_kept_in_a_private_file_too(tmp_path):
    rig = Rig(recent=RecentLines(tmp_path))
    rig.log("stop", words="a\ud800")
    rig.log("checkpoint_certified")
    assert (tmp_path / RECENT).read_text().splitlines() == rig.lines
    assert (tmp_path / RECENT).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_two_files_take_turns(tmp_path, more: int):
    recent = RecentLines(tmp_path, bytes_max=100)
    recent.keep("x" * (99 + more))
    assert (tmp_path / RECENT_OLD).exists() == (more >= 0)
    for number in range(200):
        recent.keep(f"{number:09}")
    sizes = [(tmp_path / name).stat().st_size for name in (RECENT, RECENT_OLD) if (tmp_path / name).exists()]
    assert sum(sizes) <= 200
    kept = (tmp_path / RECENT_OLD).read_text().splitlines()
    assert kept[-1] in (f"{199:09}", f"{198:09}") or (tmp_path / RECENT).read_text().endswith(f"{199:09}\n")


def test_a_process_goes_on_where_the_one_before_has_ended(tmp_path):
    for number in range(2):
        recent = RecentLines(tmp_path)
        recent.keep(str(number))
        recent.close()
        recent.close()
    assert (tmp_path / RECENT).read_text() == "0\n1\n"


def test_lines_that_cannot_be_kept_stop_nothing(tmp_path):
    rig = Rig(recent=RecentLines(tmp_path / "gone"))
    rig.log("stop")
    (tmp_path / RECENT).symlink_to(tmp_path / "elsewhere")
    RecentLines(tmp_path).keep("x")
    assert len(rig.lines) == 1 and not (tmp_path / "elsewhere").exists()


# The level that is asked for


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_asked_for_once(tmp_path, level: str):
    assert take_request(tmp_path) is None
    request_level(tmp_path, level)
    assert is_level_requested(tmp_path)
    assert take_request(tmp_path) == level
    assert not is_level_requested(tmp_path) and take_request(tmp_path) is None


def test_the_configured_level_can_be_asked_for(tmp_path):
    request_level(tmp_path, CONFIGURED)
    assert take_request(tmp_path) is None and not is_level_requested(tmp_path)


def test_a_request_that_others_could_have_written_is_none(tmp_path):
    request_level(tmp_path, "debug")
    (tmp_path / LEVEL_REQUEST).chmod(0o620)
    with pytest.raises(ConfigError, match="mode"):
        take_request(tmp_path)
    assert not is_level_requested(tmp_path)


@pytest.mark.parametrize("text", ["", "loud", "debug\ninfo", "x" * 100])
def test_a_request_for_no_level_is_refused(tmp_path, text: str):
    request_level(tmp_path, text)
    with pytest.raises(ConfigError):
        take_request(tmp_path)


def test_a_start_forgets_what_the_process_before_was_asked(tmp_path):
    request_level(tmp_path, "debug")
    forget_request(tmp_path)
    forget_request(tmp_path)
    assert take_request(tmp_path) is None
