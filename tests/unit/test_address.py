"""Addresses and their text: what is refused, with which code, and where the typo is said to be."""

import random

import blake3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherrydag.address import (
    ADDRESS_KEY,
    AddressError,
    Network,
    address_of,
    addresses_of,
    checksum,
    decode_address,
    encode_address,
    split_text,
)
from cherrydag.errors import Rejected, ShapeError
from cherrydag.primitives import Address, PublicKey

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
ADDRESS = Address(bytes(range(7, 27)))
TEXT = encode_address(ADDRESS, Network.MAIN)

# BIP-350, "Test vectors for Bech32m".
BIP350_VALID = [
    "A1LQFN3A",
    "a1lqfn3a",
    "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
    "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
    "11" + "l" * 82 + "ludsr8",
    "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    "?1v759aa",
]
BIP350_INVALID = [
    ("\x201xj0phk", "address_character"),
    ("\x7f1g6xzxy", "address_character"),
    ("\x801vctc34", "address_character"),
    (
        "an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4",
        "address_length",
    ),
    ("qyrz8wqd2c9m", "address_separator"),
    ("1qyrz8wqd2c9m", "address_separator"),
    ("y1b0jsk6g", "address_character"),
    ("lt1igcx5c0", "address_character"),
    ("in1muywd", "address_length"),
    ("mm1crxm3i", "address_character"),
    ("au1s5cgom", "address_character"),
    ("M1VUXWEZ", "checksum"),
    ("16plkw9", "address_separator"),
    ("1p2gdwpf", "address_separator"),
]


def bip350_verdict(text: str) -> str:
    try:
        prefix, symbols = split_text(text, text.rfind("1"))
    except AddressError as error:
        return error.code
    return "valid" if checksum(prefix, symbols[:-6]) == symbols[-6:] else "checksum"


def refusal(text: str, network: Network = Network.MAIN) -> AddressError:
    with pytest.raises(AddressError) as caught:
        decode_address(text, network)
    return caught.value


@pytest.mark.parametrize("text", BIP350_VALID)
def test_published_valid_texts_are_valid(text: str) -> None:
    assert bip350_verdict(text) == "valid"


@pytest.mark.parametrize(("text", "verdict"), BIP350_INVALID)
def test_published_invalid_texts_are_invalid(text: str, verdict: str) -> None:
    assert bip350_verdict(text) == verdict


def test_old_bech32_constant_is_refused() -> None:
    assert bip350_verdict("A12UEL5L") == "checksum"


def test_address_is_keyed_blake3_of_the_public_key() -> None:
    keys = [random.Random(row).randbytes(32) for row in range(5)]
    expected = [blake3.blake3(key, key=ADDRESS_KEY).digest()[:20] for key in keys]
    assert [address_of(PublicKey(key)) for key in keys] == expected
    batch = np.frombuffer(b"".join(keys), np.uint8).reshape(5, 32)
    assert addresses_of(batch).tobytes() == b"".join(expected)
    assert addresses_of(b"".join(keys)).shape == (5, 20)
    assert addresses_of(np.hstack([batch, batch])[:, :32]).tobytes() == b"".join(expected)
    assert addresses_of(b"").shape == (0, 20)


def test_address_key_is_fixed() -> None:
    assert blake3.blake3(b"", derive_key_context="cherrydag 2026-11-22 address v1").digest() == ADDRESS_KEY


def test_keys_of_another_length_have_no_address() -> None:
    with pytest.raises(ShapeError, match="got 31"):
        address_of(PublicKey(bytes(31)))
    for shape in [(33,), (2, 16), (1, 33)]:
        with pytest.raises(ShapeError, match="public_keys"):
            addresses_of(np.zeros(shape, np.uint8))
    with pytest.raises(ShapeError, match="address"):
        encode_address(Address(bytes(19)), Network.MAIN)


@given(st.binary(min_size=20, max_size=20), st.sampled_from(Network))
def test_any_address_round_trips_in_either_case(raw: bytes, network: Network) -> None:
    text = encode_address(Address(raw), network)
    assert text.startswith(network + "1")
    assert decode_address(text, network) == raw
    assert decode_address(text.upper(), network) == raw


