"""The benches of the state's commitment, in the same registry as those of cases.py."""

from functools import partial

import numpy as np
from reference.state_tree_reference import tree_root_reference

from cases import SEED, Prepared, case
from cherrydag.execution.accounts import LINE, Accounts
from cherrydag.execution.entries import EntryTable
from cherrydag.execution.executor import Executor
from cherrydag.execution.state_tree import StateTree
from cherrydag.primitives import Amount
from cherrydag.state_proof import ACCOUNTS, DEPTH_DEFAULT, TreeKeys

PLAIN_TREE = "dicts and the blake3 package, one call each"
ENTRY_BYTES = 62


@case("state.root/dirty=100000", "ns/bucket", PLAIN_TREE, dirty=100_000)
@case("state.root/dirty=1000", "ns/bucket", PLAIN_TREE, dirty=1000)
def root(dirty: int) -> Prepared:
    """The root after changes in random buckets of a million accounts at depth 20, hashing of the buckets'
    entries included; the baseline builds the tree over 1000 of the buckets."""
    rng = np.random.default_rng(SEED)
    buckets = np.sort(rng.choice(1 << DEPTH_DEFAULT, dirty, replace=False)).astype(np.uint32)
    counts = 1 + rng.poisson(1, dirty)
    offsets = np.concatenate([[0], np.cumsum(counts * ENTRY_BYTES)]).astype(np.uint64)
    contents = rng.bytes(int(offsets[-1]))
    few = {int(buckets[i]): contents[offsets[i] : offsets[i + 1]] for i in range(1000)}
    tree = StateTree(ACCOUNTS, DEPTH_DEFAULT)
    baseline = partial(tree_root_reference, ACCOUNTS, DEPTH_DEFAULT, few)
    if tree.update(buckets[:1000], contents, offsets[:1001]) != baseline():
        raise AssertionError("the roots disagree")
    return Prepared(partial(tree.update, buckets, contents, offsets), dirty, baseline, len(few))


@case("state.restore/lines=1000000", "ns/line", PLAIN_TREE, lines=1_000_000)
def restore(lines: int) -> Prepared:
    """Restore a state of so many accounts from its chunks, with its opening and its root; the baseline builds
    the tree over 1024 buckets."""
    rng = np.random.default_rng(SEED)
    rows = np.zeros(lines, LINE)
    rows["address"] = rng.integers(0, 256, (lines, 20), dtype=np.uint8)
    rows["balance_lo"] = 1

    def new_executor() -> tuple[Accounts, Executor]:
        accounts = Accounts(TreeKeys.of(ACCOUNTS).bucket, bytes(16))
        return accounts, Executor(accounts, EntryTable(), supply=Amount(lines))

    accounts, source = new_executor()
    accounts.load(rows)
    snapshot = source.begin_snapshot()
    chunks = list(snapshot.chunks())
    few = {bucket: rng.bytes(ENTRY_BYTES) for bucket in range(0, 1 << DEPTH_DEFAULT, 1 << 10)}

    def run() -> bytes:
        return new_executor()[1].restore(chunks)

    if run() != snapshot.root:
        raise AssertionError("the roots disagree")
    return Prepared(run, lines, partial(tree_root_reference, ACCOUNTS, DEPTH_DEFAULT, few), len(few))
