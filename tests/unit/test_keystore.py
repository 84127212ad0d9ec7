"""Keys on disk: private, whole, and silent about their secrets."""

import json
import logging
import os
import stat
import traceback
import unicodedata
from collections.abc import Callable
from hashlib import scrypt, sha256
from pathlib import Path
from typing import Any

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_secretbox_open

from cherrydag import keystore as module
from cherrydag.address import address_of
from cherrydag.errors import CherrydagError, ConfigError, Rejected, ShapeError, StorageError
from cherrydag.keystore import (
    FILE_BYTES_MAX,
    KeyRefusal,
    Keystore,
    ScryptCost,
    StoredKey,
    seed_of_hex,
    seed_of_words,
    words_of,
)
from cherrydag.signing import KeyPair, ValidatorSigner, generate_keypair, sign_digest

SEED = bytes(range(1, 33))
PAIR = generate_keypair(SEED)
PASSWORD = "correct horse"
WRONG = "correct hors"
CHEAP = ScryptCost(n=1 << 14, r=1)
NO_WORD = "hunter2"
LEGAL = "legal winner thank year wave sausage worth"
LETTER = "letter advice cage absurd amount doctor acoustic"


@pytest.fixture
def store(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "keys", CHEAP)


def file_of(tmp_path: Path, name: str = "alice") -> Path:
    return tmp_path / "keys" / f"{name}.json"


def refusal(call: Callable[[], object]) -> Rejected:
    with pytest.raises(Rejected) as caught:
        call()
    assert isinstance(caught.value.code, KeyRefusal)
    return caught.value


def rewritten(path: Path, **changes: object) -> None:
    """The file with other fields and a checksum that fits them; None leaves a field out."""
    fields = json.loads(path.read_bytes()) | changes
    fields = {name: value for name, value in fields.items() if value is not None and name != "checksum"}
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    key = blake3.blake3(b"", derive_key_context="cherrydag 2026-11-22 key file checksum v1").digest()
    fields["checksum"] = blake3.blake3(canonical, key=key).hexdigest()
    path.write_text(json.dumps(fields, indent=2) + "\n")


# Round trips


def test_key_is_kept_encrypted_and_found_again(store: Keystore) -> None:
    made = store.add("alice", SEED, PASSWORD)
    assert made == StoredKey("alice", PAIR.public_key, address_of(PAIR.public_key), is_encrypted=True)
    assert store.list_keys() == [made]
    loaded = store.load("alice", PASSWORD)
    assert (loaded.public_key, loaded.secret_key) == (PAIR.public_key, PAIR.secret_key)
    assert store.export("alice", PASSWORD) == SEED


def test_key_without_password_says_so(store: Keystore, tmp_path: Path) -> None:
    made = store.add("machine", SEED, None)
    assert not made.is_encrypted
    assert store.load("machine", None) == PAIR
    fields = json.loads(file_of(tmp_path, "machine").read_bytes())
    assert (fields["encryption"], fields["seed"]) == ("none", SEED.hex())
    assert {"box", "scrypt"}.isdisjoint(fields)


def test_created_keys_differ_and_are_listed_by_name(store: Keystore) -> None:
    made = [store.create(name, None) for name in ("zoe", "a", "b-2", "0_x")]
    assert len({key.public_key for key in made}) == 4
    assert [key.name for key in store.list_keys()] == ["0_x", "a", "b-2", "zoe"]
    for key in made:
        assert store.load(key.name, None).public_key == key.public_key