def test_text_is_pinned() -> None:
    assert TEXT == "cherry1qquyqjzstpsxsurcszyfpx9q4zct3sxg6w5er88"
    assert isinstance(refusal("x"), Rejected)


def test_typo_is_refused_with_its_position() -> None:
    for position in range(len("cherry1"), len(TEXT)):
        for other in ALPHABET.replace(TEXT[position], ""):
            error = refusal(TEXT[:position] + other + TEXT[position + 1 :])
            assert (error.code, error.position) == ("address_checksum", position)
            assert f"re-check character {position + 1}, {other!r}" in str(error)


def test_typo_in_upper_case_shows_the_character_as_typed() -> None:
    error = refusal(TEXT.upper().replace("CHERRY1Q", "CHERRY1P"))
    assert "re-check character 8, 'P'" in str(error)


def test_any_single_printable_substitution_is_refused() -> None:
    for position in range(len(TEXT)):
        for other in map(chr, range(256)):
            if other.lower() != TEXT[position]:
                refusal(TEXT[:position] + other + TEXT[position + 1 :])


def test_adjacent_swaps_are_refused_without_a_guessed_position() -> None:
    swapped = 0
    for at in range(len("cherry1"), len(TEXT) - 1):
        if TEXT[at] != TEXT[at + 1]:
            error = refusal(TEXT[:at] + TEXT[at + 1] + TEXT[at] + TEXT[at + 2 :])
            assert (error.code, error.position) == ("address_checksum", None)
            assert "more than one character" in str(error)
            swapped += 1
    assert swapped > 30


def test_up_to_four_wrong_characters_are_refused() -> None:
    rng = random.Random(3)
    for _ in range(500):
        symbols = list(TEXT)
        for position in rng.sample(range(len("cherry1"), len(TEXT)), rng.randint(2, 4)):
            symbols[position] = rng.choice(ALPHABET.replace(symbols[position], ""))
        assert refusal("".join(symbols)).code == "address_checksum"


def test_other_network_is_named() -> None:
    for asked in Network:
        for written in Network:
            if asked is not written:
                error = refusal(encode_address(ADDRESS, written), asked)
                assert error.code == "address_network"
                assert str(error) == f"expected an address of '{asked}', got one of '{written}'"


@pytest.mark.parametrize(
    ("text", "code", "said", "position"),
    [
        (TEXT[:-1], "address_length", "has 46 characters, this text has 45", None),
        (TEXT + "q", "address_length", "has 46 characters, this text has 47", None),
        (TEXT + "q" * 44, "address_length", "has 46 characters, this text has 90", None),
        (TEXT + "q" * 45, "address_length", "the text has 91 characters; at most 90", None),
        ("cherry1qqqqq", "address_length", "5 characters after '1' cannot hold a checksum", None),
        (TEXT[:10].upper() + TEXT[10:], "address_mixed_case", "mixes", None),
        (TEXT[:20] + "b" + TEXT[21:], "address_character", "character 21, 'b'", 20),
        (TEXT[:20] + "1" + TEXT[21:], "address_character", "character 21, '1'", 20),
        (TEXT[:20] + " " + TEXT[21:], "address_character", "character 21, ' '", 20),
        (TEXT[:20] + "ß" + TEXT[21:], "address_character", "character 21, 'ß'", 20),
        ("\n" + TEXT, "address_character", r"character 1, '\n'", 0),
        (TEXT.replace("1", "l", 1), "address_separator", "no prefix before a '1'", None),
        ("", "address_separator", "no prefix before a '1'", None),
        (
            "cherri" + TEXT[6:],
            "address_network",
            "expected an address of 'cherry', got one of 'cherri'",
            None,
        ),
    ],
)
def test_refusals_say_what_and_where(text: str, code: str, said: str, position: int | None) -> None:
    error = refusal(text)
    assert (error.code, error.position) == (code, position)
    assert said in str(error)


def test_unknown_version_is_refused_though_its_checksum_holds() -> None:
    _, symbols = split_text(TEXT, 6)
    later = [1, *symbols[1:-6]]
    text = "cherry1" + "".join(ALPHABET[symbol] for symbol in later + checksum("cherry", later))
    error = refusal(text)
    assert (error.code, error.position) == ("address_version", 7)
