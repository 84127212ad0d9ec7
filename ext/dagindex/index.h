/* The index's insides, shared by its C files. */
#ifndef CD_DAGINDEX_INDEX_H
#define CD_DAGINDEX_INDEX_H

#include "dagindex/dagindex.h"

#include <stdbool.h>
#include <stdlib.h>

#define CD_NONE UINT32_MAX
#define CD_PARKED (UINT32_MAX - 1) /* tip_at of a tip that its issuer's quota keeps out */
#define CD_BLOCK_LINKS 7

typedef struct {
    uint8_t digest[32];
    uint32_t round, author;
    uint32_t block;    /* first block of parents */
    uint32_t children; /* first link of the list of children */
    uint32_t next;     /* in its slot, in its round's operators, or among free vertices */
    uint32_t generation;
    uint32_t mark;
    uint16_t parents; /* links used in its blocks, cleared ones too */
    uint8_t live, committed;
} cd_vertex;

typedef struct {
    uint32_t tip_at; /* in its tip array; CD_PARKED, or CD_NONE if no tip */
    uint32_t tip_next, tip_prev;
    uint32_t side; /* of a validator's vertex */
} cd_more;

/* Up to 7 parents of one child. Link id = 8 * block + place. One cache line. */
typedef struct {
    uint32_t child;
    uint32_t next; /* block of the same child, or free block */
    uint32_t parent[CD_BLOCK_LINKS];
    uint32_t sibling[CD_BLOCK_LINKS]; /* next link with the same parent */
} cd_block;

typedef struct {
    cd_dag_mask votes;  /* authors of children in the next round */
    cd_dag_mask strong; /* authors of parents in the round before */
    uint32_t next;      /* free ones */
} cd_side;

typedef struct {
    cd_dag_mask present, equivocators;
    uint32_t operators;
} cd_round;

typedef struct {
    uint64_t bond, credit;
    uint32_t quota, uncommitted;
    uint32_t first_tip, last_tip;
    uint32_t ring_next, ring_prev; /* CD_NONE outside the ring */
} cd_issuer;

typedef struct {
    uint32_t hash, at;
} cd_entry;

struct cd_dag {
    cd_dag_config config;
    uint64_t stakes[CD_DAG_VALIDATORS_MAX], quorum;
    uint32_t gc_round, highest_round, tip_round;

    cd_vertex *vertices;
    cd_more *more;
    uint32_t *scratch; /* 2 * room words, for walks */
    uint32_t room, used, live, free_vertex, mark;

    cd_block *blocks;
    uint32_t blocks_room, blocks_used, blocks_free, free_block;

    cd_side *sides;
    uint32_t sides_room, sides_used, free_side;

    cd_entry *table;
    uint32_t table_mask;

    cd_round *rounds; /* rounds_max of them, by round modulo that */
    uint32_t *slots;  /* rounds_max x validators */

    cd_issuer *issuers;
    uint32_t *tips[2]; /* validators', operators'; room words each */
    uint32_t tips_len[2];
    uint32_t cursor; /* next issuer of the ring */
    bool visited;    /* it has its credit of this visit */
};

CD_INLINE bool is_operator(uint32_t author) { return (author & CD_DAG_OPERATOR) != 0; }

CD_INLINE bool knows_author(const cd_dag *dag, uint32_t author) {
    return is_operator(author) ? (author & ~CD_DAG_OPERATOR) < dag->config.issuers_max
                               : author < dag->config.validators;
}

CD_INLINE bool in_window(const cd_dag *dag, uint64_t round) {
    return round > dag->gc_round && round <= (uint64_t)dag->gc_round + dag->config.rounds_max;
}

CD_INLINE cd_round *round_of(const cd_dag *dag, uint32_t round) {
    return &dag->rounds[round & (dag->config.rounds_max - 1)];
}