def test_missing_folder_has_no_keys_and_is_made_private(store: Keystore, tmp_path: Path) -> None:
    assert store.list_keys() == []
    assert not (tmp_path / "keys").exists()
    before = os.umask(0)
    try:
        store.add("alice", SEED, None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600


def test_file_opens_with_scrypt_and_secretbox_alone(store: Keystore, tmp_path: Path) -> None:
    """Whoever has the file, the password and any scrypt and NaCl can have the key."""
    store.add("alice", SEED, PASSWORD)
    fields = json.loads(file_of(tmp_path).read_bytes())
    assert list(fields) == [
        *("kind", "version", "name", "public_key", "address", "encryption", "scrypt", "box", "checksum")
    ]
    assert fields["kind"] == "cherrydag key"
    assert fields["encryption"] == "scrypt, xsalsa20-poly1305"
    assert fields["public_key"] == PAIR.public_key.hex()
    assert fields["address"] == address_of(PAIR.public_key).hex()
    cost = fields["scrypt"]
    assert (cost["n"], cost["r"], cost["p"]) == (CHEAP.n, CHEAP.r, CHEAP.p)
    salt, box = bytes.fromhex(cost["salt"]), bytes.fromhex(fields["box"])
    key = scrypt(PASSWORD.encode(), salt=salt, n=cost["n"], r=cost["r"], p=cost["p"], dklen=32)
    assert crypto_secretbox_open(box[24:], box[:24], key) == SEED


def test_each_encryption_has_its_own_salt_and_nonce(store: Keystore, tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        store.add(name, SEED, PASSWORD)
        files.append(json.loads(file_of(tmp_path, name).read_bytes()))
    assert files[0]["scrypt"]["salt"] != files[1]["scrypt"]["salt"]
    assert files[0]["box"][:48] != files[1]["box"][:48]


def test_password_is_one_text_however_it_was_composed(store: Keystore) -> None:
    composed = "pässwörd ﬁ"
    store.add("alice", SEED, unicodedata.normalize("NFD", composed))
    assert store.load("alice", unicodedata.normalize("NFC", composed)) == PAIR


def test_password_can_be_changed_set_and_taken_away(store: Keystore) -> None:
    store.add("alice", SEED, "one")
    for old, new in (("one", "two"), ("two", None), (None, "three")):
        store.change_password("alice", old, new)
        assert store.export("alice", new) == SEED
        assert store.list_keys()[0].is_encrypted == (new is not None)
        assert refusal(lambda old=old: store.load("alice", old)).code in (
            KeyRefusal.PASSWORD,
            KeyRefusal.NOT_ENCRYPTED,
            KeyRefusal.PASSWORD_MISSING,
        )


def test_password_is_not_changed_without_the_old_one(store: Keystore, tmp_path: Path) -> None:
    store.add("alice", SEED, "one")
    before = file_of(tmp_path).read_bytes()
    assert refusal(lambda: store.change_password("alice", "two", "three")).code == KeyRefusal.PASSWORD
    assert refusal(lambda: store.change_password("alice", "one", "")).code == KeyRefusal.PASSWORD
    assert file_of(tmp_path).read_bytes() == before


def test_deleted_key_is_gone(store: Keystore, tmp_path: Path) -> None:
    store.add("alice", SEED, None)
    store.add("bob", SEED, None)
    file_of(tmp_path).write_bytes(b"damaged")
    store.delete("alice")
    assert [key.name for key in store.list_keys()] == ["bob"]
    for call in (lambda: store.delete("alice"), lambda: store.load("alice", None)):
        assert refusal(call).code == KeyRefusal.UNKNOWN
    store.add("alice", SEED, None)


# Refusals


def test_wrong_missing_and_needless_passwords_are_told_apart(store: Keystore) -> None:
    store.add("alice", SEED, PASSWORD)
    store.add("machine", SEED, None)
    assert refusal(lambda: store.load("alice", PASSWORD + " ")).code == KeyRefusal.PASSWORD
    assert refusal(lambda: store.load("alice", "")).code == KeyRefusal.PASSWORD
    assert refusal(lambda: store.load("alice", None)).code == KeyRefusal.PASSWORD_MISSING
    assert refusal(lambda: store.load("machine", PASSWORD)).code == KeyRefusal.NOT_ENCRYPTED
    assert refusal(lambda: store.create("bob", "")).code == KeyRefusal.PASSWORD


def test_taken_name_is_refused_and_the_key_stays(store: Keystore, tmp_path: Path) -> None:
    store.add("alice", SEED, None)
    before = file_of(tmp_path).read_bytes()
    assert refusal(lambda: store.create("alice", None)).code == KeyRefusal.NAME_TAKEN
    assert file_of(tmp_path).read_bytes() == before


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", ".a", "-a", "a.b", "a" * 65, "a\n", "ä", "a\0"])
def test_names_are_names_of_files(store: Keystore, tmp_path: Path, name: str) -> None:
    for call in (
        lambda: store.create(name, None),
        lambda: store.load(name, None),
        lambda: store.delete(name),
        lambda: store.change_password(name, None, None),
    ):
        assert refusal(call).code == KeyRefusal.NAME
    assert not (tmp_path / "keys").exists()


def test_longest_name_is_taken(store: Keystore) -> None:
    assert store.create("a" * 64, None).name == "a" * 64


def test_seed_of_another_length_is_our_bug(store: Keystore) -> None:
    for size in (31, 33):
        with pytest.raises(ShapeError, match=f"got {size}"):
            store.add("alice", bytes(size), None)


@pytest.mark.parametrize("bit", [0o001, 0o002, 0o004, 0o010, 0o020, 0o040])
def test_what_is_open_to_others_is_refused(store: Keystore, tmp_path: Path, bit: int) -> None:
    store.add("alice", SEED, None)
    path, folder = file_of(tmp_path), tmp_path / "keys"
    calls = (
        store.list_keys,
        lambda: store.load("alice", None),
        lambda: store.change_password("alice", None, "x"),
    )
    path.chmod(0o600 | bit)
    for call in calls:
        with pytest.raises(ConfigError, match=f"expected mode 0600, got 0{0o600 | bit:o}: chmod 600 {path}"):
            call()
    path.chmod(0o600)
    folder.chmod(0o700 | bit)
    for call in (*calls, lambda: store.create("bob", None), lambda: store.delete("alice")):
        with pytest.raises(
            ConfigError, match=f"expected mode 0700, got 0{0o700 | bit:o}: chmod 700 {folder}"
        ):
            call()
    folder.chmod(0o700)
    assert store.load("alice", None) == PAIR


def test_what_is_no_plain_file_is_refused(store: Keystore, tmp_path: Path) -> None:
    store.add("bob", SEED, None)
    os.mkfifo(file_of(tmp_path), 0o600)
    with pytest.raises(ConfigError, match="expected a plain file"):
        store.load("alice", None)


def test_other_files_in_the_folder_are_left_alone(store: Keystore, tmp_path: Path) -> None:
    store.add("alice", SEED, None)
    for name in ("README.md", "Alice.json", ".hidden.json"):
        (tmp_path / "keys" / name).write_text("x")
    assert [key.name for key in store.list_keys()] == ["alice"]
    store.create("bob", None)
    assert len(list((tmp_path / "keys").iterdir())) == 5


# Damage


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_any_changed_byte_is_damage_and_never_a_wrong_password(
    store: Keystore, tmp_path: Path, password: str | None
) -> None:
    store.add("alice", SEED, password)
    path = file_of(tmp_path)
    before = path.read_bytes()
    damaged = [before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :] for at in range(len(before))]
    damaged += [before[:size] for size in range(0, len(before), 7)] + [
        before + b"\n",
        b"",
        b"[" * 3000,
        b"\xff",
    ]
    for octets in damaged:
        path.write_bytes(octets)
        with pytest.raises(StorageError, match="the file is damaged, or no key of this version"):
            store.load("alice", password)
    with pytest.raises(StorageError, match="the file is damaged"):
        store.list_keys()
    path.write_bytes(before)
    assert store.load("alice", password) == PAIR


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"kind": "a key"},
        {"more": 1},
        {"address": "00" * 20},
        {"public_key": "00" * 31},
        {"public_key": 5},
        {"name": 5},
        {"encryption": "none"},
        {"box": None},
        {"box": "00" * 71},
        {"scrypt": None},
        {"scrypt": []},
        {"scrypt": {"n": 1 << 13, "r": 1, "p": 1, "salt": "00" * 32}},
        {"scrypt": {"n": 1 << 21, "r": 1, "p": 1, "salt": "00" * 32}},
        {"scrypt": {"n": (1 << 14) + 1, "r": 1, "p": 1, "salt": "00" * 32}},
        {"scrypt": {"n": 1 << 14, "r": 9, "p": 1, "salt": "00" * 32}},
        {"scrypt": {"n": 1 << 14, "r": 1, "p": 17, "salt": "00" * 32}},
        {"scrypt": {"n": 1 << 14, "r": True, "p": 1, "salt": "00" * 32}},
        {"scrypt": {"n": 1 << 14, "r": 1, "salt": "00" * 32}},
        {"scrypt": {"n": 1 << 14, "r": 1, "p": 1, "salt": "00" * 31}},
    ],
)
def test_fields_that_no_key_has_are_refused_before_any_work(
    store: Keystore, tmp_path: Path, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add("alice", SEED, PASSWORD)
    rewritten(file_of(tmp_path))
    assert store.load("alice", PASSWORD) == PAIR
    rewritten(file_of(tmp_path), **changes)
    monkeypatch.setattr(module.hashlib, "scrypt", None)
    with pytest.raises(StorageError, match="the file is damaged, or no key of this version"):
        store.load("alice", PASSWORD)


def test_key_under_another_name_is_noticed(store: Keystore, tmp_path: Path) -> None:
    store.add("alice", SEED, None)
    file_of(tmp_path).rename(file_of(tmp_path, "bob"))
    with pytest.raises(StorageError, match="holds the key 'alice'"):
        store.load("bob", None)


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_seed_that_is_not_of_the_key_in_clear_is_noticed(
    store: Keystore, tmp_path: Path, password: str | None
) -> None:
    store.add("alice", SEED, password)
    other = generate_keypair(bytes(32)).public_key
    rewritten(file_of(tmp_path), public_key=other.hex(), address=address_of(other).hex())
    with pytest.raises(StorageError, match=f"not that of public key {other.hex()}"):
        store.load("alice", password)


def test_size_is_bounded(store: Keystore, tmp_path: Path) -> None:
    store.add("alice", SEED, PASSWORD)
    store.add("a" * 64, SEED, PASSWORD)
    path = file_of(tmp_path)
    assert file_of(tmp_path, "a" * 64).stat().st_size < FILE_BYTES_MAX
    for size, said in (
        (FILE_BYTES_MAX, "damaged"),
        (FILE_BYTES_MAX + 1, f"more than {FILE_BYTES_MAX} bytes"),
    ):
        path.write_bytes(b" " * size)
        with pytest.raises(StorageError, match=said):
            store.load("alice", PASSWORD)


@pytest.mark.parametrize(("n", "r", "p"), [(1 << 14, 1, 1), (1 << 20, 8, 16), (1 << 17, 8, 1)])
def test_costs_within_the_bounds_are_taken(n: int, r: int, p: int) -> None:
    assert ScryptCost(n, r, p).n == n


@pytest.mark.parametrize(
    ("n", "r", "p", "said"),
    [
        *((n, 8, 1, "scrypt.n") for n in (0, 1, 1 << 13, (1 << 14) - 1, 1 << 21)),
        *((1 << 14, r, 1, "scrypt.r: expected 1 to 8") for r in (0, 9)),
        *((1 << 14, 8, p, "scrypt.p: expected 1 to 16") for p in (0, 17)),
    ],
)
def test_costs_beyond_the_bounds_are_refused(n: int, r: int, p: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ScryptCost(n, r, p)


# Crashes


@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("change", ["add", "change_password"])
def test_crash_leaves_the_key_as_it_was_or_as_it_is_to_be(
    store: Keystore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, change: str
) -> None:
    class Cut(BaseException):
        pass

    store.add("bob", SEED, None)
    if change != "add":
        store.add("alice", SEED, None)
    steps = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == step + 1:
                raise Cut
            return real(*args, **named)

        return call

    with monkeypatch.context() as patched:
        for name in ("open", "fchmod", "fsync", "rename"):
            patched.setattr(os, name, counted(getattr(os, name)))
        try:
            if change == "add":
                store.add("alice", SEED, None)
            else:
                store.change_password("alice", None, PASSWORD)
            assert step > 5
        except Cut:
            assert step < 8
    found = {key.name: key.is_encrypted for key in store.list_keys()}
    assert found.pop("bob") is False
    if change == "add":
        assert found in ({}, {"alice": False})
    else:
        assert store.export("alice", PASSWORD if found["alice"] else None) == SEED
    store.add("carol", SEED, None)
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == sorted(
        f"{name}.json" for name in ("bob", "carol", *found)
    )


def test_file_is_durable_before_it_has_its_name(store: Keystore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add("bob", SEED, None)
    calls: list[str] = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))[1]
        )
    store.add("alice", SEED, None)
    assert calls == ["fsync", "rename", "fsync"]


