"""Mistakes in fetching, commit sync, answering, and in how the node wires them (consensus, 7)."""

from typing import Final

from mutant_list.mutant import GOSSIP, Mutant

NODE: Final = "engine/cherrydag/node.py"
FETCHER_TESTS: Final = "tests/unit/test_fetcher.py"
JOBS_TESTS: Final = "tests/unit/test_jobs.py"
NODE_TESTS: Final = "tests/unit/test_node.py"
SERVER_TESTS: Final = "tests/unit/test_gossip_server.py"
SURVIVORS: Final = "tests/unit/test_mutant_survivors.py"
SYNC_TESTS: Final = "tests/unit/test_commit_sync.py"
SYNC_FAULT_TESTS: Final = "tests/unit/test_commit_sync_faults.py"
SYNC_OVERTAKING_TESTS: Final = "tests/unit/test_commit_sync_overtaking.py"
SYNC_REQUEST_TESTS: Final = "tests/unit/test_commit_sync_requests.py"

GOSSIPING: Final = (
    Mutant(
        "unasked-vertices-taken",
        "7: an answer may hold what nobody asked for",
        f"{GOSSIP}/fetcher.py",
        "        if None in found:\n",
        "        if len(vertices) > len(request.refs):\n",
        FETCHER_TESTS,
    ),
    Mutant(
        "unsolicited-answers-taken",
        "7: who was not asked may answer",
        f"{GOSSIP}/fetcher.py",
        "if request is not None and request.peer == peer:",
        "if request is not None:",
        FETCHER_TESTS,
    ),
    Mutant(
        "one-lap-only",
        "7: what nobody could deliver at first is never asked for again",
        f"{GOSSIP}/fetcher.py",
        "        want.tried.clear()\n        want.step = 0\n",
        "        want.step = 0\n",
        FETCHER_TESTS,
    ),
    Mutant(
        "gone-peer-waited-for",
        "7: peers that are gone keep the places of those that a vertex may be asked of at once",
        f"{GOSSIP}/fetcher.py",
        """            self._release(request, request.refs, now_ms)
        self._forget""",
        "        self._forget",
        SURVIVORS,
    ),
    Mutant(
        "same-peer-asked-twice",
        "7: in one lap a peer is asked for the same vertex again",
        f"{GOSSIP}/fetcher.py",
        "untried = (peer for peer in want.holders if peer not in want.tried)",
        "untried = (peer for peer in want.holders)",
        FETCHER_TESTS,
    ),
    Mutant(
        "cut-answer-denied",
        "7: what a full answer had no room for counts as not there",
        f"{GOSSIP}/fetcher.py",
        "for ref in request.refs[last + 1 :]:",
        "for ref in request.refs[last + 1 : last + 1]:",
        FETCHER_TESTS,
    ),
    Mutant(
        "unverified-votes-accepted",
        "7: commits count as certified although a vote's signature is not valid",
        f"{GOSSIP}/commit_sync.py",
        "        if not all_valid:\n",
        "        if not all_valid and not held.commits:\n",
        SYNC_FAULT_TESTS,
    ),
    Mutant(
        "votes-for-other-commits",
        "7: a vertex that votes for another commit counts as a vote",
        f"{GOSSIP}/certified.py",
        "if vertex.epoch != committee.epoch or sought not in vertex.commit_votes:",
        "if vertex.epoch != committee.epoch:",
        SYNC_FAULT_TESTS,
    ),
    Mutant(
        "certified-by-f",
        "7: votes of faulty stake certify a range of commits",
        f"{GOSSIP}/certified.py",
        "if committee.stake_of(voters) >= committee.validity:",
        "if committee.stake_of(voters) >= committee.faulty:",
        SYNC_FAULT_TESTS,
    ),
    Mutant(
        "synced-payload-believed",
        "7: a synced vertex may carry another payload than its header names",
        f"{GOSSIP}/certified.py",
        "            and payload_root(payload, payload_ids(payload, ledger)) != payload.root\n",
        "            and not payload_ids(payload, ledger)\n",
        SYNC_FAULT_TESTS,
    ),
    Mutant(
        "links-not-checked",
        "7: commits of a range need not continue one another",
        f"{GOSSIP}/certified.py",
        "if commit.prev_digest != previous.digest:",
        "if commit.prev_digest == commit.digest:",
        SYNC_FAULT_TESTS,
    ),
    Mutant(
        "range-need-not-meet",
        "7: a range need not meet the certified one beside it",
        f"{GOSSIP}/certified.py",
        "if digests.get(index, digest) != digest:",
        'if digests.get(index, digest) == b"":',
        SYNC_FAULT_TESTS,
    ),
    Mutant(
        "fork-unseen",
        "7: a commit of ours that is not the certified one is not noticed",
        f"{GOSSIP}/commit_sync.py",
        "invariant(all(known == digest for known in digests),",
        "invariant(True,",
        SYNC_TESTS,
    ),
    Mutant(
        "back-pressure-ignored",
        "7: commits are fetched however many wait for their execution",
        f"{GOSSIP}/commit_sync.py",
        "        self._paused = paused\n",
        "        self._paused = False\n",
        SYNC_REQUEST_TESTS,
    ),
    Mutant(
        "given-up-vertices-forgotten",
        "7: vertices that did not come in time are never asked for again",
        f"{GOSSIP}/commit_sync.py",
        """            held.give_back(request.refs)
        elif""",
        """            pass
        elif""",
        SYNC_REQUEST_TESTS,
    ),
    Mutant(
        "overtaken-answer-refused",
        "7: vertices that come after another peer was asked for them are not taken",
        f"{GOSSIP}/commit_sync.py",
        "        held.add(message.vertices)\n",
        "        held.add(() if is_late else message.vertices)\n",
        SYNC_OVERTAKING_TESTS,
    ),
    Mutant(
        "anybody-overtakes",
        "7: who owes an answer is asked for what another one is late with",
        f"{GOSSIP}/commit_sync.py",
        "if peer is not None and not load[peer]:",
        "if peer is not None:",
        SYNC_OVERTAKING_TESTS,
    ),
    Mutant(
        "copy-verified-too",
        "1: a second copy of what is under verification is verified",
        f"{GOSSIP}/jobs.py",
        "        return found is not None\n",
        "        return False\n",
        JOBS_TESTS,
    ),
    Mutant(
        "spoilt-copy-settles-all",
        "1: behind a copy with another payload no other copy is looked at",
        NODE,
        "                self._verify(*copy)\n",
        "                pass\n",
        NODE_TESTS,
    ),
    Mutant(
        "liar-asked-again",
        "7: who has lied is asked like everybody else",
        f"{GOSSIP}/commit_sync.py",
        """            self._drop(held)
            self._scores.lied(peer, now_ms)
            raise
""",
        """            self._drop(held)
            raise
""",
        SYNC_REQUEST_TESTS,
    ),
    Mutant(
        "certified-on-arrival",
        "7: commits are certified before their votes have been verified",
        f"{GOSSIP}/commit_sync.py",
        "            held.fill(message.commits)\n",
        "            held.fill(message.commits)\n            held.certify(self._find)\n",
        SYNC_TESTS,
    ),
    Mutant(
        "reference-by-digest-alone",
        "1: a reference that differs in round or author is answered",
        f"{GOSSIP}/server.py",
        "found.append(vertex if vertex is not None and vertex.ref == ref else None)",
        "found.append(vertex)",
        SERVER_TESTS,
    ),
    Mutant(
        "author-bound-off",
        "1: the validator after the last may be asked for, and a look-up fails",
        f"{GOSSIP}/server.py",
        "if not 0 <= author < len(self._committee):",
        "if not 0 <= author <= len(self._committee):",
        SERVER_TESTS,
    ),
    Mutant(
        "answers-unbounded",
        "7: an answer may be of any size",
        f"{GOSSIP}/server.py",
        "                if room < 0 and found:\n",
        "                if not found and room < 0:\n",
        SERVER_TESTS,
    ),
    Mutant(
        "newest-forgotten-below-gc",
        "7: an author whose newest vertex has left the window is told that there is none",
        f"{GOSSIP}/server.py",
        "tuple(self._newest_stored(request.author))",
        "()",
        SERVER_TESTS,
    ),
    Mutant(
        "votes-served-by-index",
        "7: votes for another commit of that index are served as a certificate",
        f"{GOSSIP}/server.py",
        "    return CommitVote(commit.index, commit.digest)\n",
        "    return CommitVote(commit.index, Digest(bytes(32)))\n",
        SERVER_TESTS,
    ),
    Mutant(
        "verdicts-ignored",
        "1: vertices enter whatever verification has found",
        NODE,
        "good = [vertex for vertex, fault in pairs if fault is None]",
        "good = [vertex for vertex, fault in pairs]",
        NODE_TESTS,
    ),
    Mutant(
        "spoilt-payload-condemns",
        "1: who sends a vertex with another payload keeps us from ever fetching it",
        NODE,
        "if fault is VertexFault.PAYLOAD_ROOT:",
        "if False:",
        NODE_TESTS,
    ),
    Mutant(
        "newest-from-anybody",
        "7: answers about our newest vertex are taken from peers that were not asked",
        f"{GOSSIP}/newest_asked.py",
        "if not self.expects(peer, message.number) or message.author != self._me:",
        "if message.author != self._me:",
        NODE_TESTS,
    ),
    Mutant(
        "newest-answer-counts-twice",
        "7: one answer may be given again and again",
        f"{GOSSIP}/newest_asked.py",
        "        del self._asked[message.number]\n        if any",
        "        if any",
        NODE_TESTS,
    ),
    Mutant(
        "parked-not-looked-at",
        "7: what a flood has pushed out of the fetcher's table is never asked for again",
        NODE,
        "                self._want(refs, source, now_ms)\n        return",
        "                self.fetcher.holds(refs, source)\n        return",
        NODE_TESTS,
    ),
    Mutant(
        "sync-votes-not-verified",
        "7: the node tells commit sync that all votes are valid",
        NODE,
        "len(good) == len(vertices), now_ms)",
        "True, now_ms)",
        "tests/unit/test_node_peers.py",
    ),
    Mutant(
        "execution-does-not-press-back",
        "7: the node never tells commit sync that commits wait for their execution",
        NODE,
        "self.commit_sync.set_back_pressure(self._backlog.is_full(self.engine.chain.index))",
        "self.commit_sync.set_back_pressure(False)",
        SURVIVORS,
    ),
    Mutant(
        "execution-lets-nothing-out",
        "7: commits that are complete wait for a message when execution has made room",
        NODE,
        "state_root), now_ms)\n        self._apply_certified(now_ms)\n",
        "state_root), now_ms)\n",
        "tests/unit/test_node_peers.py",
    ),
    Mutant(
        "tail-asked-for",
        "7: commits are asked for that nobody can certify yet",
        f"{GOSSIP}/commit_sync.py",
        "limit = min(self._target - self._limits.tail, ",
        "limit = min(self._target, ",
        SYNC_TESTS,
    ),
    Mutant(
        "whole-batches-alone",
        "7: who is behind by less than a batch fetches no commits",
        f"{GOSSIP}/commit_sync.py",
        "return self._target - self._head.commit_index >= self._limits.lag",
        "return self._target - self._head.commit_index >= self._limits.batch",
        SYNC_TESTS,
    ),
    Mutant(
        "recheck-at-once",
        "7: all that is parked is looked at as rarely as a few",
        f"{GOSSIP}/recheck.py",
        "max(PERIOD_MS // looks, _PAUSE_MS)",
        "PERIOD_MS",
        "tests/unit/test_recheck.py",
    ),
)
