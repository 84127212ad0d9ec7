"""Keys on disk: a private folder with a private file for each, encrypted or said not to be.

A file is JSON. Name, public key and address are in clear, so that keys can be listed without a password. The
seed is encrypted with XSalsa20-Poly1305 under scrypt of the password, or in clear for machines that start on
their own. No secret is in any repr or error; Python cannot wipe those that it has had in memory.
"""

import hashlib
import json
import re
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

from mnemonic import Mnemonic
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from cherrydag import crypto
from cherrydag.address import address_of
from cherrydag.errors import ConfigError, Rejected, StorageError
from cherrydag.params import PUBLIC_KEY_BYTES
from cherrydag.primitives import Address, PublicKey
from cherrydag.signing import SEED_BYTES, KeyPair, generate_keypair
from cherrydag.storage.directory import sync_folder
from cherrydag.storage.private_file import (
    UNFINISHED,
    check_private,
    folder_to_oneself,
    read_private,
    write_private,
)

WORDS: Final = 24
"""Words of a seed's text: BIP-39 (English) of its 32 bytes."""

NAME: Final = re.compile("[a-z0-9][a-z0-9_-]{0,63}")
"""Names of keys: they are names of files too."""

FILE_BYTES_MAX: Final = 4096
"""Largest file of a key."""

SALT_BYTES: Final = 32
BOX_BYTES: Final = SecretBox.NONCE_SIZE + SecretBox.MACBYTES + SEED_BYTES
"""An encrypted seed: nonce, tag and ciphertext."""

_KIND: Final = "cherrydag key"
_VERSION: Final = 1
_PLAIN: Final = "none"
_SEALED: Final = "scrypt, xsalsa20-poly1305"
_SUFFIX: Final = ".json"
_CHECKSUM_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 key file checksum v1", b"")

_Json: TypeAlias = dict[str, object]


class KeyRefusal(StrEnum):
    """Why a key is refused; stable codes."""

    NAME = "key_name"
    """The name cannot be a key's."""
    NAME_TAKEN = "key_name_taken"
    """There is a key of that name."""
    UNKNOWN = "key_unknown"
    """There is no key of that name."""
    PASSWORD = "key_password"  # noqa: S105 - a code
    """The password is wrong, or empty."""
    PASSWORD_MISSING = "key_password_missing"  # noqa: S105
    """The key is encrypted, and no password was given."""
    NOT_ENCRYPTED = "key_not_encrypted"
    """A password was given for a key that has none."""
    SEED = "key_seed"
    """The text is no seed."""


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """What a guess of a password costs: 128 * n * r bytes of memory, p times over (RFC 7914).

    n: a power of two, 2^14 to 2^20; r: 1 to 8; p: 1 to 16. By default 128 MiB and half a second of one core.
    Raises ConfigError outside of these bounds, so that no file makes a reader take more than 1 GiB.
    """

    n: int = 1 << 17
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if self.n not in (1 << shift for shift in range(14, 21)):
            raise ConfigError(f"scrypt.n: expected a power of two, 2^14 to 2^20, got {self.n}")
        for name, value, most in (("r", self.r, 8), ("p", self.p, 16)):
            if not 1 <= value <= most:
                raise ConfigError(f"scrypt.{name}: expected 1 to {most}, got {value}")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is known of a key without its password."""

    name: str
    public_key: PublicKey
    address: Address
    is_encrypted: bool


class Keystore:
    """The keys in one folder, which is made when the first is added. Processes may share it.

    cost: of passwords that are set from now on; each file states its own.
    password: None for a key that is not encrypted.
    Every call raises ConfigError if others than the owner may use the folder or a file, StorageError if one
    is damaged or cannot be read or written, Rejected with a KeyRefusal for what the caller can put right.
    """

    __slots__ = ("_cost", "_folder")

    def __init__(self, folder: Path, cost: ScryptCost | None = None) -> None:
        self._folder = folder
        self._cost = cost or ScryptCost()

    def list_keys(self) -> list[StoredKey]:
        """All keys, by name."""
        self._check_folder()
        names = sorted(path.stem for path in self._folder.glob(f"*{_SUFFIX}"))
        return [self._read(name).key for name in names if NAME.fullmatch(name)]

    def create(self, name: str, password: str | None) -> StoredKey:
        """A new key from the operating system's randomness."""
        return self.add(name, secrets.token_bytes(SEED_BYTES), password)

    def add(self, name: str, seed: bytes, password: str | None) -> StoredKey:
        """Keep a key that is known by its 32-byte seed. It is durable when this returns."""
        path = self._path(name)
        made = _seal(name, seed, password, self._cost)
        with self._changing():
            if path.exists():
                raise Rejected(KeyRefusal.NAME_TAKEN, f"{name}: there is a key of that name")
            write_private(path, made.encode())
        return made.key

    def add_copy(self, name: str, source: "Keystore", source_name: str) -> StoredKey:
        """Keep another keystore's key under a name of this one, encrypted as it is there."""
        path, found = self._path(name), source._read(source_name)
        made = replace(found, key=replace(found.key, name=name))
        with self._changing():
            if path.exists():
                raise Rejected(KeyRefusal.NAME_TAKEN, f"{name}: there is a key of that name")
            write_private(path, made.encode())
        return made.key

    def load(self, name: str, password: str | None) -> KeyPair:
        """The key pair, to sign with."""
        return generate_keypair(self.export(name, password))

    def export(self, name: str, password: str | None) -> bytes:
        """The 32-byte seed: who has it, has the key."""
        self._check_folder()
        return self._read(name).open(password)

    def change_password(self, name: str, password: str | None, new: str | None) -> None:
        """Encrypt the key anew, or not at all. A crash leaves the one or the other."""
        path = self._path(name)
        with self._changing():
            seed = self._read(name).open(password)
            write_private(path, _seal(name, seed, new, self._cost).encode())

    def delete(self, name: str) -> None:
        """Remove the key's file, whether it can be read or not. What the disk still holds is beyond us."""
        path = self._path(name)
        with self._changing():
            if not path.exists():
                raise _unknown(name)
            path.unlink()
            sync_folder(self._folder)

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise Rejected(KeyRefusal.NAME, f"name: expected {NAME.pattern}")
        return self._folder / f"{name}{_SUFFIX}"

    def _read(self, name: str) -> "_KeyFile":
        path = self._path(name)
        try:
            data = read_private(path, FILE_BYTES_MAX)
        except FileNotFoundError:
            raise _unknown(name) from None
        found = _decode(data, path)
        if found.key.name != name:
            raise StorageError(f"{path}: holds the key {found.key.name!r}")
        return found

    def _check_folder(self) -> None:
        if self._folder.exists():
            check_private(self._folder, self._folder.stat())

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with folder_to_oneself(self._folder) as status:
            check_private(self._folder, status)
            for unfinished in self._folder.glob(f".*{_SUFFIX}{UNFINISHED}"):
                unfinished.unlink()  # left by a crash: it may hold a seed in clear
            yield


