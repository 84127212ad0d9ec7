/* Walks: reachability, the order of a sub-DAG, approval. Each vertex is pushed once, so the stack
 * never outgrows the scratch. */
#include "dagindex/index.h"

#include "digest/digest.h"

typedef struct {
    uint32_t floor; /* nothing below this round */
    bool validators_only;
} cd_bounds;

typedef struct {
    cd_dag *dag;
    uint32_t mark, len;
} cd_stack;

CD_INLINE void push(cd_stack *stack, uint32_t at) {
    cd_vertex *vertex = &stack->dag->vertices[at];
    if (vertex->mark == stack->mark) return;
    vertex->mark = stack->mark;
    CD_VERIFY_CHECK(stack->len < stack->dag->room);
    stack->dag->scratch[stack->len++] = at;
}

CD_INLINE cd_stack start(cd_dag *dag, uint32_t at) {
    cd_stack stack = {dag, cd_dag_new_mark(dag), 0};
    push(&stack, at);
    return stack;
}

static void push_parents(cd_stack *stack, uint32_t at, cd_bounds bounds) {
    const cd_dag *dag = stack->dag;
    cd_parent_walk walk = parents_begin(dag, at);
    for (uint32_t parent; (parent = parents_next(dag, &walk)) != CD_NONE;) {
        const cd_vertex *vertex = &dag->vertices[parent];
        CD_VERIFY_CHECK(vertex->live && vertex->round > dag->gc_round);
        if (vertex->round < bounds.floor) continue;
        if (bounds.validators_only && is_operator(vertex->author)) continue;
        push(stack, parent);
    }
}

cd_status cd_dag_is_reachable(cd_dag *dag, cd_dag_handle from, cd_dag_handle to,
                              int validators_only, int *reachable) {
    CD_ARG_CHECK(dag != NULL && reachable != NULL);
    const uint32_t source = resolve(dag, from), target = resolve(dag, to);
    CD_ARG_CHECK(source != CD_NONE && target != CD_NONE);
    const cd_bounds bounds = {dag->vertices[target].round, validators_only != 0};
    *reachable = 0;
    if (dag->vertices[source].round < bounds.floor) return CD_OK;
    cd_stack stack = start(dag, source);
    while (stack.len > 0 && dag->vertices[target].mark != stack.mark)
        push_parents(&stack, dag->scratch[--stack.len], bounds);
    *reachable = dag->vertices[target].mark == stack.mark;
    return CD_OK;
}

cd_status cd_dag_certified_in_past(cd_dag *dag, cd_dag_handle anchor, cd_dag_handle vertex,
                                   int *certified) {
    CD_ARG_CHECK(dag != NULL && certified != NULL);
    const uint32_t source = resolve(dag, anchor), at = resolve(dag, vertex);
    CD_ARG_CHECK(source != CD_NONE && at != CD_NONE);
    CD_ARG_CHECK(!is_operator(dag->vertices[source].author));
    CD_ARG_CHECK(!is_operator(dag->vertices[at].author));
    *certified = 0;
    const uint64_t round = (uint64_t)dag->vertices[at].round + 2;
    if (dag->vertices[source].round < round) return CD_OK;
    cd_stack stack = start(dag, source);
    while (stack.len > 0 && !*certified) {
        const uint32_t by = dag->scratch[--stack.len];
        if (dag->vertices[by].round == round) {
            *certified = cd_dag_certifies(dag, by, at);
        } else {
            push_parents(&stack, by, (cd_bounds){(uint32_t)round, true});
        }
    }
    return CD_OK;
}

cd_status cd_dag_mark_committed(cd_dag *dag, const cd_dag_handle *handles, size_t n) {
    CD_ARG_CHECK(dag != NULL && (handles != NULL || n == 0));
    for (size_t i = 0; i < n; i++) CD_ARG_CHECK(resolve(dag, handles[i]) != CD_NONE);
    for (size_t i = 0; i < n; i++) {
        const uint32_t at = resolve(dag, handles[i]);
        if (dag->vertices[at].committed) continue;
        cd_tips_on_commit(dag, at);
        dag->vertices[at].committed = 1;
    }
    return CD_OK;
}

cd_status cd_dag_approval(cd_dag *dag, cd_dag_handle vertex, cd_dag_support *out) {
    CD_ARG_CHECK(dag != NULL && out != NULL);
    const uint32_t at = resolve(dag, vertex);
    CD_ARG_CHECK(at != CD_NONE);
    memset(out, 0, sizeof *out);
    uint32_t left = dag->config.validators;
    cd_stack stack = start(dag, at);
    while (stack.len > 0 && left > 0) {
        const uint32_t top = dag->scratch[--stack.len], author = dag->vertices[top].author;
        if (!is_operator(author) && !mask_has(&out->authors, author)) {
            mask_add(&out->authors, author);
            left--;
        }
        for (uint32_t link = dag->vertices[top].children; link != CD_NONE && left > 0;
             link = link_sibling(dag, link))
            push(&stack, link_child(dag, link));
    }
    out->stake = cd_dag_stake_of(dag, &out->authors);
    return CD_OK;
}

/* The order of a sub-DAG. */

