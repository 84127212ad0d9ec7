"""The cache of decoded keys: bounded, exact, and fair to the keys in use."""

import ctypes
import random
from pathlib import Path

import pytest
from compiled import ROOT, compile_shared

from cherrydag import crypto

SOURCE = ROOT / "ext" / "ed25519" / "keycache.c"
POINT_BYTES = 120


class Cache:
    """cd_keycache through ctypes."""

    def __init__(self) -> None:
        self.library = compile_shared(Path(SOURCE), "keycache", [])
        self.library.cd_keycache_hash.restype = ctypes.c_uint64
        self.state = ctypes.create_string_buffer(40)  # four secret words, one pointer
        assert self.library.cd_keycache_init(self.state) == 0

    def _hash(self, key: bytes) -> ctypes.c_uint64:
        return ctypes.c_uint64(self.library.cd_keycache_hash(self.state, key))

    def get(self, key: bytes) -> bytes | None:
        point = ctypes.create_string_buffer(POINT_BYTES)
        found = self.library.cd_keycache_get(self.state, self._hash(key), key, point)
        return point.raw if found else None

    def put(self, key: bytes, point: bytes) -> None:
        self.library.cd_keycache_put(self.state, self._hash(key), key, point)

    def clear(self) -> None:
        self.library.cd_keycache_clear(self.state)


@pytest.fixture
def cache() -> Cache:
    return Cache()


def point_of(key: bytes) -> bytes:
    return (key * 4)[:POINT_BYTES]


def test_a_key_comes_back_with_its_own_point(cache: Cache) -> None:
    rng = random.Random(1)
    keys = [rng.randbytes(32) for _ in range(2000)]
    for key in keys:
        assert cache.get(key) is None
        cache.put(key, point_of(key))
        cache.put(key, point_of(key))  # a second put takes no second place
    assert sum(cache.get(key) == point_of(key) for key in keys) >= 1990
    near = bytes([keys[0][0] ^ 1]) + keys[0][1:]
    assert cache.get(near) is None
    cache.clear()
    assert all(cache.get(key) is None for key in keys)


def test_keys_of_one_set_are_told_apart_by_every_byte(cache: Cache) -> None:
    library, one_set = cache.library, ctypes.c_uint64(5)
    key, point = bytes(range(32)), ctypes.create_string_buffer(POINT_BYTES)
    library.cd_keycache_put(cache.state, one_set, key, point_of(key))
    for position in range(32):
        near = bytes(byte ^ (i == position) for i, byte in enumerate(key))
        assert library.cd_keycache_get(cache.state, one_set, near, point) == 0
        library.cd_keycache_put(cache.state, one_set, near, point_of(near))
        assert library.cd_keycache_get(cache.state, one_set, near, point) == 1
        assert point.raw == point_of(near)


def test_the_cache_is_bounded_and_uses_its_room(cache: Cache) -> None:
    rng = random.Random(2)
    keys = [rng.randbytes(32) for _ in range(3 * crypto.KEY_CACHE_CAPACITY)]
    for key in keys:
        cache.put(key, point_of(key))
    found = [cache.get(key) for key in keys]
    assert all(point in (None, point_of(key)) for key, point in zip(keys, found, strict=True))
    kept = sum(point is not None for point in found)
    assert 0.98 * crypto.KEY_CACHE_CAPACITY < kept <= crypto.KEY_CACHE_CAPACITY


def test_chosen_keys_do_not_share_a_set_in_every_process() -> None:
    """The set depends on a secret: keys that collide in one cache spread out in the next."""
    first, second = Cache(), Cache()
    rng = random.Random(3)
    sets = 16384
    target = first.library.cd_keycache_hash(first.state, bytes(32)) % sets
    colliding = []
    while len(colliding) < 6:
        key = rng.randbytes(32)
        if first.library.cd_keycache_hash(first.state, key) % sets == target:
            colliding.append(key)
    assert len({second.library.cd_keycache_hash(second.state, key) % sets for key in colliding}) > 3


def test_stated_memory_is_what_the_capacity_takes() -> None:
    assert crypto.KEY_CACHE_CAPACITY == 65_536
    assert 152 * crypto.KEY_CACHE_CAPACITY < crypto.KEY_CACHE_BYTES < 11 * 2**20