CD_INLINE uint32_t *slot_of(const cd_dag *dag, uint32_t round, uint32_t author) {
    size_t row = round & (dag->config.rounds_max - 1);
    return &dag->slots[row * dag->config.validators + author];
}

CD_INLINE cd_dag_handle handle_of(const cd_dag *dag, uint32_t at) {
    return (uint64_t)dag->vertices[at].generation << 32 | at;
}

/* Where the vertex of a handle is, or CD_NONE. */
CD_INLINE uint32_t resolve(const cd_dag *dag, cd_dag_handle handle) {
    uint32_t at = (uint32_t)handle;
    if (at >= dag->used || !dag->vertices[at].live) return CD_NONE;
    return dag->vertices[at].generation == handle >> 32 ? at : CD_NONE;
}

CD_INLINE bool mask_has(const cd_dag_mask *mask, uint32_t i) {
    return mask->word[i / 64] >> (i % 64) & 1;
}

CD_INLINE void mask_add(cd_dag_mask *mask, uint32_t i) {
    mask->word[i / 64] |= (uint64_t)1 << (i % 64);
}

CD_INLINE cd_side *side_of(const cd_dag *dag, uint32_t at) {
    return &dag->sides[dag->more[at].side];
}

/* A walk over the parents of a vertex: links in listed order, cleared ones skipped. */
typedef struct {
    uint32_t block, place, left;
} cd_parent_walk;

CD_INLINE cd_parent_walk parents_begin(const cd_dag *dag, uint32_t at) {
    return (cd_parent_walk){dag->vertices[at].block, 0, dag->vertices[at].parents};
}

/* The next parent, or CD_NONE at the end. */
CD_INLINE uint32_t parents_next(const cd_dag *dag, cd_parent_walk *walk) {
    while (walk->left > 0) {
        const cd_block *block = &dag->blocks[walk->block];
        uint32_t parent = block->parent[walk->place];
        walk->left--;
        if (++walk->place == CD_BLOCK_LINKS) {
            walk->place = 0;
            walk->block = block->next;
        }
        if (parent != CD_NONE) return parent;
    }
    return CD_NONE;
}

CD_INLINE uint32_t link_child(const cd_dag *dag, uint32_t link) {
    return dag->blocks[link / 8].child;
}

CD_INLINE uint32_t link_sibling(const cd_dag *dag, uint32_t link) {
    return dag->blocks[link / 8].sibling[link % 8];
}

/* Open a set of marked vertices: empty at first. */
uint32_t cd_dag_new_mark(cd_dag *dag);

/* table.c: _ask also prefetches the line where the search for this digest begins. */
uint32_t cd_table_hash(const cd_dag *dag, const uint8_t digest[32]);
uint32_t cd_table_ask(const cd_dag *dag, const uint8_t digest[32]);
uint32_t cd_table_find(const cd_dag *dag, uint32_t hash, const uint8_t digest[32]);
void cd_table_add(cd_dag *dag, uint32_t hash, uint32_t at);
void cd_table_remove(cd_dag *dag, uint32_t hash, uint32_t at);

/* memory.c: room for one more vertex with this many parents; false if there is none to be had. */
bool cd_dag_reserve(cd_dag *dag, uint32_t parents, bool validator);
uint32_t cd_dag_take_vertex(cd_dag *dag);
uint32_t cd_dag_take_block(cd_dag *dag);
uint32_t cd_dag_take_side(cd_dag *dag);

/* support.c */
uint64_t cd_dag_stake_of(const cd_dag *dag, const cd_dag_mask *mask);
bool cd_dag_certifies(const cd_dag *dag, uint32_t by, uint32_t at);

/* tips.c */
void cd_tips_on_insert(cd_dag *dag, uint32_t at);
void cd_tips_on_child(cd_dag *dag, uint32_t parent);
void cd_tips_on_commit(cd_dag *dag, uint32_t at); /* before the mark is set */
void cd_tips_on_drop(cd_dag *dag, uint32_t at);

#endif