# Words and hex


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        # The test vectors of BIP-39, for 256 bits of entropy.
        (bytes(32), "abandon " * 23 + "art"),
        (b"\x7f" * 32, f"{LEGAL} useful {LEGAL} useful {LEGAL} title"),
        (b"\x80" * 32, f"{LETTER} avoid {LETTER} avoid {LETTER} bless"),
        (b"\xff" * 32, "zoo " * 23 + "vote"),
    ],
)
def test_published_words(seed: bytes, words: str) -> None:
    assert words_of(seed) == words
    assert seed_of_words(words) == seed


@settings(max_examples=50)
@given(st.binary(min_size=32, max_size=32))
def test_any_seed_comes_back_from_words_and_hex(seed: bytes) -> None:
    words = words_of(seed)
    assert len(words.split()) == 24
    assert seed_of_words(f"\n {words.upper().replace(' ', '  ')}\t") == seed
    assert seed_of_hex(f" {seed.hex().upper()}\n") == seed


def test_words_end_with_eight_bits_of_checksum() -> None:
    words = words_of(SEED).split()
    listed = module._english().wordlist
    for last in [*range(0, 2048, 32), listed.index(words[-1])]:
        number = 0
        for word in words[:-1]:
            number = number << 11 | listed.index(word)
        entropy, check = divmod(number << 11 | last, 256)
        seed = entropy.to_bytes(32, "big")
        text = " ".join([*words[:-1], listed[last]])
        if sha256(seed).digest()[0] == check:
            assert seed_of_words(text) == seed
        else:
            assert "the checksum does not match" in str(refusal(lambda text=text: seed_of_words(text)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda words: words[:-1], "expected 24, got 23"),
        (lambda words: [*words, "art"], "expected 24, got 25"),
        (lambda words: [], "expected 24, got 0"),
        (lambda words: [*words[:6], NO_WORD, *words[7:]], "word 7 is not in the list"),
        (lambda words: [words[1], words[0], *words[2:]], "the checksum does not match"),
    ],
)
def test_wrong_words_are_named_by_place(change: Callable[[list[str]], list[str]], said: str) -> None:
    error = refusal(lambda: seed_of_words(" ".join(change(words_of(SEED).split()))))
    assert error.code == KeyRefusal.SEED
    assert said in str(error)
    assert NO_WORD not in str(error)


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "0" * 63, "0g" * 32, "0x" + "00" * 31])
def test_wrong_hex_is_refused(text: str) -> None:
    error = refusal(lambda: seed_of_hex(text))
    assert (error.code, str(error)) == (KeyRefusal.SEED, "seed: expected 64 hex digits")