def _unknown(name: str) -> Rejected:
    return Rejected(KeyRefusal.UNKNOWN, f"{name}: there is no key of that name")


# Seeds as text


def words_of(seed: bytes) -> str:
    """A 32-byte seed as 24 words of BIP-39: they spell the seed itself, not what wallets derive from them."""
    return _english().to_mnemonic(seed)


def seed_of_words(text: str) -> bytes:
    """The seed that 24 words spell, in any case and spacing. Rejected if they do not.

    A word that is none is named by its place, since the words themselves are secret.
    """
    words = unicodedata.normalize("NFKD", text).lower().split()
    if len(words) != WORDS:
        raise Rejected(KeyRefusal.SEED, f"words: expected {WORDS}, got {len(words)}")
    known = frozenset(_english().wordlist)
    for place, word in enumerate(words, 1):
        if word not in known:
            raise Rejected(KeyRefusal.SEED, f"words: word {place} is not in the list of BIP-39")
    if not _english().check(" ".join(words)):
        raise Rejected(KeyRefusal.SEED, "words: the checksum does not match: a word is wrong or out of place")
    return bytes(_english().to_entropy(words))


def seed_of_hex(text: str) -> bytes:
    """The seed of 64 hex digits. Rejected if they are not."""
    seed = _unhex(text.strip().lower(), SEED_BYTES)
    if seed is None:
        raise Rejected(KeyRefusal.SEED, f"seed: expected {2 * SEED_BYTES} hex digits")
    return seed


@cache
def _english() -> Mnemonic:
    return Mnemonic("english")


# Files


