"""Files of sealed chunks: read as they were written, or refused with the place that is wrong."""

import gc
import os
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_disk import fill, small_disk

from cherrydag import crypto
from cherrydag.errors import NoRoom, ShapeError, StorageError
from cherrydag.storage.chunk_file import (
    CHUNK_BYTES_MAX,
    HEADER_BYTES_MAX,
    UNFINISHED,
    ChunkWriter,
    read_chunks,
)

CHUNKS = [(1, b"first"), (2, b""), (2, b"third" * 30), (255, b"last")]
HEAD_BYTES = 32
SEAL = 16


def write(
    folder: Path, chunks: list[tuple[int, bytes]] = CHUNKS, name: str = "state", header: bytes = b"head"
) -> Path:
    with ChunkWriter(folder, name, header) as writer:
        for kind, payload in chunks:
            writer.write(kind, payload)
        path = writer.finish()
        assert writer.bytes_written == path.stat().st_size
    return path


def read(path: Path) -> tuple[bytes, list[tuple[int, bytes]]]:
    header, chunks = read_chunks(path)
    return header, [tuple(chunk) for chunk in chunks]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(path: Path) -> str:
    with pytest.raises(StorageError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def places(
    path: Path, chunks: list[tuple[int, bytes]] = CHUNKS, header: bytes = b"head"
) -> list[tuple[int, int]]:
    """Where each chunk begins and ends, the footer's included."""
    at, found = HEAD_BYTES + len(header) + SEAL, []
    for _, payload in [*chunks, (0, bytes(8))]:
        found.append((at, at + 5 + len(payload) + SEAL))
        at = found[-1][1]
    assert at == path.stat().st_size
    return found


@given(
    header=st.binary(max_size=20),
    chunks=st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=50)), max_size=5),
)
def test_file_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, header: bytes, chunks: list[tuple[int, bytes]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    assert read(write(folder, chunks, header=header)) == (header, chunks)
    assert not (folder / f"state{UNFINISHED}").exists()


def test_layout_is_the_one_that_is_written_down(tmp_path: Path) -> None:
    """Read without the module, from its words alone."""
    octets = write(tmp_path, [(7, b"payload")], header=b"hh").read_bytes()
    key = crypto.derive_key("cherrydag 2026-11-22 checkpoint file v1", b"")

    def seal(position: int, kind: int, payload: bytes) -> bytes:
        bound = Struct("<16sQBI32s").pack(
            identity, position, kind, len(payload), crypto.hash_bytes(payload, key)
        )
        return crypto.hash_bytes(bound, key)[:16]

    identity = octets[16:32]
    head = b"chdagchk" + (1).to_bytes(4, "little") + (2).to_bytes(4, "little") + identity + b"hh"
    chunk = b"\7" + (7).to_bytes(4, "little") + b"payload"
    footer = b"\0" + (8).to_bytes(4, "little") + (1).to_bytes(8, "little")
    spelt = head + seal(2**64 - 1, 0, head) + chunk + seal(0, 7, b"payload")
    assert octets == spelt + footer + seal(1, 0, footer[5:])
    two = (2).to_bytes(8, "little")
    (tmp_path / "state").write_bytes(spelt + footer[:5] + two + seal(1, 0, two))
    assert "counts otherwise" in refusal(tmp_path / "state")


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path)
    octets = path.read_bytes()
    begin, _ = places(path)[2]
    for size in range(len(octets)):
        path.write_bytes(octets[:size])
        assert "cut off" in refusal(path)
    path.write_bytes(octets[:begin])
    assert refusal(path).endswith(f"within chunk 2 at byte {begin}")


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path)
    octets = path.read_bytes()
    for at in range(len(octets)):
        for bit in (0, 7) if at > 60 else range(8):
            path.write_bytes(octets[:at] + bytes([octets[at] ^ 1 << bit]) + octets[at + 1 :])
            refusal(path)


def test_damage_is_told_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path)
    octets = bytearray(path.read_bytes())
    begin, _ = places(path)[2]
    octets[begin + 9] ^= 4
    path.write_bytes(octets)
    assert (
        refusal(path) == f"{path}: chunk 2 at byte {begin} is damaged, or not the one that was written there"
    )
    header, chunks = read_chunks(path)
    assert header == b"head" and [next(chunks), next(chunks)] == CHUNKS[:2]