# Silence


def everything_said(error: BaseException) -> str:
    """What a log could hold of an error: it and all that it came from, with their attributes."""
    said = "".join(traceback.format_exception(error))
    linked: BaseException | None = error
    while linked is not None:
        said += f"{linked!r} {linked} {linked.args} {getattr(linked, '__dict__', {})}"
        said += " ".join(str(getattr(linked, name, "")) for name in ("doc", "object", "code"))
        linked = linked.__cause__ or linked.__context__
    return said


def test_no_error_repr_or_log_shows_a_secret(
    store: Keystore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    words = words_of(SEED)
    store.add("alice", SEED, PASSWORD)
    store.add("machine", SEED, None)
    path, plain = file_of(tmp_path), file_of(tmp_path, "machine")
    sealed_file, plain_file = path.read_bytes(), plain.read_bytes()
    pair = store.load("alice", PASSWORD)
    shown = [repr(value) for value in (store, pair, ValidatorSigner(pair), store.list_keys())]
    shown += [repr(module._decode(sealed_file, path)), repr(module._decode(plain_file, plain))]

    def damaged(target: Path, octets: bytes) -> Callable[[], object]:
        def call() -> object:
            target.write_bytes(octets)
            return store.load(target.stem, None)

        return call

    calls: list[Callable[[], object]] = [
        lambda: store.load("alice", WRONG),
        lambda: store.load("machine", PASSWORD),
        lambda: store.add("machine", SEED, PASSWORD),
        lambda: store.add("bob", SEED + b"x", PASSWORD),
        lambda: store.change_password("alice", PASSWORD, ""),
        lambda: seed_of_words(words[:-3]),
        lambda: seed_of_words(words.replace(words.split()[3], NO_WORD)),
        lambda: seed_of_words(" ".join(reversed(words.split()))),
        lambda: seed_of_hex(SEED.hex()[:-1] + "g"),
        damaged(plain, plain_file[:-2]),
        damaged(plain, plain_file.replace(b'"seed"', b'"sead"')),
        damaged(plain, plain_file.replace(b"none", b"\xffone")),
        damaged(plain, plain_file.replace(SEED.hex().encode()[-1:] + b'"', b'g"')),
    ]
    for call in calls:
        with pytest.raises(CherrydagError) as caught:
            call()
        shown.append(everything_said(caught.value))
    secrets = [SEED.hex()[:16], repr(SEED)[2:20], repr(pair.secret_key)[2:20], NO_WORD, WRONG]
    secrets += [" ".join(words.split()[:2]), *(word for word in words.split() if len(word) > 7)]
    for text in (*shown, caplog.text):
        for secret in secrets:
            assert secret not in text, text


# Signing


def test_validator_signs_with_its_key() -> None:
    signer = ValidatorSigner(PAIR)
    assert signer.public_key == PAIR.public_key
    assert signer.sign(b"d" * 32) == sign_digest(b"d" * 32, PAIR)
    with pytest.raises(ShapeError):
        signer.sign(b"d" * 31)
    assert signer == ValidatorSigner(KeyPair(PAIR.public_key, b""))
