"""Addresses: 20 bytes of the hash of a public key, and their text with a checksum.

The text is bech32m (BIP-350): the network's prefix, "1", a version symbol, the 160 bits of the address in
32 symbols with no bit left over, and 6 checksum symbols. It finds any four wrong characters.
"""

import re
from enum import StrEnum
from functools import lru_cache, reduce
from operator import xor
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag import crypto
from cherrydag.errors import Rejected, ShapeError
from cherrydag.params import ADDRESS_BYTES, PUBLIC_KEY_BYTES
from cherrydag.primitives import Address, PublicKey

ByteRows: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]

ADDRESS_KEY = crypto.derive_key("cherrydag 2026-11-22 address v1", b"")
"""Hashing key under which a public key becomes an address."""

TEXT_CHARS_MAX = 90
"""Longest bech32m text: beyond it the checksum's promise ends."""

_VERSION = 0  # Of the text's meaning: a 20-byte account address.
_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_NO_SYMBOL = 255
_SYMBOLS = bytes(_ALPHABET.find(chr(code)) % 256 for code in range(256))
"""Value of each character, 255 for those that are none."""
_PRINTABLE = re.compile("[!-~]*")
_CHECKSUM_SYMBOLS = 6
_ADDRESS_SYMBOLS = 1 + ADDRESS_BYTES * 8 // 5 + _CHECKSUM_SYMBOLS
_BECH32M = 0x2BC830A3
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_FEEDBACK = tuple(
    reduce(xor, (term for bit, term in enumerate(_GENERATOR) if top >> bit & 1), 0) for top in range(32)
)
"""What the five bits that a shift pushes out feed back, by their value."""


class Network(StrEnum):
    """Prefix of each network's addresses; they differ from the first letter on, for the eye."""

    MAIN = "cherry"
    TEST = "testcherry"
    DEV = "devcherry"


class AddressError(Rejected):
    """A text is not an address of the network that was asked for.

    `position` is the index in the text of the character to look at, None where there is no single one.
    Codes: address_length, address_character, address_mixed_case, address_separator, address_network,
    address_checksum, address_version.
    """

    def __init__(self, code: str, message: str, position: int | None = None) -> None:
        """Refuse with the code, less its "address_"."""
        super().__init__(f"address_{code}", message)
        self.position = position


def addresses_of(public_keys: ByteRows) -> npt.NDArray[np.uint8]:
    """Address of each of n public keys, n x 32 bytes in; returns an n x 20 uint8 array.

    Raises ShapeError unless whole keys are given.
    """
    keys = np.ascontiguousarray(byte_rows("public_keys", public_keys, PUBLIC_KEY_BYTES))
    digests = crypto.hash_records(keys, 0, PUBLIC_KEY_BYTES, ADDRESS_KEY)
    return np.frombuffer(digests, dtype=np.uint8).reshape(-1, crypto.DIGEST_BYTES)[:, :ADDRESS_BYTES]