Cut = Callable[[list[bytes]], list[bytes]]


@pytest.mark.parametrize("change", [
    lambda parts: [parts[1], parts[0], *parts[2:]],
    lambda parts: [parts[0], *parts],
    lambda parts: parts[:1] + parts[2:],
    lambda parts: parts[1:],
    lambda parts: [*parts[:-2], parts[-1]],
    lambda parts: [*parts, parts[-1]],
    lambda parts: [*parts, b"x"],
    lambda parts: [*parts[:-1], parts[0], parts[-1]],
])  # fmt: skip
def test_chunks_moved_repeated_or_taken_away_are_noticed(tmp_path: Path, change: Cut) -> None:
    path = write(tmp_path, [(1, b"same"), (1, b"same"), (1, b"else")])
    octets = path.read_bytes()
    parts = [octets[a:b] for a, b in places(path, [(1, bytes(4))] * 3)]
    head = octets[: len(octets) - sum(map(len, parts))]
    path.write_bytes(head + b"".join(change(parts)))
    refusal(path)


def test_chunk_of_another_file_is_noticed(tmp_path: Path) -> None:
    """Even of one that holds the same."""
    one, other = write(tmp_path, name="one"), write(tmp_path, name="other")
    (begin, end), octets = places(one)[1], bytearray(one.read_bytes())
    octets[begin:end] = other.read_bytes()[begin:end]
    one.write_bytes(octets)
    assert "chunk 1 at byte" in refusal(one)


@pytest.mark.parametrize("at, octet, match", [
    (0, b"x", "no file of chunks"), (8, b"\2", "layout 2, this program knows 1"), (15, b"\1", "header of"),
])  # fmt: skip
def test_other_files_and_layouts_are_told_apart(tmp_path: Path, at: int, octet: bytes, match: str) -> None:
    path = write(tmp_path)
    octets = path.read_bytes()
    path.write_bytes(octets[:at] + octet + octets[at + 1 :])
    assert match in refusal(path)


def test_file_replaced_between_header_and_chunks_is_noticed(tmp_path: Path) -> None:
    _, chunks = read_chunks(write(tmp_path))
    write(tmp_path)
    with pytest.raises(StorageError, match="replaced"):
        next(chunks)


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    refusal(tmp_path / "folder")


def test_unfinished_file_has_another_name_and_goes_when_it_is_abandoned(tmp_path: Path) -> None:
    writer = ChunkWriter(tmp_path, "state", b"")
    writer.write(1, b"x")
    assert names(tmp_path) == [f"state{UNFINISHED}"]
    writer.abandon()
    writer.abandon()
    assert names(tmp_path) == []
    for use in (lambda: writer.write(1, b""), writer.finish):
        with pytest.raises(StorageError, match="has ended"):
            use()


def test_finished_file_stays_and_replaces_the_one_before(tmp_path: Path) -> None:
    write(tmp_path, [(1, b"old")])
    writer = ChunkWriter(tmp_path, "state", b"")
    writer.write(1, b"new")
    assert read(tmp_path / "state")[1] == [(1, b"old")]
    writer.finish()
    later = ChunkWriter(tmp_path, "state", b"")
    writer.abandon()
    assert read(tmp_path / "state")[1] == [(1, b"new")]
    assert (tmp_path / f"state{UNFINISHED}").exists()
    later.abandon()


def test_left_over_file_is_overwritten_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / f"state{UNFINISHED}").write_bytes(bytes(10_000))
    path = write(tmp_path)
    assert read(path) == (b"head", CHUNKS)
    other = write(tmp_path, name="fresh")
    assert other.stat().st_mode & 0o077 == 0


def test_writer_that_nobody_keeps_closes_its_file(tmp_path: Path) -> None:
    gc.collect()  # what other tests have left
    before = names(Path("/proc/self/fd"))
    ChunkWriter(tmp_path, "state", b"")
    gc.collect()
    assert names(Path("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a/"])
def test_name_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ShapeError, match="plain name"):
        ChunkWriter(tmp_path, name, b"")