@dataclass(frozen=True, slots=True)
class _KeyFile:
    """secret: the seed, or its box if there is a cost."""

    key: StoredKey
    secret: bytes = field(repr=False)
    salt: bytes = b""
    cost: ScryptCost | None = None

    def open(self, password: str | None) -> bytes:
        """The seed."""
        name = self.key.name
        if self.cost is None:
            if password is not None:
                raise Rejected(
                    KeyRefusal.NOT_ENCRYPTED, f"{name}: the key is not encrypted, no password fits"
                )
            seed: bytes | None = self.secret
        elif password is None:
            raise Rejected(KeyRefusal.PASSWORD_MISSING, f"{name}: the key is encrypted, give its password")
        else:
            seed = _unbox(self.secret, _stretch(password, self.salt, self.cost))
        if seed is None:
            raise Rejected(KeyRefusal.PASSWORD, f"{name}: the password is wrong")
        if generate_keypair(seed).public_key != self.key.public_key:
            raise StorageError(f"{name}: the seed is not that of public key {self.key.public_key.hex()}")
        return seed

    def encode(self) -> bytes:
        """The file's bytes."""
        fields: _Json = {
            "kind": _KIND,
            "version": _VERSION,
            "name": self.key.name,
            "public_key": self.key.public_key.hex(),
            "address": self.key.address.hex(),
            "encryption": _SEALED if self.cost else _PLAIN,
        }
        if self.cost:
            cost = self.cost
            fields |= {"scrypt": {"n": cost.n, "r": cost.r, "p": cost.p, "salt": self.salt.hex()}}
        fields |= {"box" if self.cost else "seed": self.secret.hex()}
        return (json.dumps(fields | {"checksum": _checksum(fields)}, indent=2) + "\n").encode()


def _seal(name: str, seed: bytes, password: str | None, cost: ScryptCost) -> _KeyFile:
    public_key = generate_keypair(seed).public_key
    key = StoredKey(name, public_key, address_of(public_key), is_encrypted=password is not None)
    if password is None:
        return _KeyFile(key, seed)
    salt = secrets.token_bytes(SALT_BYTES)
    box = SecretBox(_stretch(password, salt, cost)).encrypt(seed, secrets.token_bytes(SecretBox.NONCE_SIZE))
    return _KeyFile(key, bytes(box), salt, cost)


def _stretch(password: str, salt: bytes, cost: ScryptCost) -> bytes:
    """32 bytes from a password. It is normalised: one text, typed on two machines, is one password."""
    if not password:
        raise Rejected(KeyRefusal.PASSWORD, "password: it is empty; give None for a key without encryption")
    octets = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    room = 128 * cost.r * (cost.n + cost.p + 2) + (1 << 20)
    return hashlib.scrypt(
        octets, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=room, dklen=SecretBox.KEY_SIZE
    )


def _unbox(box: bytes, key: bytes) -> bytes | None:
    try:
        return SecretBox(key).decrypt(box)
    except CryptoError:
        return None


def _decode(data: bytes, path: Path) -> _KeyFile:
    """StorageError, without a word of its content, unless the file is as it was written."""
    fields = _parse(data)
    found = _key_file(fields) if fields is not None else None
    if found is None or found.encode() != data:
        raise StorageError(f"{path}: the file is damaged, or no key of this version")
    return found


def _parse(data: bytes) -> _Json | None:
    # What json raises holds the whole text, so it must not become the cause of what we raise.
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _key_file(fields: _Json) -> _KeyFile | None:
    """The file that these fields make, None if they make none. That all is as it was written is not said."""
    name, public_key = fields.get("name"), _unhex(fields.get("public_key"), PUBLIC_KEY_BYTES)
    is_encrypted = fields.get("encryption") == _SEALED
    secret = _unhex(fields.get("box"), BOX_BYTES) if is_encrypted else _unhex(fields.get("seed"), SEED_BYTES)
    if not isinstance(name, str) or public_key is None or secret is None:
        return None
    key = StoredKey(name, PublicKey(public_key), address_of(PublicKey(public_key)), is_encrypted)
    if not is_encrypted:
        return _KeyFile(key, secret)
    scrypt = fields.get("scrypt")
    if not isinstance(scrypt, dict):
        return None
    salt, cost = _unhex(scrypt.get("salt"), SALT_BYTES), _cost([scrypt.get(name) for name in ("n", "r", "p")])
    return None if salt is None or cost is None else _KeyFile(key, secret, salt, cost)


def _cost(values: list[object]) -> ScryptCost | None:
    integers = [value for value in values if type(value) is int]
    try:
        return ScryptCost(*integers) if len(integers) == len(values) else None
    except ConfigError:
        return None


def _unhex(text: object, size: int) -> bytes | None:
    if not isinstance(text, str) or not re.fullmatch(f"[0-9a-f]{{{2 * size}}}", text):
        return None
    return bytes.fromhex(text)


def _checksum(fields: _Json) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return crypto.hash_bytes(canonical.encode(), _CHECKSUM_KEY).hex()
