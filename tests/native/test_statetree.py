"""The native state tree against one that hashes every pair by itself, on every instruction set."""

import contextlib
import ctypes
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import blake3
import numpy as np
import pytest
from compiled import compile_shared
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import ROOT

from cherrydag._native import statetree as native
from cherrydag.errors import ShapeError

NODE_KEY, ROOT_KEY, EMPTY = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
DEPTHS = [1, 2, 3, 5, 8]


@pytest.fixture(params=range(native.isa_best() + 1), autouse=True)
def level(request: pytest.FixtureRequest) -> Iterator[None]:
    before = native.isa_current()
    native.isa_use(request.param)
    yield
    native.isa_use(before)


def opened(depth: int) -> native.Tree:
    return native.Tree(depth, NODE_KEY, ROOT_KEY, EMPTY)


def set_leaves(tree: native.Tree, leaves: dict[int, bytes]) -> None:
    tree.set_leaves(np.array(sorted(leaves), np.uint32), b"".join(leaves[i] for i in sorted(leaves)))


def digests(seed: object, buckets: list[int]) -> dict[int, bytes]:
    rng = random.Random(repr(seed))
    return {bucket: rng.randbytes(32) for bucket in buckets}


class Plain:
    """All leaves in a list; everything else is hashed when it is asked for."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.row = [EMPTY] * 2**depth

    def set_leaves(self, leaves: dict[int, bytes]) -> None:
        for bucket, leaf in leaves.items():
            self.row[bucket] = leaf

    def rows(self) -> list[list[bytes]]:
        rows = [self.row]
        while len(rows[-1]) > 1:
            pairs = zip(rows[-1][::2], rows[-1][1::2], strict=True)
            rows.append([blake3.blake3(a + b, key=NODE_KEY).digest() for a, b in pairs])
        return rows

    def root(self) -> bytes:
        return blake3.blake3(bytes([self.depth]) + self.rows()[-1][0], key=ROOT_KEY).digest()

    def siblings(self, bucket: int) -> bytes:
        return b"".join(row[bucket >> i ^ 1] for i, row in enumerate(self.rows()[:-1]))


# Agreement


@pytest.mark.parametrize("depth", range(1, 13))
def test_untouched_tree(depth: int) -> None:
    tree, plain = opened(depth), Plain(depth)
    assert tree.root() == plain.root()
    assert tree.siblings(2**depth - 1) == plain.siblings(2**depth - 1)
    assert tree.leaf(0) == EMPTY
    assert tree.audit() == 0


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_updates_agree(data: st.DataObject) -> None:
    depth = data.draw(st.sampled_from(DEPTHS))
    tree, plain = opened(depth), Plain(depth)
    for batch in data.draw(st.lists(st.sets(st.integers(0, 2**depth - 1)), max_size=4)):
        leaves = digests(data.draw(st.integers(0, 9)), sorted(batch))
        set_leaves(tree, leaves)
        plain.set_leaves(leaves)
    assert tree.root() == plain.root()
    for bucket in (0, 2**depth // 3, 2**depth - 1):
        assert tree.siblings(bucket) == plain.siblings(bucket)
        assert tree.leaf(bucket) == plain.row[bucket]


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 31, 63, 64, 65, 127, 128, 129, 700, 1023, 1024])
def test_counts_around_the_groups_and_blocks(count: int) -> None:
    """Neighbouring and scattered buckets, of which the last are the whole of the tree."""
    rng = random.Random(count)
    for buckets in (range(count), range(1024 - count, 1024), rng.sample(range(1024), count)):
        tree, plain = opened(10), Plain(10)
        leaves = digests(count, list(buckets))
        set_leaves(tree, leaves)
        plain.set_leaves(leaves)
        assert tree.root() == plain.root()
        assert tree.audit() == 0


def test_thousands_of_scattered_leaves() -> None:
    tree, plain = opened(14), Plain(14)
    for seed in range(3):
        leaves = digests(seed, random.Random(seed).sample(range(2**14), 3000))
        set_leaves(tree, leaves)
        plain.set_leaves(leaves)
    assert tree.root() == plain.root()
    assert tree.leaves() == b"".join(plain.row)


def test_order_and_grouping_of_updates_do_not_matter() -> None:
    leaves = digests("order", random.Random(1).sample(range(256), 90))
    at_once = opened(8)
    set_leaves(at_once, leaves)
    for seed in range(5):
        rng = random.Random(seed)
        left = rng.sample(sorted(leaves), len(leaves))
        tree = opened(8)
        set_leaves(tree, digests("overwritten", left[:20]))
        while left:
            some = rng.randrange(1, 12)
            set_leaves(tree, {bucket: leaves[bucket] for bucket in left[:some]})
            del left[:some]
        assert tree.root() == at_once.root()
        assert tree.leaves() == at_once.leaves()


def test_setting_a_leaf_back_restores_the_root() -> None:
    tree = opened(6)
    before = tree.root()
    set_leaves(tree, {17: bytes(32)})
    assert tree.root() != before
    set_leaves(tree, {17: EMPTY})
    assert tree.root() == before


@pytest.mark.parametrize("depth", DEPTHS)
def test_siblings_lead_from_every_leaf_to_the_root(depth: int) -> None:
    tree = opened(depth)
    set_leaves(tree, digests(depth, list(range(0, 2**depth, 3))))
    for bucket in range(2**depth):
        node, siblings = tree.leaf(bucket), tree.siblings(bucket)
        assert len(siblings) == 32 * depth
        for i in range(depth):
            sibling = siblings[32 * i : 32 * i + 32]
            pair = sibling + node if bucket >> i & 1 else node + sibling
            node = blake3.blake3(pair, key=NODE_KEY).digest()
        assert blake3.blake3(bytes([depth]) + node, key=ROOT_KEY).digest() == tree.root()


# Domains


def test_root_binds_depth_and_keys() -> None:
    """All leaves and so all nodes alike: only the depth tells the trees apart."""
    top = blake3.blake3(EMPTY + EMPTY, key=NODE_KEY).digest()
    assert opened(2).root() != native.Tree(1, NODE_KEY, ROOT_KEY, top).root()
    roots = {
        native.Tree(3, *keys).root()
        for keys in ((NODE_KEY, ROOT_KEY, EMPTY), (ROOT_KEY, NODE_KEY, EMPTY), (NODE_KEY, NODE_KEY, EMPTY))
    }
    assert len(roots) == 3
    assert len({opened(depth).root() for depth in range(1, 13)}) == 12


# Leaves out and in


def test_loaded_leaves_give_the_tree_that_was_built_step_by_step() -> None:
    built = opened(9)
    for seed in range(4):
        set_leaves(built, digests(seed, random.Random(seed).sample(range(512), 60)))
    loaded = opened(9)
    set_leaves(loaded, digests("gone", list(range(512))))
    loaded.load(built.leaves())
    assert loaded.root() == built.root()
    assert loaded.siblings(100) == built.siblings(100)
    assert loaded.audit() == 0


def test_loading_empty_leaves_over_a_full_tree_empties_it() -> None:
    untouched, tree = opened(9), opened(9)
    for kept in ([], [0], [511], [255, 256]):
        set_leaves(tree, digests("full", list(range(512))))
        leaves = digests("kept", kept)
        tree.load(b"".join(leaves.get(bucket, EMPTY) for bucket in range(512)))
        plain = Plain(9)
        plain.set_leaves(leaves)
        assert tree.root() == plain.root()
        assert tree.siblings(256) == plain.siblings(256)
        assert tree.audit() == 0
    tree.load(untouched.leaves())
    assert tree.root() == untouched.root()


def anonymous_bytes() -> int:
    """Memory of this process that is its own, and touched."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def test_memory_is_touched_only_where_leaves_are() -> None:
    """64 MiB are reserved; a leaf needs a page on each level that has more than one."""
    leaves = digests("few", random.Random(6).sample(range(2**20), 20))
    before = anonymous_bytes()
    tree, loaded = opened(20), opened(20)
    set_leaves(tree, leaves)
    assert tree.audit() == 0
    assert len(tree.siblings(0)) == 640
    snapshot = tree.leaves()
    loaded.load(snapshot)
    assert loaded.root() == tree.root()
    assert anonymous_bytes() - before < len(snapshot) + 2 * (20 * 14 * 4096) + (4 << 20)


