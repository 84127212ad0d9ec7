/* The accepted window of the DAG: vertices above gc_round, their links, votes, order and tips.
 *
 * It deals in numbers and 32-byte digests only; validity is decided elsewhere. An author is a
 * validator's index in the committee, or CD_DAG_OPERATOR | the index of an operator's account.
 * What is asked of a caller is that a digest stands for one (round, author, parents) for ever.
 *
 * A vertex enters only when all its parents above gc_round are in. Parents at or below gc_round
 * are exempt and not linked, so no traversal ever reads below gc_round. gc_round starts at 0, so
 * genesis is always exempt.
 *
 * Invariants: a parent's round is at most its child's (below it, if the child is a validator's), so
 * that dropping the lowest rounds leaves no child below a kept parent; a vertex of a validator has
 * at most one parent per validator; a handle names one vertex for ever and is refused once that is
 * gone. Memory is bounded by the limits, grows by doubling and is reused after GC.
 *
 * No function is thread-safe and none recurses. Each lookup is one probe of a table under a secret
 * seed, so nobody can aim collisions. Functions on a handle return CD_ERR_ARGUMENT if it is stale.
 */
#ifndef CD_DAGINDEX_H
#define CD_DAGINDEX_H

#include "base/base.h"

#define CD_DAG_VALIDATORS_MAX 200
#define CD_DAG_TIPS_LISTED_MAX 64
#define CD_DAG_PARENTS_MAX (CD_DAG_VALIDATORS_MAX + CD_DAG_TIPS_LISTED_MAX)
#define CD_DAG_ROUNDS_MAX 65536
#define CD_DAG_VERTICES_MAX (1u << 26)
#define CD_DAG_BLOCKS_MAX (1u << 28)
#define CD_DAG_ISSUERS_MAX (1u << 20)
#define CD_DAG_OPERATOR 0x80000000u
#define CD_DAG_SELECT_MIN 2
#define CD_DAG_SELECT_MAX 8
#define CD_DAG_MASK_WORDS 4

typedef struct cd_dag cd_dag;

/* Names a vertex in the window; never 0. */
typedef uint64_t cd_dag_handle;

/* What a vertex says of another: 40 bytes. All fields must match, else the parent is missing. */
typedef struct {
    uint8_t digest[32];
    uint32_t round; /* an operator's anchor round */
    uint32_t author;
} cd_dag_ref;

/* Bit i of word i / 64 is validator i. */
typedef struct {
    uint64_t word[CD_DAG_MASK_WORDS];
} cd_dag_mask;

typedef struct {
    uint32_t validators;   /* 1..CD_DAG_VALIDATORS_MAX */
    uint32_t rounds_max;   /* rounds above gc_round, a power of two, 4..CD_DAG_ROUNDS_MAX */
    uint32_t vertices_max; /* 1..CD_DAG_VERTICES_MAX */
    uint32_t blocks_max;   /* blocks of 7 parent links, 1..CD_DAG_BLOCKS_MAX */
    uint32_t issuers_max;  /* operators' indices are below this; 0..CD_DAG_ISSUERS_MAX */
    uint64_t seed[2];      /* secret of the process, for the table only */
} cd_dag_config;

/* What became of a vertex. Only CD_DAG_INSERTED changes anything. */
typedef enum {
    CD_DAG_INSERTED = 0,
    CD_DAG_DUPLICATE = 1, /* it is there already */
    CD_DAG_MISSING = 2,   /* some parents are not there */
    CD_DAG_STALE = 3,     /* round <= gc_round */
    CD_DAG_FAR = 4,       /* round > gc_round + rounds_max */
    CD_DAG_FULL = 5,      /* vertices_max or blocks_max is reached, or there is no memory */
    CD_DAG_INVALID = 6    /* breaks an invariant above, names itself or an unknown author */
} cd_dag_outcome;

typedef struct {
    uint32_t gc_round;
    uint32_t highest_round; /* of a validator's vertex ever inserted; 0 if none */
    uint32_t vertices;
    uint32_t tips;  /* of either kind that may be selected; lazy ones may still be counted */
    uint64_t bytes; /* allocated */
} cd_dag_stats;

/* A vertex of the window, as cd_dag_get tells. */
typedef struct {
    cd_dag_ref ref;
    uint32_t parents; /* those above gc_round */
    uint32_t has_children;
    uint32_t committed;
} cd_dag_vertex;

/* stakes: config->validators values; their sum is 1..2^64-1. CD_ERR_MEMORY if memory is refused. */
cd_status cd_dag_open(const cd_dag_config *config, const uint64_t *stakes, cd_dag **dag);
void cd_dag_free(cd_dag *dag);
cd_status cd_dag_get_stats(const cd_dag *dag, cd_dag_stats *stats);

/* Insert n vertices in order. The parents of vertex i are parents[offsets[i] .. offsets[i+1]), in
 * listed order; offsets start at 0, do not decrease and end at parents_len. outcomes: n bytes;
 * handles: n values, 0 unless INSERTED or DUPLICATE; missing: parents_len bytes, 1 where that
 * parent is why its child is MISSING. Cost per vertex: a probe for it and for each parent, whatever
 * the size of the window. Two vertices by one author in one round are both kept. */
cd_status cd_dag_insert(cd_dag *dag, const cd_dag_ref *refs, size_t n, const cd_dag_ref *parents,
                        size_t parents_len, const uint64_t *offsets, uint8_t *outcomes,
                        cd_dag_handle *handles, uint8_t *missing);

/* Drop every vertex with round <= gc_round, which may not sink. Cost: the vertices and links
 * dropped. Sets *dropped. */
cd_status cd_dag_set_gc_round(cd_dag *dag, uint32_t gc_round, size_t *dropped);

