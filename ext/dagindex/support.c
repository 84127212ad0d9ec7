/* Votes, blames and certificates: masks over authors, and their stake. */
#include "dagindex/index.h"

uint64_t cd_dag_stake_of(const cd_dag *dag, const cd_dag_mask *mask) {
    uint64_t stake = 0;
    for (uint32_t word = 0; word < CD_DAG_MASK_WORDS; word++)
        for (uint64_t bits = mask->word[word]; bits != 0; bits &= bits - 1)
            stake += dag->stakes[64 * word + (uint32_t)__builtin_ctzll(bits)];
    return stake;
}

uint64_t cd_dag_quorum(const cd_dag *dag) { return dag == NULL ? 0 : dag->quorum; }

static void finish(const cd_dag *dag, cd_dag_support *out) {
    out->stake = cd_dag_stake_of(dag, &out->authors);
}

cd_status cd_dag_round_authors(const cd_dag *dag, uint32_t round, cd_dag_support *out) {
    CD_ARG_CHECK(dag != NULL && out != NULL);
    memset(out, 0, sizeof *out);
    if (in_window(dag, round)) out->authors = round_of(dag, round)->present;
    finish(dag, out);
    return CD_OK;
}

cd_status cd_dag_votes(const cd_dag *dag, cd_dag_handle vertex, cd_dag_support *out) {
    CD_ARG_CHECK(dag != NULL && out != NULL);
    const uint32_t at = resolve(dag, vertex);
    CD_ARG_CHECK(at != CD_NONE && !is_operator(dag->vertices[at].author));
    out->authors = side_of(dag, at)->votes;
    finish(dag, out);
    return CD_OK;
}

cd_status cd_dag_blames(const cd_dag *dag, uint32_t round, uint32_t author, cd_dag_support *out) {
    CD_ARG_CHECK(dag != NULL && out != NULL && author < dag->config.validators);
    memset(out, 0, sizeof *out);
    /* A slot at or below gc_round is exempt everywhere: nobody can tell who links it. */
    if (in_window(dag, round) && in_window(dag, (uint64_t)round + 1)) {
        for (uint32_t i = 0; i < dag->config.validators; i++)
            for (uint32_t at = *slot_of(dag, round + 1, i); at != CD_NONE;
                 at = dag->vertices[at].next)
                if (!mask_has(&side_of(dag, at)->strong, author)) mask_add(&out->authors, i);
    }
    finish(dag, out);
    return CD_OK;
}

/* The parent of `of` by a validator in the round before, or CD_NONE. */
static uint32_t strong_parent(const cd_dag *dag, uint32_t of, uint32_t author) {
    cd_parent_walk walk = parents_begin(dag, of);
    for (uint32_t parent; (parent = parents_next(dag, &walk)) != CD_NONE;) {
        const cd_vertex *vertex = &dag->vertices[parent];
        if (vertex->author == author && vertex->round + 1 == dag->vertices[of].round) return parent;
    }
    return CD_NONE;
}

/* Masks settle every author with one vertex in the round of the votes; the rest are looked at. */
bool cd_dag_certifies(const cd_dag *dag, uint32_t by, uint32_t at) {
    const cd_vertex *vertex = &dag->vertices[at];
    const cd_dag_mask *equivocators = &round_of(dag, vertex->round + 1)->equivocators;
    cd_dag_mask sure;
    uint64_t stake = 0;
    for (uint32_t word = 0; word < CD_DAG_MASK_WORDS; word++) {
        uint64_t both = side_of(dag, by)->strong.word[word] & side_of(dag, at)->votes.word[word];
        sure.word[word] = both & ~equivocators->word[word];
        for (uint64_t bits = both & equivocators->word[word]; bits != 0; bits &= bits - 1) {
            uint32_t author = 64 * word + (uint32_t)__builtin_ctzll(bits);
            uint32_t voter = strong_parent(dag, by, author);
            if (strong_parent(dag, voter, vertex->author) == at) stake += dag->stakes[author];
        }
    }
    return stake + cd_dag_stake_of(dag, &sure) >= dag->quorum;
}

cd_status cd_dag_certificates(const cd_dag *dag, cd_dag_handle vertex, cd_dag_support *out) {
    CD_ARG_CHECK(dag != NULL && out != NULL);
    const uint32_t at = resolve(dag, vertex);
    CD_ARG_CHECK(at != CD_NONE && !is_operator(dag->vertices[at].author));
    const uint64_t round = (uint64_t)dag->vertices[at].round + 2;
    memset(out, 0, sizeof *out);
    if (in_window(dag, round) && cd_dag_stake_of(dag, &side_of(dag, at)->votes) >= dag->quorum) {
        for (uint32_t i = 0; i < dag->config.validators; i++)
            for (uint32_t by = *slot_of(dag, (uint32_t)round, i); by != CD_NONE;
                 by = dag->vertices[by].next)
                if (cd_dag_certifies(dag, by, at)) mask_add(&out->authors, i);
    }
    finish(dag, out);
    return CD_OK;
}
