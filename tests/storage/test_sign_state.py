"""The sign mark on disk: never below what was signed, whatever a power cut leaves; one owner; private."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cherrydag.committee import Committee, Member
from cherrydag.consensus.ports import SignMark
from cherrydag.consensus.recollection import Recollection
from cherrydag.errors import Closed, ConfigError, InvariantViolation, ShapeError, StorageError
from cherrydag.primitives import Digest, Epoch, PublicKey, Round, Stake, ValidatorIndex
from cherrydag.storage.sign_state import (
    FILE_BYTES,
    SLOT_BYTES,
    SLOT_KEY,
    SLOT_OFFSETS,
    SignKey,
    SignStateFile,
)

KEY = SignKey(Digest(b"g" * 32), Epoch(3), PublicKey(b"k" * 32))
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def mark(round_: int) -> SignMark:
    return SignMark(Round(round_), Digest(round_.to_bytes(32, "big")))


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        yield Path(folder, "keys", "sign-state")


def recorded(path: Path, *rounds: int, key: SignKey = KEY) -> bytes:
    """The file's bytes after these records."""
    with SignStateFile(path, key, create=True) as state:
        for round_ in rounds:
            state.record(mark(round_))
    return path.read_bytes()


def loaded(path: Path, key: SignKey = KEY) -> SignMark | None:
    with SignStateFile(path, key) as state:
        return state.load()


def refused(path: Path, key: SignKey = KEY) -> str:
    with pytest.raises(StorageError) as caught:
        SignStateFile(path, key)
    assert str(path) in str(caught.value)
    return str(caught.value)


