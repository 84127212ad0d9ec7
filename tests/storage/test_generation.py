"""Generations of derived state: what a manifest names holds as a whole; damage is never taken for state."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage.lmdb_tools import open_store
from storage.persists import IDENTITY, check, execute, persist_of
from vertices import digest

from cherrydag.errors import ShapeError, StorageError
from cherrydag.storage import generation as module
from cherrydag.storage.generation import (
    DERIVED,
    MANIFEST,
    MANIFEST_OLD,
    NAME_BYTES_MAX,
    Generation,
    IndexRuns,
    ManifestError,
    collect_garbage,
    decode_manifest,
    encode_manifest,
    load_manifest,
    newest_generation,
    publish_manifest,
)
from cherrydag.storage.schema import Identity


def generation(commit_index: int, *runs: str) -> Generation:
    return Generation(
        IDENTITY,
        commit_index,
        f"state.{commit_index}",
        (IndexRuns("accounts", tuple(runs)), IndexRuns("ids", ())),
    )


def make(folder: Path, commit_index: int, *runs: str) -> Generation:
    """Publish a generation whose files hold their own names."""
    folder.mkdir(parents=True, exist_ok=True)
    made = generation(commit_index, *runs)
    for name in made.files:
        (folder / name).write_text(name)
    publish_manifest(folder, made)
    return made


RESERVED = (".", "..", MANIFEST, MANIFEST_OLD)
letters = st.characters(min_codepoint=33, exclude_characters="/", exclude_categories=("C", "Z"))
plain = st.text(letters, min_size=1, max_size=60).filter(lambda name: name not in RESERVED)
index_runs = st.builds(IndexRuns, plain, st.lists(plain, max_size=5).map(tuple))
generations = st.builds(
    Generation,
    st.builds(Identity, st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1)),
    st.integers(0, 2**64 - 1),
    plain,
    st.lists(index_runs, max_size=4, unique_by=lambda index: index.name).map(
        lambda found: tuple(sorted(found))
    ),
)


@given(generations)
def test_a_manifest_decodes_to_what_was_encoded(made: Generation) -> None:
    assert decode_manifest(encode_manifest(made)) == made


def test_any_change_of_a_manifest_is_found() -> None:
    encoded = encode_manifest(generation(7, "a.1", "a.2"))
    for at in range(len(encoded)):
        for bit in (0, 7):
            with pytest.raises(ManifestError):
                decode_manifest(encoded[:at] + bytes([encoded[at] ^ 1 << bit]) + encoded[at + 1 :])
        with pytest.raises(ManifestError):
            decode_manifest(encoded[:at])
    with pytest.raises(ManifestError):
        decode_manifest(encoded + b"\0")


@given(st.binary(max_size=200))
def test_sealed_nonsense_is_refused(content: bytes) -> None:
    head = encode_manifest(generation(7))[: module._HEAD.size]
    for whole in (content, head + content):
        with pytest.raises(ManifestError):
            decode_manifest(whole + module.crypto.hash_bytes(whole, module.MANIFEST_KEY))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content + b"\0",
        lambda content: content.replace(b"state.7", b"../.. 7"),
        lambda content: content.replace(b"state.7", b"sta/e.7"),
        lambda content: content.replace(b"accounts", b"zaccount"),
    ],
    ids=["longer", "a path", "a folder", "out of order"],
)
def test_a_sealed_manifest_that_nothing_encodes_is_refused(change: Callable[[bytes], bytes]) -> None:
    content = encode_manifest(generation(7))[:-32]
    changed = change(content)
    assert changed != content
    with pytest.raises(ManifestError, match="not what its generation is written as"):
        decode_manifest(changed + module.crypto.hash_bytes(changed, module.MANIFEST_KEY))


@pytest.mark.parametrize(
    "wrong",
    [
        generation(-1),
        generation(2**64),
        Generation(IDENTITY, 1, "", ()),
        Generation(IDENTITY, 1, "..", ()),
        Generation(IDENTITY, 1, "a/b", ()),
        Generation(IDENTITY, 1, "a\0b", ()),
        Generation(IDENTITY, 1, MANIFEST, ()),
        Generation(IDENTITY, 1, "x" * (NAME_BYTES_MAX + 1), ()),
        Generation(IDENTITY, 1, "s", (IndexRuns("b", ()), IndexRuns("a", ()))),
        Generation(IDENTITY, 1, "s", (IndexRuns("a", ()), IndexRuns("a", ()))),
        Generation(IDENTITY, 1, "s", (IndexRuns("a", ("x" * 250,) * 65_536),)),
        Generation(IDENTITY, 1, "s", (IndexRuns("a", ("x" * 250,) * 5_000),)),
    ],
)
def test_what_no_manifest_can_say_is_our_bug(tmp_path: Path, wrong: Generation) -> None:
    with pytest.raises(ShapeError):
        publish_manifest(tmp_path, wrong)
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name_fits() -> None:
    made = Generation(IDENTITY, 1, "x" * NAME_BYTES_MAX, ())
    assert decode_manifest(encode_manifest(made)) == made


def test_the_last_two_generations_are_kept(tmp_path: Path) -> None:
    assert load_manifest(tmp_path, IDENTITY) is None
    assert load_manifest(tmp_path / "missing", IDENTITY) is None
    first = make(tmp_path, 1, "run.1")
    assert load_manifest(tmp_path, IDENTITY) == first
    assert load_manifest(tmp_path, IDENTITY, previous=True) is None
    second, third = make(tmp_path, 2, "run.1", "run.2"), make(tmp_path, 3, "run.3")
    assert load_manifest(tmp_path, IDENTITY) == third
    assert load_manifest(tmp_path, IDENTITY, previous=True) == second


def test_what_no_manifest_names_is_garbage(tmp_path: Path) -> None:
    for index in (1, 2, 3):
        make(tmp_path, index, "run.1", f"run.{index}")
    (tmp_path / "state.4").write_text("in the making")
    (tmp_path / ".MANIFEST.new").write_text("of a crash")
    (tmp_path / "folder").mkdir()
    assert collect_garbage(tmp_path, keep=("state.4", "state.5")) == (".MANIFEST.new", "state.1")
    assert collect_garbage(tmp_path) == ("state.4",)
    assert collect_garbage(tmp_path / "missing") == ()
    left = sorted(path.name for path in tmp_path.iterdir())
    kept = ["run.1", "run.2", "run.3", "state.2", "state.3"]
    assert left == [MANIFEST, MANIFEST_OLD, "folder", *kept]


@pytest.mark.parametrize("damaged", [MANIFEST, MANIFEST_OLD])
def test_nothing_is_deleted_while_a_manifest_is_damaged(tmp_path: Path, damaged: str) -> None:
    for index in (1, 2, 3):
        make(tmp_path, index)
    (tmp_path / damaged).write_bytes(b"x" * 100)
    with pytest.raises(ManifestError):
        collect_garbage(tmp_path)
    assert (tmp_path / "state.1").exists()


def test_a_damaged_manifest_leaves_the_one_before(tmp_path: Path) -> None:
    older, newer = make(tmp_path, 1), make(tmp_path, 2)
    (tmp_path / MANIFEST).write_bytes(b"\0" * 200)
    with pytest.raises(ManifestError, match="MANIFEST: damaged, 200 bytes"):
        load_manifest(tmp_path, IDENTITY)
    assert load_manifest(tmp_path, IDENTITY, previous=True) == older
    assert newest_generation(tmp_path, IDENTITY) == older
    make(tmp_path, 3)
    assert load_manifest(tmp_path, IDENTITY, previous=True) == older  # not the damaged one
    (tmp_path / MANIFEST_OLD).unlink()
    (tmp_path / MANIFEST).write_bytes(b"")
    assert newest_generation(tmp_path, IDENTITY) is None
    assert newer.commit_index == 2


def test_a_manifest_that_was_lost_is_damage(tmp_path: Path) -> None:
    make(tmp_path, 1)
    make(tmp_path, 2)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(ManifestError, match="is missing"):
        load_manifest(tmp_path, IDENTITY)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    older = make(tmp_path, 1, "run.1")
    make(tmp_path, 2, "run.2")
    (tmp_path / "run.2").unlink()
    with pytest.raises(ManifestError, match=r"names run\.2, which is missing"):
        load_manifest(tmp_path, IDENTITY)
    assert newest_generation(tmp_path, IDENTITY) == older
    with pytest.raises(StorageError, match=r"generation 3 cannot hold, state\.3 is missing"):
        publish_manifest(tmp_path, generation(3))


@pytest.mark.parametrize(
    "identity",
    [IDENTITY._replace(genesis_digest=digest("other")), IDENTITY._replace(epoch=IDENTITY.epoch + 1)],
)
def test_another_chains_state_is_refused(tmp_path: Path, identity: Identity) -> None:
    make(tmp_path, 1)
    with pytest.raises(StorageError, match="of another chain or epoch") as refused:
        load_manifest(tmp_path, identity)
    assert not isinstance(refused.value, ManifestError)


def test_another_version_asks_for_a_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, 1)
    monkeypatch.setattr(module, "MANIFEST_VERSION", 2)
    with pytest.raises(ManifestError, match="version 1, this code 2"):
        load_manifest(tmp_path, IDENTITY)


@pytest.mark.parametrize("step", range(4))
def test_a_crash_within_publishing_leaves_a_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    older, current = make(tmp_path, 1), make(tmp_path, 2)
    steps = 0
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        nonlocal steps
        steps += 1
        if steps * 2 - 1 == step:
            raise KeyboardInterrupt
        renamed = real(path, target)
        if steps * 2 - 2 == step:
            raise KeyboardInterrupt
        return renamed

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, 3)
    monkeypatch.undo()
    found = load_manifest(tmp_path, IDENTITY)
    assert found in (current, generation(3))
    assert load_manifest(tmp_path, IDENTITY, previous=True) in (older, current)
    assert make(tmp_path, 4) == load_manifest(tmp_path, IDENTITY)
    assert "state.1" in collect_garbage(tmp_path)


# Backups


def test_a_backup_has_the_generation_and_opens_without_replay(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        for number in range(1, 11):
            store.write(persist_of(number, number))
            execute(store, number)
        store.sync()
        made = make(store.folder / DERIVED, 8, "run.1", "run.2")
        (store.folder / DERIVED / "garbage").write_text("")
        assert store.backup(tmp_path / "backup") == made
        with pytest.raises(StorageError, match="has a database already"):
            store.backup(tmp_path / "backup")
        make(store.folder / DERIVED, 9)
        make(store.folder / DERIVED, 10)
        assert collect_garbage(store.folder / DERIVED) == ("garbage", "run.1", "run.2", "state.8")
    derived = tmp_path / "backup" / DERIVED
    assert sorted(path.name for path in derived.iterdir()) == [MANIFEST, "run.1", "run.2", "state.8"]
    assert (derived / "run.2").read_text() == "run.2"
    with open_store(tmp_path / "backup", preflight=True) as copy:
        assert check(copy, 1 << 30) == 10
        assert copy.outcomes_bounds() == (1, 10)
        assert load_manifest(derived, IDENTITY) == made


def test_a_backup_takes_the_generation_that_can_be_used(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        assert store.backup(tmp_path / "none") is None
        older = make(store.folder / DERIVED, 0)
        make(store.folder / DERIVED, 1)
        (store.folder / DERIVED / MANIFEST).write_bytes(b"")
        assert store.backup(tmp_path / "older") == older
        (store.folder / DERIVED / MANIFEST_OLD).write_bytes(b"")
        assert store.backup(tmp_path / "neither") is None
    assert not (tmp_path / "neither" / DERIVED).exists()
    open_store(tmp_path / "neither").close()


def test_a_backup_to_where_files_cannot_be_linked_copies_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    with open_store(tmp_path / "store") as store:
        made = make(store.folder / DERIVED, 0, "run.1")
        monkeypatch.setattr(os, "link", refuse)
        assert store.backup(tmp_path / "backup") == made
    copied = tmp_path / "backup" / DERIVED / "run.1"
    assert copied.read_text() == "run.1"
    assert copied.stat().st_ino != (tmp_path / "store" / DERIVED / "run.1").stat().st_ino


def test_a_backup_does_not_mix_with_what_is_there(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        (tmp_path / "backup" / DERIVED).mkdir(parents=True)
        with pytest.raises(StorageError, match="or a part of one: derived"):
            store.backup(tmp_path / "backup")
