"""A golden genesis and any genesis, for tests.

Deliberately regenerate the vector with:  python tests/geneses.py --write
"""

import json
import sys
from pathlib import Path

from hypothesis import strategies as st

from cherrydag.address import Network
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.genesis import CREATED_MS_MAX, Allocation, Genesis, LedgerParams, Validator
from cherrydag.primitives import Address, Amount, Stake, TimestampMs
from cherrydag.signing import generate_keypair

VECTORS = Path(__file__).parent / "vectors" / "genesis.json"
KEYS = [generate_keypair(bytes([seed]) * 32).public_key for seed in range(4)]
GENESIS = Genesis(
    name="a golden chain",
    network=Network.DEV,
    created_ms=TimestampMs(1_790_000_000_123),
    validators=(
        Validator("first", KEYS[0], Stake(70), ("a.example:4100", "[2001:db8::1]:1")),
        Validator("second", KEYS[1], Stake(2**40), ("192.0.2.1:65535",)),
        Validator("third", KEYS[2], Stake(1)),
    ),
    allocations=(
        Allocation(Address(bytes(range(20))), Amount(10**27)),
        Allocation(Address(b"\xff" * 20), Amount(1)),
    ),
    modules=("anchor", "assets"),
    chain_params=ChainParams(
        gc_depth=50, scoring_commits=301, swap_share_permille=199, checkpoint_commits=77
    ),
    ledger_params=LedgerParams(tree_depth=12, entry_bytes_max=2**33, fee_min=5),
)


def golden() -> dict[str, str]:
    return {
        "about": "The genesis of tests/geneses.py: its canonical bytes and their digest.",
        "encoding": GENESIS.encoding.hex(),
        "digest": GENESIS.digest.hex(),
        "validator_key": GENESIS.chain().validator_key.hex(),
    }


names = st.text('az09 -_.!~"\\', min_size=1, max_size=64).filter(lambda name: name == name.strip())
key_pool = [generate_keypair(bytes([seed, 1]) * 16).public_key for seed in range(12)]
geneses = st.builds(
    lambda key_order, validator_names, stakes, **rest: Genesis(
        validators=tuple(
            Validator(name, key, Stake(stake), (f"v{index}.example:{1 + index}",) * (stake % 2))
            for index, (name, key, stake) in enumerate(zip(validator_names, key_order, stakes, strict=False))
        ),
        **rest,
    ),
    key_order=st.permutations(key_pool),
    validator_names=st.lists(names, min_size=1, max_size=6, unique=True),
    stakes=st.lists(st.integers(1, 2**59), min_size=6, max_size=6),
    name=names,
    network=st.sampled_from(Network),
    created_ms=st.integers(0, CREATED_MS_MAX),
    allocations=st.dictionaries(
        st.binary(min_size=20, max_size=20), st.integers(1, 2**120), min_size=1, max_size=8
    ).map(lambda amounts: tuple(Allocation(Address(key), Amount(value)) for key, value in amounts.items())),
    modules=st.lists(st.sampled_from(["a", "assets", "m2_x", "z" * 32]), unique=True).map(tuple),
    chain_params=st.builds(
        ChainParams, st.integers(3, 512), st.integers(1, 10**6), st.integers(0, 333), st.integers(1, 10**6)
    ),
    ledger_params=st.builds(
        LedgerParams, st.integers(1, 24), st.integers(1, 2**48), st.integers(1, 2**64 - 1)
    ),
)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/geneses.py --write   (replaces the golden vector)")
    VECTORS.write_text(json.dumps(golden(), indent=1) + "\n")