def test_bounds(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="header"):
        ChunkWriter(tmp_path, "state", bytes(HEADER_BYTES_MAX + 1))
    with ChunkWriter(tmp_path, "state", bytes(HEADER_BYTES_MAX)) as writer:
        for kind, size in ((0, 1), (256, 1), (-1, 1), (1, CHUNK_BYTES_MAX + 1)):
            with pytest.raises(ShapeError, match="chunk"):
                writer.write(kind, bytes(size))
        writer.write(1, bytes(CHUNK_BYTES_MAX - 1))
        writer.write(255, bytes(CHUNK_BYTES_MAX))
        path = writer.finish()
    header, chunks = read(path)
    assert len(header) == HEADER_BYTES_MAX
    assert [(kind, len(payload)) for kind, payload in chunks] == [
        (1, CHUNK_BYTES_MAX - 1),
        (255, CHUNK_BYTES_MAX),
    ]


def test_size_beyond_the_bound_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, [(1, b"x")])
    octets = bytearray(path.read_bytes())
    begin = HEAD_BYTES + 4 + SEAL
    octets[begin + 1 : begin + 5] = (CHUNK_BYTES_MAX + 1).to_bytes(4, "little")
    path.write_bytes(octets)
    assert f"names a size of {CHUNK_BYTES_MAX + 1}" in refusal(path)


def test_disk_that_is_full_ends_the_writing_and_leaves_nothing(tmp_path: Path) -> None:
    """And what was cut short within a chunk is never given the file's name."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
        with ChunkWriter(tmp_path, "state", b"") as writer:
            with pytest.raises(StorageError, match="File too large"):
                for _ in range(10):
                    writer.write(1, bytes(1000))
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            for use in (lambda: writer.write(1, b""), writer.finish):
                with pytest.raises(StorageError, match="has ended"):
                    use()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert names(tmp_path) == []


def test_chunk_that_found_the_disk_full_is_written_again_once_there_is_room(tmp_path: Path) -> None:
    chunks = [(number, bytes([number]) * 300_000) for number in range(1, 6)]
    with small_disk(tmp_path / "disk", 2) as disk:
        with ChunkWriter(disk, "state", b"head") as writer:
            ballast = fill(disk, leaving=1_000_000)
            for number, (kind, payload) in enumerate(chunks):
                try:
                    writer.write(kind, payload)
                except NoRoom:
                    assert number == 3  # three fit, and a part of this one
                    ballast.unlink()
                    writer.write(kind, payload)
            writer.finish()
        assert not ballast.exists()
        assert read(disk / "state") == (b"head", chunks)


def test_writer_that_finds_no_room_for_its_head_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        fill(disk)
        with pytest.raises(NoRoom, match="No space left"):
            ChunkWriter(disk, "state", bytes(5000))
        assert names(disk) == ["ballast"]


def test_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        ChunkWriter(tmp_path / "none", "state", b"")


def test_file_is_durable_before_it_has_its_name_and_its_name_before_finish_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def note_sync(descriptor: int) -> None:
        acts.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        acts.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    write(tmp_path)
    assert acts == [f"sync state{UNFINISHED}", "rename", f"sync {tmp_path.name}"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def few(descriptor: int, parts: list[memoryview]) -> int:
        return os.write(descriptor, b"".join(parts)[:3])

    monkeypatch.setattr(os, "writev", few)
    assert read(write(tmp_path)) == (b"head", CHUNKS)


def test_writing_lets_other_threads_go_on(tmp_path: Path) -> None:
    """A pipe that nobody reads holds the writer up; this thread goes on all the same."""
    os.mkfifo(tmp_path / f"state{UNFINISHED}")
    reader = os.open(tmp_path / f"state{UNFINISHED}", os.O_RDONLY | os.O_NONBLOCK)
    writer = ChunkWriter(tmp_path, "state", b"")
    thread = threading.Thread(target=writer.write, args=(1, bytes(1 << 20)))
    thread.start()
    os.set_blocking(reader, True)
    taken = 0
    while taken < (1 << 20) + 5 + 2 * SEAL + HEAD_BYTES:
        taken += len(os.read(reader, 1 << 16))
    thread.join()
    os.close(reader)
    writer.abandon()