@pytest.mark.parametrize("change", [-64 * 32, -32, -1, 1, 32, 64 * 32])
def test_leaves_of_another_size_are_refused(change: int) -> None:
    tree = opened(6)
    root = tree.root()
    with pytest.raises(ShapeError, match="leaves: expected 2048 bytes"):
        tree.load(bytes(2048 + change))
    assert tree.root() == root


# Refusals


@pytest.mark.parametrize(
    "buckets", [[16], [0, 16], [1, 0], [3, 3], [2**32 - 1], [0, 5, 4, 15], [*range(16), 15]]
)
def test_wrong_buckets_are_refused_and_change_nothing(buckets: list[int]) -> None:
    tree = opened(4)
    root, leaves = tree.root(), tree.leaves()
    with pytest.raises(ShapeError, match="strictly ascending numbers below 2\\^4"):
        tree.set_leaves(np.array(buckets, np.uint32), bytes(32 * len(buckets)))
    assert (tree.root(), tree.leaves()) == (root, leaves)
    set_leaves(tree, {15: bytes(32)})


def test_no_leaves_change_nothing() -> None:
    tree = opened(4)
    root = tree.root()
    tree.set_leaves(np.array([], np.uint32), b"")
    assert tree.root() == root


def test_digests_must_be_as_many_as_buckets() -> None:
    tree, two = opened(4), np.array([1, 2], np.uint32)
    for size in (0, 32, 96):
        with pytest.raises(ShapeError, match="digests: expected 2 for 2 buckets"):
            tree.set_leaves(two, bytes(size))
    with pytest.raises(ShapeError, match="32-byte rows"):
        tree.set_leaves(two, bytes(63))


