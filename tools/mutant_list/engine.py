"""Mistakes in what must be durable before it leaves, and in what the engine ties together (3, 6 and 7)."""

from typing import Final

from mutant_list.mutant import CONSENSUS, Mutant

FILE: Final = f"{CONSENSUS}/engine.py"
OUTBOX: Final = f"{CONSENSUS}/outbox.py"
CHAIN_TESTS: Final = "tests/unit/test_engine_chain.py"
ENGINE_TESTS: Final = "tests/unit/test_engine.py"
OUTBOX_TESTS: Final = "tests/unit/test_outbox.py"
RECOVERY: Final = "tests/unit/test_recovery.py"
SURVIVORS: Final = "tests/unit/test_mutant_survivors.py"

ENGINE: Final = (
    Mutant(
        "send-before-persist",
        "3: what waits for a write leaves at once",
        OUTBOX,
        "        if ticket <= self._durable:\n            self._effects",
        "        if ticket:\n            self._effects",
        ENGINE_TESTS,
    ),
    Mutant(
        "any-write-releases-all",
        "3: the first write that is durable releases what waits for later ones",
        OUTBOX,
        "while self._held and self._held[0][0] <= self._durable:",
        "while self._held:",
        OUTBOX_TESTS,
    ),
    Mutant(
        "tickets-out-of-order",
        "3: what was held last leaves first",
        OUTBOX,
        "released.append(self._held.popleft()[1])",
        "released.append(self._held.pop()[1])",
        OUTBOX_TESTS,
    ),
    Mutant(
        "unknown-ticket-believed",
        "3: a ticket that was never given out releases what is not written",
        OUTBOX,
        "self._durable = min(max(self._durable, ticket), self._ticket)",
        "self._durable = max(self._durable, ticket)",
        OUTBOX_TESTS,
    ),
    Mutant(
        "held-and-never-written",
        "3: an effect waits for a write that nothing asks for",
        OUTBOX,
        "        self._urgent = True\n        self._hold_until(",
        "        self._hold_until(",
        OUTBOX_TESTS,
    ),
    Mutant(
        "executed-before-durable",
        "6: execution sees a commit before it is durable",
        FILE,
        "self._outbox.hold(Execute(sub_dag))",
        "self._outbox.emit(Execute(sub_dag))",
        ENGINE_TESTS,
    ),
    Mutant(
        "issued-before-durable",
        "3: an operator's own vertex leaves before it is durable",
        FILE,
        "self._outbox.hold(relay) if source == PEER_SELF else self._outbox.emit(relay)",
        "self._outbox.emit(relay)",
        "tests/unit/test_node.py",
    ),
    Mutant(
        "parents-not-written",
        "3: our vertex is durable before the vertices that it links",
        FILE,
        """            self._outbox.write_vertex(vertex)
            if isinstance""",
        "            if isinstance",
        ENGINE_TESTS,
    ),
    Mutant(
        "twin-not-heeded",
        "7: a vertex of ours that we do not know is no floor",
        FILE,
        "            self.author.proposer.raise_floor(vertex.round)\n        certificate",
        "            pass\n        certificate",
        RECOVERY,
    ),
    Mutant(
        "parked-votes-unheard",
        "7: commit votes count only once their vertex has entered, and who is behind does not notice",
        FILE,
        """            if isinstance(vertex, ValidatorVertex):
                self._observe(vertex)
            self._settle(""",
        """            if isinstance(vertex, ValidatorVertex) and self.window.get(vertex.ancestors[0].digest):
                self._observe(vertex)
            self._settle(""",
        CHAIN_TESTS,
    ),
    Mutant(
        "parked-do-not-follow-gc",
        "3: what waits for parents below gc_round is not looked at when that rises",
        FILE,
        "        self._settle(self.acceptance.set_gc_round(gc_round))\n",
        "",
        SURVIVORS,
    ),
    Mutant(
        "lost-not-told",
        "6: nobody hears of the vertices that no commit will hold",
        FILE,
        "            self._outbox.emit(Lost(lost))\n",
        "",
        ENGINE_TESTS,
    ),
    Mutant(
        "restart-forgets-votes",
        "6: commits of before a crash are never voted for",
        FILE,
        "first = max(self.commit_votes.highest(self.author.me) + 1, found.last.index - VOTES_KEPT_MAX + 1)",
        "first = found.last.index + 1",
        RECOVERY,
    ),
)
