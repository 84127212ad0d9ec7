/* Insertion, look-ups and GC. */
#include "dagindex/index.h"

/* Insertion. */

/* A large window misses the cache at nearly every probe. So table lines are asked for a group ahead
 * of their use, and the misses overlap. A vertex with more parents than that is a group alone. */
#define GROUP_REFS 64
#define GROUP_DROPS 32

typedef struct {
    uint32_t parent[CD_DAG_PARENTS_MAX];
    uint32_t parents; /* those above gc_round, in listed order */
    cd_dag_mask strong;
} cd_entrant;

/* Whether the refs by themselves keep the header's invariants. Sets the strong mask. */
static bool refs_hold(const cd_dag *dag, const cd_dag_ref *ref, const cd_dag_ref *parents, size_t n,
                      cd_entrant *entrant) {
    cd_dag_mask seen = {{0}};
    const bool validator = !is_operator(ref->author);
    memset(&entrant->strong, 0, sizeof entrant->strong);
    for (size_t i = 0; i < n; i++) {
        const cd_dag_ref *parent = &parents[i];
        if (!knows_author(dag, parent->author)) return false;
        if (parent->round > ref->round || (validator && parent->round == ref->round)) return false;
        if (memcmp(parent->digest, ref->digest, 32) == 0) return false;
        if (!validator || is_operator(parent->author)) continue;
        if (mask_has(&seen, parent->author)) return false;
        mask_add(&seen, parent->author);
        if (parent->round + 1 == ref->round) mask_add(&entrant->strong, parent->author);
    }
    return true;
}

/* The vertex that a ref names, or CD_NONE if one field differs. */
static uint32_t find_parent(const cd_dag *dag, uint32_t hash, const cd_dag_ref *ref) {
    uint32_t at = cd_table_find(dag, hash, ref->digest);
    if (at == CD_NONE) return CD_NONE;
    const cd_vertex *vertex = &dag->vertices[at];
    return vertex->round == ref->round && vertex->author == ref->author ? at : CD_NONE;
}

/* Find the parents above gc_round. */
static cd_dag_outcome find_parents(cd_dag *dag, const cd_dag_ref *parents, size_t n,
                                   const uint32_t *hashes, uint8_t *missing, cd_entrant *entrant) {
    size_t lacking = 0;
    bool repeated = false;
    const uint32_t mark = cd_dag_new_mark(dag);
    entrant->parents = 0;
    for (size_t i = 0; i < n; i++) {
        if (parents[i].round <= dag->gc_round) continue;
        const uint32_t at = find_parent(dag, hashes[i], &parents[i]);
        if (at == CD_NONE) {
            missing[i] = 1;
            lacking++;
            continue;
        }
        repeated |= dag->vertices[at].mark == mark;
        dag->vertices[at].mark = mark;
        entrant->parent[entrant->parents++] = at;
    }
    if (repeated) {
        memset(missing, 0, n);
        return CD_DAG_INVALID;
    }
    return lacking ? CD_DAG_MISSING : CD_DAG_INSERTED;
}

static void link_parents(cd_dag *dag, uint32_t at, const cd_entrant *entrant) {
    cd_block *block = NULL;
    uint32_t id = CD_NONE;
    for (uint32_t i = 0; i < entrant->parents; i++) {
        const uint32_t place = i % CD_BLOCK_LINKS, parent = entrant->parent[i];
        if (place == 0) {
            uint32_t fresh = cd_dag_take_block(dag);
            if (block == NULL) {
                dag->vertices[at].block = fresh;
            } else {
                block->next = fresh;
            }
            id = fresh;
            block = &dag->blocks[id];
            block->child = at;
            block->next = CD_NONE;
        }
        block->parent[place] = parent;
        block->sibling[place] = dag->vertices[parent].children;
        if (block->sibling[place] == CD_NONE) cd_tips_on_child(dag, parent);
        dag->vertices[parent].children = 8 * id + place;
    }
}