def address_of(public_key: PublicKey) -> Address:
    """Address of one 32-byte public key."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise ShapeError(f"public_key: expected {PUBLIC_KEY_BYTES} bytes, got {len(public_key)}")
    return Address(crypto.hash_bytes(public_key, ADDRESS_KEY)[:ADDRESS_BYTES])


def encode_address(address: Address, network: Network) -> str:
    """Text of a 20-byte address on a network, in lower case."""
    if len(address) != ADDRESS_BYTES:
        raise ShapeError(f"address: expected {ADDRESS_BYTES} bytes, got {len(address)}")
    bits = int.from_bytes(address, "big")
    symbols = [_VERSION, *[bits >> shift & 31 for shift in range(ADDRESS_BYTES * 8 - 5, -1, -5)]]
    text = "".join([_ALPHABET[symbol] for symbol in symbols + checksum(network.value, symbols)])
    return f"{network.value}1{text}"


def decode_address(text: str, network: Network) -> Address:
    """Address that `text` spells, upper or lower case; AddressError if it is none of `network`'s.

    A wrong character is named by its position where a single one explains the mismatch. What it should have
    been is not said: whoever corrects a guess pays a stranger.
    """
    separator = text.find("1")
    prefix, symbols = split_text(text, separator)
    if prefix != network.value:
        raise AddressError("network", f"expected an address of {network.value!r}, got one of {prefix!r}")
    if len(symbols) != _ADDRESS_SYMBOLS:
        wanted, got = separator + 1 + _ADDRESS_SYMBOLS, len(text)
        raise AddressError("length", f"an address of {prefix!r} has {wanted} characters, this text has {got}")
    residue = _residue(prefix, symbols)
    if residue != _BECH32M:
        raise _checksum_error(text, residue ^ _BECH32M, separator)
    if symbols[0] != _VERSION:
        raise AddressError("version", f"address version {symbols[0]} is not known here", separator + 1)
    bits = 0
    for symbol in symbols[1:-_CHECKSUM_SYMBOLS]:
        bits = bits << 5 | symbol
    return Address(bits.to_bytes(ADDRESS_BYTES, "big"))


def byte_rows(field: str, value: ByteRows, width: int) -> npt.NDArray[np.uint8]:
    """View bytes, or a uint8 array of one or two dimensions, as an n x width array.

    Raises ShapeError naming `field` if there are no whole rows of that width.
    """
    octets = value if isinstance(value, np.ndarray) else np.frombuffer(value, dtype=np.uint8)
    if octets.dtype != np.uint8:
        raise ShapeError(f"{field}: expected uint8, got {octets.dtype}")
    if octets.ndim == 1 and octets.size % width == 0:
        return octets.reshape(-1, width)
    if octets.ndim != 2 or octets.shape[1] != width:
        raise ShapeError(f"{field}: expected rows of {width} bytes, got shape {octets.shape}")
    return octets


def split_text(text: str, separator: int) -> tuple[str, list[int]]:
    """Prefix and symbols of a bech32m text, its form checked but not its checksum.

    separator: index of the "1" between the two; negative or 0 is refused as missing.
    """
    if len(text) > TEXT_CHARS_MAX:
        raise AddressError(
            "length", f"the text has {len(text)} characters; at most {TEXT_CHARS_MAX} are allowed"
        )
    if not _PRINTABLE.fullmatch(text):
        raise _bad_character(text, next(at for at, one in enumerate(text) if not "!" <= one <= "~"))
    lower = text.lower()
    if text not in (lower, text.upper()):
        raise AddressError("mixed_case", "the text mixes upper and lower case")
    if separator < 1:
        raise AddressError("separator", "no prefix before a '1' was found")
    symbols = list(lower[separator + 1 :].encode("ascii").translate(_SYMBOLS))
    if _NO_SYMBOL in symbols:
        raise _bad_character(text, separator + 1 + symbols.index(_NO_SYMBOL))
    if len(symbols) < _CHECKSUM_SYMBOLS:
        raise AddressError("length", f"{len(symbols)} characters after '1' cannot hold a checksum")
    return lower[:separator], symbols


def checksum(prefix: str, symbols: list[int]) -> list[int]:
    """The 6 symbols that complete `symbols` under `prefix` (bech32m)."""
    residue = _residue(prefix, symbols + [0] * _CHECKSUM_SYMBOLS) ^ _BECH32M
    return [residue >> 5 * place & 31 for place in reversed(range(_CHECKSUM_SYMBOLS))]


def _residue(prefix: str, symbols: list[int]) -> int:
    """Remainder of prefix and symbols by the BCH code's generator; _BECH32M for a valid text."""
    state = _prefix_residue(prefix)
    for symbol in symbols:
        state = (state & 0x1FFFFFF) << 5 ^ _FEEDBACK[state >> 25] ^ symbol
    return state


@lru_cache(maxsize=8)
def _prefix_residue(prefix: str) -> int:
    """What each text of a prefix begins with."""
    codes = prefix.encode("ascii")
    state = 1
    for symbol in [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]:
        state = (state & 0x1FFFFFF) << 5 ^ _FEEDBACK[state >> 25] ^ symbol
    return state


def _shift(state: int) -> int:
    """Multiply by x in the code's ring."""
    return (state & 0x1FFFFFF) << 5 ^ _FEEDBACK[state >> 25]


def _bad_character(text: str, position: int) -> AddressError:
    message = f"character {position + 1}, {text[position]!r}, cannot occur there"
    return AddressError("character", message, position)


def _checksum_error(text: str, difference: int, separator: int) -> AddressError:
    """The error, with the position of the one character whose change explains the difference, if any.

    The code is linear: a symbol that is off by d and followed by k others shifts the residue by d * x^k.
    Its distance is 5, so at most one place fits.
    """
    for off_by in range(1, 32):
        shifted = off_by
        for position in range(len(text) - 1, separator, -1):
            if shifted == difference:
                message = (
                    f"the checksum does not match: re-check character {position + 1}, {text[position]!r}"
                )
                return AddressError("checksum", message, position)
            shifted = _shift(shifted)
    return AddressError("checksum", "the checksum does not match: more than one character is wrong")