/* *handle is 0 if no vertex has this digest. */
cd_status cd_dag_find(const cd_dag *dag, const uint8_t digest[32], cd_dag_handle *handle);
cd_status cd_dag_get(const cd_dag *dag, cd_dag_handle handle, cd_dag_vertex *vertex);

/* Parents above gc_round in listed order; children, newest first; vertices by one author in one
 * round, newest first. Each writes up to max handles and sets *count to how many there are. An
 * operator's slot is read by a walk over all operators' vertices of that round. */
cd_status cd_dag_parents(const cd_dag *dag, cd_dag_handle of, cd_dag_handle *out, size_t max,
                         size_t *count);
cd_status cd_dag_children(const cd_dag *dag, cd_dag_handle of, cd_dag_handle *out, size_t max,
                          size_t *count);
cd_status cd_dag_slot(const cd_dag *dag, uint32_t round, uint32_t author, cd_dag_handle *out,
                      size_t max, size_t *count);

/* Votes. A sum counts each author once. Operators' vertices never count. */

typedef struct {
    cd_dag_mask authors;
    uint64_t stake;
} cd_dag_support;

/* Q = N - floor((N-1)/3), N the total stake. */
uint64_t cd_dag_quorum(const cd_dag *dag);

/* Authors with a vertex in this round. */
cd_status cd_dag_round_authors(const cd_dag *dag, uint32_t round, cd_dag_support *out);

/* Authors of round-(r+1) vertices whose ancestor in the slot of `vertex` is `vertex`. O(1). */
cd_status cd_dag_votes(const cd_dag *dag, cd_dag_handle vertex, cd_dag_support *out);

/* Authors of round-(r+1) vertices without an ancestor in slot (round, author). An author that
 * equivocates may both vote and blame. None if round <= gc_round: such a slot is exempt, and the
 * links to it are gone. O(validators + equivocations). */
cd_status cd_dag_blames(const cd_dag *dag, uint32_t round, uint32_t author, cd_dag_support *out);

/* Authors of round-(r+2) vertices that certify `vertex`: whose parents hold votes for it of stake
 * >= Q. O(validators + equivocations) words; exact also among equivocating voters. */
cd_status cd_dag_certificates(const cd_dag *dag, cd_dag_handle vertex, cd_dag_support *out);

/* Whether a round-(r+2) vertex certifies `vertex` and is `anchor` or reached from it over
 * validators' vertices. Cost: the validators' vertices of the anchor's past from round r+2 up. */
cd_status cd_dag_certified_in_past(cd_dag *dag, cd_dag_handle anchor, cd_dag_handle vertex,
                                   int *certified);

/* Walks. */

/* Whether `to` is `from` or in its past; over validators' vertices only, if asked. Reads nothing
 * below the round of `to`. */
cd_status cd_dag_is_reachable(cd_dag *dag, cd_dag_handle from, cd_dag_handle to,
                              int validators_only, int *reachable);

/* The sub-DAG of a leader: `leader` and what is uncommitted in its past, parents first. Of the
 * vertices whose parents are all placed, the one with the lowest keyed BLAKE3 (key: seed) of its
 * digest comes next, so the order depends on the set and the seed alone. A committed vertex ends
 * the walk. Writes up to max handles and sets *count to how many there are (call again with room if
 * it is more). Marks nothing. O(m log m + links) for m vertices. */
cd_status cd_dag_order(cd_dag *dag, cd_dag_handle leader, const uint8_t seed[32],
                       cd_dag_handle *out, size_t max, size_t *count);

/* Mark vertices committed; nothing is marked if one handle is stale. Idempotent. */
cd_status cd_dag_mark_committed(cd_dag *dag, const cd_dag_handle *handles, size_t n);

/* Validators with a vertex that has `vertex` in its past or is `vertex`: its approval weight.
 * Exact, computed at each call; ends as soon as every validator is found. Cost: at most the
 * vertices and links of the future of `vertex`. */
cd_status cd_dag_approval(cd_dag *dag, cd_dag_handle vertex, cd_dag_support *out);

/* Tips: uncommitted vertices without children, not lazy (round >= the least tip round), and for
 * operators within the quota of their issuer. */

/* Tips of lower rounds are lazy from now on. It may not sink. O(1). */
cd_status cd_dag_set_tip_round(cd_dag *dag, uint32_t round);

/* An issuer's bond in units of the fair share, and its quota: while it has more uncommitted
 * vertices in the window than that, none of its tips is selected. Before the first call its bond is
 * 0 and its quota 2^32-1. A bond of 0 is never selected by the fair rule. O(its tips). */
cd_status cd_dag_set_issuer(cd_dag *dag, uint32_t issuer, uint64_t bond, uint32_t quota);

/* Choose up to k distinct tips uniformly, k in CD_DAG_SELECT_MIN..MAX; *rng is the state of a
 * SplitMix64 and moves on. Either kind, or operators' only. *count < k only if there are no more.
 * O(k) expected, plus each lazy tip once. */
cd_status cd_dag_select_uniform(cd_dag *dag, uint32_t k, int operators_only, uint64_t *rng,
                                cd_dag_handle *out, size_t *count);

/* Choose up to k distinct operators' tips by deficit round robin over bonds: each visit gives an
 * issuer its bond, each tip costs tip_cost >= 1, and an issuer without a further tip loses its
 * credit. Bonds count as at least tip_cost / 16 (rounded up) and at most 16 * tip_cost, so that an
 * issuer takes a tip at every 16th visit at the latest and at most 16 in a row. An issuer's tips
 * take turns. O(k) for bonds >= tip_cost. */
cd_status cd_dag_select_fair(cd_dag *dag, uint32_t k, uint64_t tip_cost, cd_dag_handle *out,
                             size_t *count);

#endif