/* What only validators' vertices have: a side with masks, and a place in their slot. */
static void link_validator(cd_dag *dag, uint32_t at, const cd_entrant *entrant) {
    cd_vertex *vertex = &dag->vertices[at];
    uint32_t *slot = slot_of(dag, vertex->round, vertex->author);
    cd_round *round = round_of(dag, vertex->round);
    dag->more[at].side = cd_dag_take_side(dag);
    *side_of(dag, at) = (cd_side){.strong = entrant->strong};
    for (uint32_t i = 0; i < entrant->parents; i++) {
        const cd_vertex *parent = &dag->vertices[entrant->parent[i]];
        if (!is_operator(parent->author) && parent->round + 1 == vertex->round)
            mask_add(&side_of(dag, entrant->parent[i])->votes, vertex->author);
    }
    if (*slot != CD_NONE) mask_add(&round->equivocators, vertex->author);
    mask_add(&round->present, vertex->author);
    vertex->next = *slot;
    *slot = at;
    if (vertex->round > dag->highest_round) dag->highest_round = vertex->round;
}

static void link_operator(cd_dag *dag, uint32_t at) {
    cd_round *round = round_of(dag, dag->vertices[at].round);
    dag->more[at].side = CD_NONE;
    dag->vertices[at].next = round->operators;
    round->operators = at;
}

static uint32_t place_vertex(cd_dag *dag, const cd_dag_ref *ref, uint32_t hash,
                             const cd_entrant *entrant) {
    const uint32_t at = cd_dag_take_vertex(dag);
    cd_vertex *vertex = &dag->vertices[at];
    memcpy(vertex->digest, ref->digest, 32);
    vertex->round = ref->round;
    vertex->author = ref->author;
    vertex->block = vertex->children = CD_NONE;
    vertex->parents = (uint16_t)entrant->parents;
    vertex->live = 1;
    vertex->committed = 0;
    cd_table_add(dag, hash, at);
    link_parents(dag, at, entrant);
    if (is_operator(ref->author)) {
        link_operator(dag, at);
    } else {
        link_validator(dag, at, entrant);
    }
    cd_tips_on_insert(dag, at);
    return at;
}

/* hashes: the vertex's own, then its parents'. */
static cd_dag_outcome insert_one(cd_dag *dag, const cd_dag_ref *ref, const cd_dag_ref *parents,
                                 size_t n, const uint32_t *hashes, cd_dag_handle *handle,
                                 uint8_t *missing) {
    cd_entrant entrant;
    *handle = 0;
    if (n > 0) memset(missing, 0, n);
    if (!knows_author(dag, ref->author) || n > CD_DAG_PARENTS_MAX) return CD_DAG_INVALID;
    if (!refs_hold(dag, ref, parents, n, &entrant)) return CD_DAG_INVALID;
    if (ref->round <= dag->gc_round) return CD_DAG_STALE;
    if (!in_window(dag, ref->round)) return CD_DAG_FAR;
    uint32_t at = cd_table_find(dag, hashes[0], ref->digest);
    if (at != CD_NONE) {
        const cd_vertex *there = &dag->vertices[at];
        if (there->round != ref->round || there->author != ref->author) return CD_DAG_INVALID;
        *handle = handle_of(dag, at);
        return CD_DAG_DUPLICATE;
    }
    cd_dag_outcome outcome = find_parents(dag, parents, n, hashes + 1, missing, &entrant);
    if (outcome != CD_DAG_INSERTED) return outcome;
    if (!cd_dag_reserve(dag, entrant.parents, !is_operator(ref->author))) return CD_DAG_FULL;
    *handle = handle_of(dag, place_vertex(dag, ref, hashes[0], &entrant));
    return CD_DAG_INSERTED;
}

/* Hash the next vertices, each with its parents above gc_round behind it, and ask for their table
 * lines. Returns the end of the group. One with too many parents ends it unhashed: it is refused. */
static size_t ask_group(const cd_dag *dag, const cd_dag_ref *refs, size_t i, size_t n,
                        const cd_dag_ref *parents, const uint64_t *offsets, uint32_t *hashes) {
    size_t used = 0;
    do {
        const size_t count = offsets[i + 1] - offsets[i];
        if (count > CD_DAG_PARENTS_MAX) return i + 1;
        if (used > 0 && used + 1 + count > GROUP_REFS) return i;
        hashes[used++] = cd_table_ask(dag, refs[i].digest);
        for (size_t k = offsets[i]; k < offsets[i + 1]; k++, used++)
            if (parents[k].round > dag->gc_round)
                hashes[used] = cd_table_ask(dag, parents[k].digest);
    } while (++i < n);
    return i;
}

