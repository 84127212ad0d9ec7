"""What a node's process leaves in its folder."""

import json
import os
from pathlib import Path

import pytest

from cherrydag.commit import Checkpoint, CheckpointCertificate, CheckpointSignature
from cherrydag.consensus.effects import Diverged
from cherrydag.errors import ConfigError, InUse, StorageError
from cherrydag.primitives import Digest, Epoch, ValidatorIndex
from cherrydag.runtime.marks import (
    CRASH_WINDOW_MS,
    CRASHES_MAX,
    RunInfo,
    RunMark,
    check_namespace,
    clear_divergence,
    divergence_in,
    enter_safe_mode,
    is_safe_mode,
    leave_safe_mode,
    pid_namespace,
    remove_run_info,
    running_node,
    write_divergence,
    write_run_info,
)

NOW_MS = 1_700_000_000_000
INFO = RunInfo(os.getpid(), "http://127.0.0.1:1", "", pid_namespace())


def crash(folder: Path, now_ms: int) -> None:
    mark = RunMark(folder, now_ms)
    mark.begin()
    mark.release()


@pytest.mark.parametrize(("crashes", "is_loop"), [(CRASHES_MAX - 1, False), (CRASHES_MAX, True)])
def test_so_many_starts_without_an_end_are_a_loop(tmp_path: Path, crashes: int, is_loop: bool):
    for number in range(crashes):
        crash(tmp_path, NOW_MS + number)
    mark = RunMark(tmp_path, NOW_MS + crashes)
    assert (mark.crashes, mark.is_crash_loop) == (crashes, is_loop)
    mark.release()


@pytest.mark.parametrize(("age_ms", "counts"), [(CRASH_WINDOW_MS - 1, 1), (CRASH_WINDOW_MS, 0), (-1, 0)])
def test_a_crash_counts_within_its_time(tmp_path: Path, age_ms: int, counts: int):
    crash(tmp_path, NOW_MS)
    mark = RunMark(tmp_path, NOW_MS + age_ms)
    assert mark.crashes == counts
    mark.release()


def test_a_start_that_got_further_forgets_the_crashes_before_it(tmp_path: Path):
    for number in range(CRASHES_MAX - 1):
        crash(tmp_path, NOW_MS + number)
    mark = RunMark(tmp_path, NOW_MS + 10)
    mark.begin()
    mark.got_further()
    mark.release()
    mark = RunMark(tmp_path, NOW_MS + 20)
    assert (mark.crashes, mark.is_crash_loop) == (1, False)
    mark.abandon()
    for number in range(CRASHES_MAX - 1):
        crash(tmp_path, NOW_MS + 30 + number)
    mark = RunMark(tmp_path, NOW_MS + 40)
    assert mark.is_crash_loop
    mark.release()


def test_an_end_that_is_well_forgets_the_crashes_before(tmp_path: Path):
    crash(tmp_path, NOW_MS)
    mark = RunMark(tmp_path, NOW_MS)
    mark.begin()
    mark.end(is_well=True)
    mark.end(is_well=True)
    mark = RunMark(tmp_path, NOW_MS)
    assert mark.crashes == 0
    mark.begin()
    mark.end(is_well=False)
    mark = RunMark(tmp_path, NOW_MS)
    assert mark.crashes == 1
    mark.forget()
    assert mark.crashes == 0
    mark.release()


def test_what_did_not_begin_changes_nothing(tmp_path: Path):
    crash(tmp_path, NOW_MS)
    mark = RunMark(tmp_path, NOW_MS)
    mark.begin()
    mark.abandon()
    mark = RunMark(tmp_path, NOW_MS)
    assert mark.crashes == 1
    mark.release()


def test_a_torn_mark_counts_what_is_whole_and_stays_small(tmp_path: Path):
    (tmp_path / "running").write_bytes(b"\x00\x00\n17000000x\n%d\n-5\n\n%d" % (NOW_MS, NOW_MS))
    mark = RunMark(tmp_path, NOW_MS)
    assert mark.crashes == 2
    mark.release()
    for number in range(40):
        crash(tmp_path, NOW_MS + number)
    assert len((tmp_path / "running").read_bytes().split()) == 17


def test_the_number_of_a_process_means_nothing_in_another_container(tmp_path: Path):
    check_namespace(tmp_path, INFO)
    for namespace in (0, INFO.namespace + 1):
        with pytest.raises(ConfigError, match="another container"):
            check_namespace(tmp_path, INFO._replace(namespace=namespace))


def test_one_process_runs_a_node_and_what_it_wrote_is_believed_while_it_lives(tmp_path: Path):
    assert running_node(tmp_path) is None
    mark = RunMark(tmp_path, NOW_MS)
    assert running_node(tmp_path) == RunInfo(0, "", "", 0)
    with pytest.raises(InUse, match="another process runs its node"):
        RunMark(tmp_path, NOW_MS)
    write_run_info(tmp_path, INFO)
    assert running_node(tmp_path) == INFO
    with pytest.raises(InUse, match=f"process {os.getpid()} runs its node"):
        RunMark(tmp_path, NOW_MS)
    for text in ("", "[]", "{}", '{"pid": "x", "api": "", "peers": ""}'):
        (tmp_path / "run.json").write_text(text)
        assert running_node(tmp_path) == RunInfo(0, "", "", 0)
    write_run_info(tmp_path, INFO)
    mark.release()
    assert running_node(tmp_path) is None
    remove_run_info(tmp_path)
    remove_run_info(tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_safe_mode_lasts_until_it_is_left(tmp_path: Path):
    assert not is_safe_mode(tmp_path)
    leave_safe_mode(tmp_path)
    enter_safe_mode(tmp_path, 3)
    enter_safe_mode(tmp_path, 4)
    assert is_safe_mode(tmp_path)
    leave_safe_mode(tmp_path)
    assert not is_safe_mode(tmp_path)


def diverged(index: int) -> Diverged:
    own, theirs = (
        Checkpoint(Digest(b"g" * 32), Epoch(1), index, Digest(b"c" * 32), Digest(root * 32))
        for root in (b"o", b"t")
    )
    signatures = (
        CheckpointSignature(ValidatorIndex(0), b"s" * 64),
        CheckpointSignature(ValidatorIndex(2), b"u" * 64),
    )
    return Diverged(own, CheckpointCertificate(theirs, signatures))


def test_evidence_of_a_divergence_holds_until_it_is_cleared_and_is_kept(tmp_path: Path):
    assert divergence_in(tmp_path) is None
    written = write_divergence(tmp_path, diverged(40), 30, {"last_commit": 44})
    write_divergence(tmp_path, diverged(200), 190, {})
    (tmp_path / "divergence-old.json").write_text("of somebody else")
    found = divergence_in(tmp_path)
    assert found == written == (40, 30, tmp_path / "divergence-40.json")
    document = json.loads(written.path.read_text())
    assert (document["own_root"], document["certificate"]["state_root"]) == ("6f" * 32, "74" * 32)
    assert [one["author"] for one in document["certificate"]["signatures"]] == [0, 2]
    assert document["last_commit"] == 44
    kept = clear_divergence(written)
    assert json.loads(kept.read_text()) == document
    assert divergence_in(tmp_path) == (200, 190, tmp_path / "divergence-200.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"served_index": null}'])
def test_evidence_that_cannot_be_read_is_still_there(tmp_path: Path, text: str):
    path = tmp_path / "divergence-7.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(StorageError, match=r"divergence-7.json: cannot be read"):
        divergence_in(tmp_path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="expected mode 0600"):
        divergence_in(tmp_path)