/* Members are numbered as they are found; place[vertex] is a vertex's number. */
typedef struct {
    cd_dag *dag;
    uint32_t mark, count;
    uint32_t *member; /* number -> vertex; in the scratch */
    uint32_t *place;  /* vertex -> number; in the scratch */
    uint8_t *keys;    /* number -> 32 bytes */
    uint32_t *waits;  /* number -> parents not yet placed */
    uint32_t *heap;   /* numbers that wait for nothing, lowest key first */
    uint32_t heap_len;
} cd_sorter;

/* The members, breadth first: the list is its own queue. */
static void collect(cd_sorter *sorter, uint32_t leader) {
    cd_dag *dag = sorter->dag;
    cd_stack found = start(dag, leader);
    for (uint32_t i = 0; i < found.len; i++) {
        cd_parent_walk walk = parents_begin(dag, sorter->member[i]);
        sorter->place[sorter->member[i]] = i;
        for (uint32_t parent; (parent = parents_next(dag, &walk)) != CD_NONE;) {
            CD_VERIFY_CHECK(dag->vertices[parent].round > dag->gc_round);
            if (!dag->vertices[parent].committed) push(&found, parent);
        }
    }
    sorter->mark = found.mark;
    sorter->count = found.len;
}

CD_INLINE bool is_before(const cd_sorter *sorter, uint32_t a, uint32_t b) {
    return memcmp(sorter->keys + 32 * (size_t)a, sorter->keys + 32 * (size_t)b, 32) < 0;
}

static void heap_push(cd_sorter *sorter, uint32_t number) {
    uint32_t i = sorter->heap_len++;
    for (; i > 0 && is_before(sorter, number, sorter->heap[(i - 1) / 2]); i = (i - 1) / 2)
        sorter->heap[i] = sorter->heap[(i - 1) / 2];
    sorter->heap[i] = number;
}

static uint32_t heap_pop(cd_sorter *sorter) {
    const uint32_t top = sorter->heap[0], last = sorter->heap[--sorter->heap_len];
    uint32_t i = 0;
    for (uint32_t child; (child = 2 * i + 1) < sorter->heap_len; i = child) {
        uint32_t other = child + 1;
        if (other < sorter->heap_len && is_before(sorter, sorter->heap[other], sorter->heap[child]))
            child = other;
        if (!is_before(sorter, sorter->heap[child], last)) break;
        sorter->heap[i] = sorter->heap[child];
    }
    sorter->heap[i] = last;
    return top;
}

static cd_status compute_keys(cd_sorter *sorter, const uint8_t seed[32], uint8_t *digests) {
    cd_digest_key key;
    cd_digest_key_keyed(&key, seed);
    for (uint32_t i = 0; i < sorter->count; i++)
        memcpy(digests + 32 * (size_t)i, sorter->dag->vertices[sorter->member[i]].digest, 32);
    return cd_digest_records(&key, digests, sorter->count, 32, 0, 32, sorter->keys);
}

static void count_waits(cd_sorter *sorter) {
    const cd_dag *dag = sorter->dag;
    for (uint32_t i = 0; i < sorter->count; i++) {
        cd_parent_walk walk = parents_begin(dag, sorter->member[i]);
        sorter->waits[i] = 0;
        for (uint32_t parent; (parent = parents_next(dag, &walk)) != CD_NONE;)
            sorter->waits[i] += dag->vertices[parent].mark == sorter->mark;
        if (sorter->waits[i] == 0) heap_push(sorter, i);
    }
}

static void emit(cd_sorter *sorter, cd_dag_handle *out) {
    const cd_dag *dag = sorter->dag;
    uint32_t emitted = 0;
    while (sorter->heap_len > 0) {
        const uint32_t at = sorter->member[heap_pop(sorter)];
        out[emitted++] = handle_of(dag, at);
        for (uint32_t link = dag->vertices[at].children; link != CD_NONE;
             link = link_sibling(dag, link)) {
            const uint32_t child = link_child(dag, link);
            if (dag->vertices[child].mark != sorter->mark) continue;
            if (--sorter->waits[sorter->place[child]] == 0) heap_push(sorter, sorter->place[child]);
        }
    }
    CD_VERIFY_CHECK(emitted == sorter->count);
}

cd_status cd_dag_order(cd_dag *dag, cd_dag_handle leader, const uint8_t seed[32],
                       cd_dag_handle *out, size_t max, size_t *count) {
    CD_ARG_CHECK(dag != NULL && seed != NULL && count != NULL && (out != NULL || max == 0));
    const uint32_t at = resolve(dag, leader);
    CD_ARG_CHECK(at != CD_NONE);
    cd_sorter sorter = {.dag = dag, .member = dag->scratch, .place = dag->scratch + dag->room};
    collect(&sorter, at);
    *count = sorter.count;
    if (sorter.count > max) return CD_OK;
    const size_t n = sorter.count;
    uint8_t *work = malloc(n * 72); /* digests, keys, waits, heap */
    if (work == NULL) return CD_ERR_MEMORY;
    sorter.keys = work + 32 * n;
    sorter.waits = (uint32_t *)(work + 64 * n);
    sorter.heap = sorter.waits + n;
    cd_status status = compute_keys(&sorter, seed, work);
    if (status == CD_OK) {
        count_waits(&sorter);
        emit(&sorter, out);
    }
    free(work);
    return status;
}