static bool offsets_hold(const uint64_t *offsets, size_t n, size_t end) {
    if (offsets[0] != 0 || offsets[n] != end) return false;
    for (size_t i = 0; i < n; i++)
        if (offsets[i] > offsets[i + 1]) return false;
    return true;
}

cd_status cd_dag_insert(cd_dag *dag, const cd_dag_ref *refs, size_t n, const cd_dag_ref *parents,
                        size_t parents_len, const uint64_t *offsets, uint8_t *outcomes,
                        cd_dag_handle *handles, uint8_t *missing) {
    CD_ARG_CHECK(dag != NULL && offsets != NULL);
    CD_ARG_CHECK(n == 0 || (refs != NULL && outcomes != NULL && handles != NULL));
    CD_ARG_CHECK(parents_len == 0 || (parents != NULL && missing != NULL));
    CD_ARG_CHECK(n < SIZE_MAX / sizeof *refs && offsets_hold(offsets, n, parents_len));
    uint32_t hashes[1 + CD_DAG_PARENTS_MAX];
    for (size_t i = 0; i < n;) {
        const size_t end = ask_group(dag, refs, i, n, parents, offsets, hashes);
        const uint32_t *own = hashes;
        for (; i < end; i++) {
            const size_t from = offsets[i], count = offsets[i + 1] - from;
            outcomes[i] =
                (uint8_t)insert_one(dag, &refs[i], parents_len ? parents + from : NULL, count, own,
                                    &handles[i], parents_len ? missing + from : NULL);
            own += 1 + count;
        }
    }
    return CD_OK;
}

/* GC. */

/* Clear the links to a vertex that goes. Its children may go too, but their blocks still stand. */
static void detach(cd_dag *dag, uint32_t at, uint32_t hash) {
    for (uint32_t link = dag->vertices[at].children; link != CD_NONE;) {
        cd_block *block = &dag->blocks[link / 8];
        CD_VERIFY_CHECK(block->parent[link % 8] == at);
        block->parent[link % 8] = CD_NONE;
        link = block->sibling[link % 8];
    }
    cd_tips_on_drop(dag, at);
    cd_table_remove(dag, hash, at);
}

static void detach_list(cd_dag *dag, uint32_t at) {
    uint32_t group[GROUP_DROPS], hashes[GROUP_DROPS];
    while (at != CD_NONE) {
        uint32_t n = 0;
        for (; at != CD_NONE && n < GROUP_DROPS; at = dag->vertices[at].next) {
            const uint32_t child = dag->vertices[at].children;
            if (child != CD_NONE) __builtin_prefetch(&dag->blocks[child / 8]);
            group[n] = at;
            hashes[n++] = cd_table_ask(dag, dag->vertices[at].digest);
        }
        for (uint32_t i = 0; i < n; i++) detach(dag, group[i], hashes[i]);
    }
}

static void release(cd_dag *dag, uint32_t at) {
    cd_vertex *vertex = &dag->vertices[at];
    for (uint32_t id = vertex->parents ? vertex->block : CD_NONE; id != CD_NONE;) {
        uint32_t next = dag->blocks[id].next;
        dag->blocks[id].next = dag->free_block;
        dag->free_block = id;
        dag->blocks_free++;
        id = next;
    }
    uint32_t side = dag->more[at].side;
    if (side != CD_NONE) {
        dag->sides[side].next = dag->free_side;
        dag->free_side = side;
    }
    vertex->live = 0;
    if (++vertex->generation == 0) vertex->generation = 1;
    vertex->next = dag->free_vertex;
    dag->free_vertex = at;
    dag->live--;
}

static size_t release_list(cd_dag *dag, uint32_t at) {
    size_t count = 0;
    while (at != CD_NONE) {
        uint32_t next = dag->vertices[at].next;
        release(dag, at);
        at = next;
        count++;
    }
    return count;
}

