"""Mistakes in the commit rule (consensus, 4)."""

from typing import Final

from mutant_list.mutant import CONSENSUS, INDEX, Mutant

RULE: Final = "tests/scenario/test_commit_scenarios.py"
REFERENCE: Final = "tests/native/test_dagindex.py"

COMMIT_RULE: Final = (
    Mutant(
        "anchor-past-undecided",
        "4: the search for the anchor passes over an UNDECIDED slot",
        f"{CONSENSUS}/committer.py",
        """            if later is None:
                anchor = None  # it may yet commit and be the anchor, so nobody may look past it
            elif later.handle is not None:
""",
        """            if later is not None and later.handle is not None:
""",
        RULE,
    ),
    Mutant(
        "anchor-within-wave",
        "4: the anchor is sought from round r + 2 on",
        f"{CONSENSUS}/committer.py",
        """        for at in range(top - WAVE, last, -1):
            number = Round(at)
            later = self._decided.get(Round(at + WAVE))
""",
        """        for at in range(top - WAVE + 1, last, -1):
            number = Round(at)
            later = self._decided.get(Round(at + WAVE - 1))
""",
        RULE,
    ),
    Mutant(
        "commit-on-one-certificate",
        "4: one certificate commits",
        f"{CONSENSUS}/committer.py",
        "if graph.certificates(handle).stake >= graph.quorum",
        "if graph.certificates(handle).stake > 0",
        RULE,
    ),
    Mutant(
        "commit-on-votes",
        "4: a quorum of votes commits, certified or not",
        f"{CONSENSUS}/committer.py",
        "graph.certificates(handle).stake",
        "graph.votes(handle).stake",
        RULE,
    ),
    Mutant(
        "skip-at-f-plus-one",
        "4: blames of f + 1 skip",
        f"{CONSENSUS}/committer.py",
        "if graph.blames(round_, leader).stake >= graph.quorum:",
        "if graph.blames(round_, leader).stake > graph.stake_total - graph.quorum:",
        RULE,
    ),
    Mutant(
        "any-vote-certifies",
        "4: any vote among the ancestors makes a certificate",
        f"{INDEX}/support.c",
        "return stake + cd_dag_stake_of(dag, &sure) >= dag->quorum;",
        "return stake + cd_dag_stake_of(dag, &sure) > 0;",
        RULE,
    ),
    Mutant(
        "quorum-less-one-native",
        "4: a quorum is one less than N - f, in the index",
        f"{INDEX}/memory.c",
        "dag->quorum = total - (total - 1) / 3;",
        "dag->quorum = total - (total - 1) / 3 - (total > 1);",
        RULE,
    ),
    Mutant(
        "quorum-less-one",
        "4: a quorum is one less than N - f, in the committee",
        "engine/cherrydag/committee.py",
        '"quorum": total - faulty,',
        '"quorum": max(1, total - faulty - 1),',
        "tests/unit/test_committee.py",
    ),
    Mutant(
        "blames-by-vertex",
        "4: the blames of an equivocator add up",
        f"{INDEX}/support.c",
        """                if (!mask_has(&side_of(dag, at)->strong, author)) mask_add(&out->authors, i);
    }
    finish(dag, out);
""",
        """                if (!mask_has(&side_of(dag, at)->strong, author)) {
                    mask_add(&out->authors, i);
                    out->stake += dag->stakes[i];
                }
    }
""",
        REFERENCE,
    ),
    Mutant(
        "certificates-by-vertex",
        "4: the certificates of an equivocator add up",
        f"{INDEX}/support.c",
        """                if (cd_dag_certifies(dag, by, at)) mask_add(&out->authors, i);
    }
    finish(dag, out);
""",
        """                if (cd_dag_certifies(dag, by, at)) {
                    mask_add(&out->authors, i);
                    out->stake += dag->stakes[i];
                }
    }
""",
        f"{RULE}::test_two_certificates_of_one_author_count_once",
    ),
    Mutant(
        "blame-at-any-round",
        "4: who does not list the slot blames it in any later round",
        f"{INDEX}/support.c",
        """        for (uint32_t i = 0; i < dag->config.validators; i++)
            for (uint32_t at = *slot_of(dag, round + 1, i); at != CD_NONE;
                 at = dag->vertices[at].next)
                if (!mask""",
        """        for (uint32_t later = round + 1; later <= dag->highest_round; later++)
        for (uint32_t i = 0; i < dag->config.validators; i++)
            for (uint32_t at = *slot_of(dag, later, i); at != CD_NONE;
                 at = dag->vertices[at].next)
                if (!mask""",
        RULE,
    ),
    Mutant(
        "weak-link-votes",
        "4: a weak link to the author counts as one to its slot",
        f"{INDEX}/graph.c",
        "if (parent->round + 1 == ref->round) mask_add(&entrant->strong, parent->author);",
        "mask_add(&entrant->strong, parent->author);",
        f"{RULE}::test_a_link_to_an_older_vertex_of_the_leader_still_blames",
    ),
    Mutant(
        "equivocator-votes-twice",
        "4: a certificate does not look at which vertex of an equivocating voter it lists",
        f"{INDEX}/support.c",
        "if (strong_parent(dag, voter, vertex->author) == at) stake += dag->stakes[author];",
        "if (voter != CD_NONE) stake += dag->stakes[author];",
        f"{REFERENCE}::test_a_certificate_needs_the_equivocator_s_voting_vertex",
    ),
    Mutant(
        "certificate-above-anchor-only",
        "4: the anchor's own past is not searched down to round r + 2",
        f"{INDEX}/walk.c",
        "push_parents(&stack, by, (cd_bounds){(uint32_t)round, true});",
        "push_parents(&stack, by, (cd_bounds){(uint32_t)round + 1, true});",
        RULE,
    ),
    Mutant(
        "late-vertices-unheard",
        "4: a slot is not looked at again when a vertex of its certificates' round comes late",
        f"{CONSENSUS}/committer.py",
        "for distance in range(1, WAVE):",
        "for distance in range(1, WAVE - 1):",
        "tests/unit/test_committer.py",
    ),
)