@pytest.mark.parametrize("bucket", [16, 17, 2**32 - 1])
def test_bucket_outside_the_tree_is_refused(bucket: int) -> None:
    tree = opened(4)
    for call in (tree.leaf, tree.siblings):
        with pytest.raises(ShapeError, match="bucket: expected less than 2\\^4"):
            call(bucket)
    assert tree.leaf(15) == EMPTY


@pytest.mark.parametrize("depth", [0, 25, 32, 2**32 - 1])
def test_depth_outside_the_bounds_is_refused(depth: int) -> None:
    with pytest.raises(ShapeError, match="depth: expected 1"):
        opened(depth)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_of_another_size_are_refused(size: int) -> None:
    for at in range(3):
        keys = [NODE_KEY, ROOT_KEY, EMPTY]
        keys[at] = bytes(size)
        with pytest.raises(ShapeError, match="expected 32 bytes"):
            native.Tree(4, *keys)


def test_two_threads_never_work_in_one_tree_at_once() -> None:
    """Whoever comes second is refused; the tree is as the calls that were let in made it."""
    tree, leaves = opened(14), digests("threads", list(range(2**14)))
    buckets, values = np.arange(2**14, dtype=np.uint32), b"".join(leaves.values())
    refused: list[str] = []

    def work() -> None:
        for _ in range(30):
            try:
                tree.set_leaves(buckets, values)
            except ShapeError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(refused) <= {"tree: another thread is changing or reading it"}
    assert tree.audit() == 0
    assert tree.leaves() == values


def test_call_during_another_thread_s_is_refused() -> None:
    """The GIL is free for us while the other thread audits, and for hardly a moment else."""
    tree, met = opened(14), threading.Event()

    def work() -> None:
        for _ in range(2000):
            with contextlib.suppress(ShapeError):
                tree.audit()
            if met.is_set():
                return

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive() and not met.is_set():
        try:
            tree.root()
        except ShapeError as error:
            assert str(error) == "tree: another thread is changing or reading it"
            met.set()
    thread.join()
    assert met.is_set()


# Inside


@pytest.fixture(scope="module")
def face() -> ctypes.CDLL:
    library = compile_shared(ROOT / "tests" / "native" / "statetree_face.c", "statetree_face", [])
    library.face_node.restype = ctypes.POINTER(ctypes.c_uint8)
    library.face_node.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.face_pairs.restype = ctypes.c_uint64
    library.cd_statetree_audit.restype = ctypes.c_uint32
    for function in (library.cd_statetree_audit, library.cd_statetree_free):
        function.argtypes = [ctypes.c_void_p]
    library.cd_statetree_set_leaves.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p,
    ]  # fmt: skip
    return library


@pytest.fixture
def toy(face: ctypes.CDLL) -> Iterator[ctypes.c_void_p]:
    """A tree of depth 9 over the toy hash."""
    config = (9).to_bytes(4, "little") + bytes(range(96))
    tree = ctypes.c_void_p()
    assert face.cd_statetree_open(config, ctypes.byref(tree)) == 0
    yield tree
    face.cd_statetree_free(tree)


def set_toy(face: ctypes.CDLL, tree: ctypes.c_void_p, buckets: list[int]) -> int:
    """Set leaves; how many pairs were hashed."""
    before = face.face_pairs()
    places = (ctypes.c_uint32 * len(buckets))(*buckets)
    values = b"".join(digests(len(buckets), buckets).values())
    assert face.cd_statetree_set_leaves(tree, places, len(buckets), values) == 0
    return face.face_pairs() - before


def test_each_node_above_a_changed_leaf_is_hashed_once(face: ctypes.CDLL, toy: ctypes.c_void_p) -> None:
    rng = random.Random(4)
    for count in (1, 2, 3, 20, 200, 511, 512):
        buckets = sorted(rng.sample(range(512), count))
        above = {(512 + bucket) >> up for bucket in buckets for up in range(1, 10)}
        assert set_toy(face, toy, buckets) == len(above)
        assert face.cd_statetree_audit(toy) == 0


def test_audit_finds_every_node_that_does_not_follow(face: ctypes.CDLL, toy: ctypes.c_void_p) -> None:
    set_toy(face, toy, sorted(random.Random(5).sample(range(512), 100)))
    for place in range(1, 1024):
        octets = face.face_node(toy, place)
        octets[place % 32] ^= 1 << place % 8
        assert face.cd_statetree_audit(toy) == (place if place < 512 else place // 2)
        octets[place % 32] ^= 1 << place % 8
    assert face.cd_statetree_audit(toy) == 0


def test_audit_names_a_node_of_the_lowest_level(face: ctypes.CDLL, toy: ctypes.c_void_p) -> None:
    for place in (1, 9, 300, 77):
        face.face_node(toy, place)[0] ^= 1
    assert face.cd_statetree_audit(toy) == 300


def test_nodes_start_at_a_cache_line(face: ctypes.CDLL, toy: ctypes.c_void_p) -> None:
    assert ctypes.addressof(face.face_node(toy, 0).contents) % 64 == 0