/* All of a round lets go before any of it is freed: operators link within their round. */
static size_t drop_round(cd_dag *dag, uint32_t number) {
    cd_round *round = round_of(dag, number);
    uint32_t *slots = slot_of(dag, number, 0);
    const uint32_t n = dag->config.validators;
    size_t count = 0;
    for (uint32_t i = 0; i <= n; i++) detach_list(dag, i < n ? slots[i] : round->operators);
    for (uint32_t i = 0; i < n; i++) {
        count += release_list(dag, slots[i]);
        slots[i] = CD_NONE;
    }
    count += release_list(dag, round->operators);
    *round = (cd_round){.operators = CD_NONE};
    return count;
}

cd_status cd_dag_set_gc_round(cd_dag *dag, uint32_t gc_round, size_t *dropped) {
    CD_ARG_CHECK(dag != NULL && dropped != NULL && gc_round >= dag->gc_round);
    *dropped = 0;
    const uint32_t rise = gc_round - dag->gc_round;
    const uint32_t rounds = rise < dag->config.rounds_max ? rise : dag->config.rounds_max;
    for (uint32_t i = 1; i <= rounds; i++) *dropped += drop_round(dag, dag->gc_round + i);
    dag->gc_round = gc_round;
    return CD_OK;
}

/* Look-ups. */

cd_status cd_dag_find(const cd_dag *dag, const uint8_t digest[32], cd_dag_handle *handle) {
    CD_ARG_CHECK(dag != NULL && digest != NULL && handle != NULL);
    uint32_t at = cd_table_find(dag, cd_table_hash(dag, digest), digest);
    *handle = at == CD_NONE ? 0 : handle_of(dag, at);
    return CD_OK;
}

cd_status cd_dag_get(const cd_dag *dag, cd_dag_handle handle, cd_dag_vertex *vertex) {
    CD_ARG_CHECK(dag != NULL && vertex != NULL);
    const uint32_t at = resolve(dag, handle);
    CD_ARG_CHECK(at != CD_NONE);
    const cd_vertex *there = &dag->vertices[at];
    memcpy(vertex->ref.digest, there->digest, 32);
    vertex->ref.round = there->round;
    vertex->ref.author = there->author;
    vertex->parents = 0;
    cd_parent_walk walk = parents_begin(dag, at);
    while (parents_next(dag, &walk) != CD_NONE) vertex->parents++;
    vertex->has_children = there->children != CD_NONE;
    vertex->committed = there->committed;
    return CD_OK;
}

cd_status cd_dag_parents(const cd_dag *dag, cd_dag_handle of, cd_dag_handle *out, size_t max,
                         size_t *count) {
    CD_ARG_CHECK(dag != NULL && count != NULL && (out != NULL || max == 0));
    const uint32_t at = resolve(dag, of);
    CD_ARG_CHECK(at != CD_NONE);
    cd_parent_walk walk = parents_begin(dag, at);
    *count = 0;
    for (uint32_t parent; (parent = parents_next(dag, &walk)) != CD_NONE; ++*count)
        if (*count < max) out[*count] = handle_of(dag, parent);
    return CD_OK;
}

cd_status cd_dag_children(const cd_dag *dag, cd_dag_handle of, cd_dag_handle *out, size_t max,
                          size_t *count) {
    CD_ARG_CHECK(dag != NULL && count != NULL && (out != NULL || max == 0));
    const uint32_t at = resolve(dag, of);
    CD_ARG_CHECK(at != CD_NONE);
    *count = 0;
    for (uint32_t link = dag->vertices[at].children; link != CD_NONE;
         link = link_sibling(dag, link), ++*count)
        if (*count < max) out[*count] = handle_of(dag, link_child(dag, link));
    return CD_OK;
}

cd_status cd_dag_slot(const cd_dag *dag, uint32_t round, uint32_t author, cd_dag_handle *out,
                      size_t max, size_t *count) {
    CD_ARG_CHECK(dag != NULL && count != NULL && (out != NULL || max == 0));
    CD_ARG_CHECK(knows_author(dag, author));
    *count = 0;
    if (!in_window(dag, round)) return CD_OK;
    uint32_t at =
        is_operator(author) ? round_of(dag, round)->operators : *slot_of(dag, round, author);
    for (; at != CD_NONE; at = dag->vertices[at].next) {
        if (dag->vertices[at].author != author) continue;
        if (*count < max) out[*count] = handle_of(dag, at);
        ++*count;
    }
    return CD_OK;
}