def image(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


def with_slot(data: bytes, number: int, slot: bytes) -> bytes:
    at = SLOT_OFFSETS[number]
    return data[:at] + slot + data[at + len(slot) :]


# What is kept


def test_marks_are_kept_across_opens(path: Path) -> None:
    with SignStateFile(path, KEY, create=True) as state:
        assert state.load() is None
    for round_ in (1, 2, 7, 2**32 - 1):
        with SignStateFile(path, KEY) as state:
            state.record(mark(round_))
            assert state.load() == mark(round_)
        assert loaded(path) == mark(round_)
    assert path.stat().st_size == FILE_BYTES


def test_slot_is_as_documented(path: Path) -> None:
    data = recorded(path, 5, 9)
    body = b"cdsign\0\1" + (3).to_bytes(8, "little") + (3).to_bytes(4, "little") + (9).to_bytes(4, "little")
    body += mark(9).digest + b"k" * 32 + b"g" * 32
    key = blake3.blake3(b"", derive_key_context="cherrydag 2026-11-22 sign state slot v1").digest()
    assert key == SLOT_KEY
    assert data[4096 : 4096 + SLOT_BYTES] == body + blake3.blake3(body, key=key).digest()


def test_mark_that_is_not_higher_is_never_recorded(path: Path) -> None:
    before = recorded(path, 5)
    with SignStateFile(path, KEY) as state:
        for round_ in (1, 4, 5):
            with pytest.raises(InvariantViolation, match="sign marks rise"):
                state.record(mark(round_))
        with pytest.raises(InvariantViolation, match="sign marks rise"):
            state.record(SignMark(Round(5), Digest(b"another vertex of that round....")))
        assert path.read_bytes() == before
        state.record(mark(6))
    assert loaded(path) == mark(6)


def test_mark_that_is_none_is_our_bug(path: Path) -> None:
    with SignStateFile(path, KEY, create=True) as state:
        for wrong in (
            SignMark(Round(2**32), Digest(bytes(32))),
            SignMark(Round(1), Digest(bytes(31))),
        ):
            with pytest.raises(ShapeError, match="mark: expected"):
                state.record(wrong)


def test_lost_file_is_no_new_key(path: Path) -> None:
    assert "is missing: restore it, or create it" in refused(path)
    assert not path.exists()
    recorded(path, 5)
    with SignStateFile(path, KEY, create=True) as state:
        assert state.load() == mark(5)


def test_recollection_stands_above_the_file(path: Path) -> None:
    recorded(path, 40)
    members = tuple(Member(PublicKey(bytes([n]) * 32), Stake(1)) for n in range(4))
    past = Recollection(Committee(Epoch(3), members), ValidatorIndex(0), 1000, 60)
    with SignStateFile(path, KEY) as state:
        past.begin(state, Round(12), has_lost_sign_state=False)
    assert past.floor == 40


# Power cuts and damage


@pytest.mark.parametrize("rounds", [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("backwards", [False, True])
def test_any_part_of_a_slots_write_leaves_the_mark_before_or_the_new_one(
    path: Path, rounds: tuple[int, ...], backwards: bool
) -> None:
    before, after = recorded(path, *rounds[:-1]), recorded(path, rounds[-1])
    old, new = (mark(rounds[-2]) if len(rounds) > 1 else None), mark(rounds[-1])
    begin = SLOT_OFFSETS[(len(rounds) + 1) % 2]
    end = begin + SLOT_BYTES
    seen = set()
    for size in range(SLOT_BYTES + 1):
        at, to = (end - size, end) if backwards else (begin, begin + size)
        torn = before[:at] + after[at:to] + before[to:]
        image(path, torn)
        with SignStateFile(path, KEY) as state:
            found = state.load()
            assert found in (old, new), size
            assert state.has_damaged_slot == (torn not in (before, after)), size
        seen.add(found)
    assert seen == {old, new}
    assert path.read_bytes() == after
    assert with_slot(before, (len(rounds) + 1) % 2, after[begin:end]) == after  # nothing else was written


def test_after_a_torn_write_the_good_slot_is_spared(path: Path) -> None:
    before = recorded(path, 1, 2)
    for number, good in ((0, 2), (1, 1)):
        image(path, with_slot(before, number, b"torn"))
        with SignStateFile(path, KEY) as state:
            assert state.load() == mark(good)
            state.record(mark(3))
            assert not state.has_damaged_slot
        after = path.read_bytes()
        other = SLOT_OFFSETS[1 - number]
        assert after[other : other + SLOT_BYTES] == before[other : other + SLOT_BYTES]
        image(path, with_slot(after, number, b"torn"))
        assert loaded(path) == mark(good)


@settings(max_examples=150)
@given(st.integers(0, 1), st.binary(max_size=SLOT_BYTES), st.integers(0, SLOT_BYTES - 1))
def test_garbage_in_one_slot_leaves_the_other_and_in_both_is_no_answer(
    number: int, garbage: bytes, at: int
) -> None:
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        path = Path(folder, "sign-state")
        before = recorded(path, 1, 2)
        # counters 0 and 1 are of the file as it was made: mark 1 is in slot 0, mark 2 in slot 1
        slot = bytearray(before[SLOT_OFFSETS[number] :][:SLOT_BYTES])
        slot[at : at + len(garbage)] = garbage[: SLOT_BYTES - at]
        damaged = with_slot(before, number, bytes(slot))
        image(path, damaged)
        with SignStateFile(path, KEY) as state:
            assert state.has_damaged_slot == (damaged != before)
            assert state.load() == (mark(2) if damaged == before or number == 0 else mark(1))
        if damaged != before:
            image(path, with_slot(damaged, 1 - number, b"x" * 40))
            assert "neither slot can be read" in refused(path)


@pytest.mark.parametrize("size", [0, 1, SLOT_BYTES - 1, SLOT_BYTES, 4096, 4096 + SLOT_BYTES - 1])
def test_file_cut_short_gives_the_slot_that_is_whole_or_no_answer(path: Path, size: int) -> None:
    image(path, recorded(path, 1, 2)[:size])
    if size < SLOT_BYTES:
        assert "neither slot can be read" in refused(path)
    else:
        assert loaded(path) == mark(1)
        recorded(path, 3)
        assert loaded(path) == mark(3)


def test_every_flipped_bit_is_noticed(path: Path) -> None:
    before = recorded(path, 1, 2)
    for at in range(SLOT_BYTES):
        octets = bytearray(before)
        octets[4096 + at] ^= 1 << at % 8
        image(path, bytes(octets))
        assert loaded(path) == mark(1)


def test_slots_that_contradict_each_other_are_no_answer(path: Path) -> None:
    def slot(number: int, *rounds: int) -> bytes:
        path.unlink(missing_ok=True)
        return recorded(path, *rounds)[SLOT_OFFSETS[number] :][:SLOT_BYTES]

    later_counter_lower_round, higher = slot(1, 1, 2), slot(0, 9)
    image(path, with_slot(with_slot(bytes(FILE_BYTES), 0, higher), 1, later_counter_lower_round))
    assert "contradict each other: round 2 after 9" in refused(path)
    copied = slot(1, 1, 2)
    image(path, with_slot(with_slot(bytes(FILE_BYTES), 0, copied), 1, copied))
    with SignStateFile(path, KEY) as state:
        assert state.has_damaged_slot  # a slot in the other's place counts for nothing


# Durability


def test_record_returns_after_the_sync_of_its_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def spied(name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args: (calls.append(name), real(*args))[1])

    for name in ("pwrite", "pread", "fdatasync", "fsync", "close"):
        spied(name)
    with SignStateFile(path, KEY, create=True) as state:
        assert calls.count("fsync") >= 2  # of the file, and of the folder that names it
        assert calls.index("fdatasync") < calls.index("pread")  # what is believed is durable
        calls.clear()
        state.record(mark(1))
        assert calls == ["pwrite", "fdatasync"]


@pytest.mark.parametrize("name", ["pwrite", "fdatasync"])
def test_failed_write_closes_and_nothing_may_be_signed(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    recorded(path, 1)
    state = SignStateFile(path, KEY)

    def fail(*args: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, name, fail)
        with pytest.raises(StorageError, match="the sign mark cannot be kept:"):
            state.record(mark(2))
    for call in (state.load, lambda: state.record(mark(3))):
        with pytest.raises(Closed):
            call()
    assert loaded(path) in (mark(1), mark(2))


def test_short_write_is_a_failed_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(path, 1)
    real = os.pwrite
    with SignStateFile(path, KEY) as state:
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:100], at))
        with pytest.raises(StorageError, match=f"100 of {SLOT_BYTES} bytes were written"):
            state.record(mark(2))
    assert loaded(path) == mark(1)


@pytest.mark.parametrize("step", range(5))
def test_crash_while_the_file_is_made_leaves_none_or_a_whole_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    class Cut(BaseException):
        pass

    steps = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == step + 1:
                raise Cut
            return real(*args, **named)

        return call

    path.parent.mkdir(mode=0o700)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fchmod", counted(os.fchmod))
        patched.setattr(os, "fsync", counted(os.fsync))
        patched.setattr(os, "rename", counted(os.rename))
        patched.setattr(os, "fdatasync", counted(os.fdatasync))
        with pytest.raises(Cut):
            SignStateFile(path, KEY, create=True)
    if path.exists():
        assert loaded(path) is None
    else:
        assert "is missing" in refused(path)
    recorded(path, 1)
    assert loaded(path) == mark(1)
    assert [*path.parent.iterdir()] == [path]


# Whose it is


def test_file_of_another_key_or_chain_is_refused(path: Path) -> None:
    recorded(path, 5)
    assert f"is of the key {b'k'.hex() * 32}, not" in refused(path, KEY._replace(public_key=b"x" * 32))
    assert f"is of the chain with genesis {b'g'.hex() * 32}" in refused(
        path, KEY._replace(genesis_digest=b"x" * 32)
    )


def test_epochs_follow_each_other_and_never_go_back(path: Path) -> None:
    recorded(path, 5, 6)
    following = KEY._replace(epoch=Epoch(4))
    assert loaded(path, following) is None
    assert loaded(path) == mark(6)  # nothing was signed in the later one
    recorded(path, 1, key=following)
    assert loaded(path, following) == mark(1)
    assert "is of epoch 4, later than 3" in refused(path)
    with SignStateFile(path, following) as state, pytest.raises(InvariantViolation):
        state.record(mark(1))


def test_two_nodes_cannot_share_a_key(path: Path) -> None:
    with SignStateFile(path, KEY, create=True) as state:
        assert "is in use: another process signs with this key" in refused(path)
        code = "from pathlib import Path; import sys; from cherrydag.storage.sign_state import *\n"
        code += "SignStateFile(Path(sys.argv[1]), SignKey(b'g' * 32, 3, b'k' * 32))"
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "is in use" in done.stderr
        state.record(mark(1))
    assert loaded(path) == mark(1)


@pytest.mark.parametrize("take", ["replace", "move", "delete"])
def test_file_that_is_taken_away_is_signed_with_no_more(path: Path, take: str) -> None:
    recorded(path, 1)
    state = SignStateFile(path, KEY)
    if take == "replace":
        shutil.copy(path, path.with_name("copy"))
        path.with_name("copy").rename(path)
    elif take == "move":
        path.rename(path.with_name("moved"))
    else:
        path.unlink()
    with pytest.raises(StorageError, match="while in use"):
        state.record(mark(2))
    with pytest.raises(Closed):
        state.load()


def test_file_that_is_replaced_before_it_is_locked_is_not_believed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(path, 1)
    real = fcntl.flock

    def replace_then_lock(descriptor: int, how: int) -> None:
        shutil.copy(path, path.with_name("copy"))
        path.with_name("copy").rename(path)
        real(descriptor, how)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", replace_then_lock)
        assert "was replaced while in use" in refused(path)
    assert loaded(path) == mark(1)


def test_forked_child_may_not_sign(path: Path) -> None:
    with SignStateFile(path, KEY, create=True) as state:
        child = os.fork()
        if not child:
            try:
                state.record(mark(1))
            except Closed:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        state.record(mark(1))
        assert "is in use" in refused(path)  # the child's end did not let it go


def test_closed_file_answers_nothing_and_lets_others_in(path: Path) -> None:
    state = SignStateFile(path, KEY, create=True)
    state.close()
    state.close()
    for call in (state.load, lambda: state.record(mark(1))):
        with pytest.raises(Closed, match=str(path)):
            call()
    assert loaded(path) is None


# Privacy


def test_file_is_private_under_any_umask(path: Path) -> None:
    for umask in (0, 0o077, 0o777):
        before = os.umask(umask)
        try:
            state = SignStateFile(path.with_name(f"mask-{umask}"), KEY, create=True)
        finally:
            os.umask(before)
        state.close()
        assert path.with_name(f"mask-{umask}").stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("bit", [0o001, 0o002, 0o004, 0o010, 0o020, 0o040, 0o077])
def test_file_that_is_open_to_others_is_refused(path: Path, bit: int) -> None:
    recorded(path, 1)
    path.chmod(0o600 | bit)
    with pytest.raises(ConfigError, match=f"expected mode 0600, got 0{0o600 | bit:o}: chmod 600 {path}"):
        SignStateFile(path, KEY)
    path.chmod(0o600)
    assert loaded(path) == mark(1)


def test_what_is_no_plain_file_is_refused(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError, match="expected a plain file"):
        SignStateFile(path, KEY, create=True)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(StorageError, match="cannot be opened: Is a directory"):
        SignStateFile(path, KEY, create=True)


def test_that_a_key_has_been_in_use_is_kept_before_it_has_sent_anything(path: Path) -> None:
    with SignStateFile(path, KEY, create=True) as state:
        assert state.load() is None
        state.record(mark(0))
    with SignStateFile(path, KEY) as state:
        assert state.load() == mark(0)
        with pytest.raises(InvariantViolation, match="rise"):
            state.record(mark(0))
        state.record(mark(1))
