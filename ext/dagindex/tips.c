/* Tips: one array per kind for uniform choice, one list per issuer and a ring of issuers for fair
 * choice. A tip of an issuer above its quota stays in the issuer's list but leaves the array. */
#include "dagindex/index.h"

CD_INLINE uint32_t kind_of(const cd_dag *dag, uint32_t at) {
    return is_operator(dag->vertices[at].author);
}

CD_INLINE cd_issuer *issuer_of(const cd_dag *dag, uint32_t at) {
    return &dag->issuers[dag->vertices[at].author & ~CD_DAG_OPERATOR];
}

CD_INLINE bool within_quota(const cd_issuer *issuer) {
    return issuer->uncommitted <= issuer->quota;
}

/* The arrays. */

static void array_add(cd_dag *dag, uint32_t at) {
    const uint32_t kind = kind_of(dag, at);
    dag->more[at].tip_at = dag->tips_len[kind];
    dag->tips[kind][dag->tips_len[kind]++] = at;
}

static void array_remove(cd_dag *dag, uint32_t at) {
    const uint32_t kind = kind_of(dag, at), place = dag->more[at].tip_at;
    const uint32_t last = dag->tips[kind][--dag->tips_len[kind]];
    dag->tips[kind][place] = last;
    dag->more[last].tip_at = place;
    dag->more[at].tip_at = CD_PARKED;
}

/* An issuer's list, oldest turn first. */

static void list_append(cd_dag *dag, cd_issuer *issuer, uint32_t at) {
    cd_more *more = &dag->more[at];
    more->tip_next = CD_NONE;
    more->tip_prev = issuer->last_tip;
    if (issuer->last_tip == CD_NONE) {
        issuer->first_tip = at;
    } else {
        dag->more[issuer->last_tip].tip_next = at;
    }
    issuer->last_tip = at;
}

static void list_remove(cd_dag *dag, cd_issuer *issuer, uint32_t at) {
    const cd_more *more = &dag->more[at];
    if (more->tip_prev == CD_NONE) {
        issuer->first_tip = more->tip_next;
    } else {
        dag->more[more->tip_prev].tip_next = more->tip_next;
    }
    if (more->tip_next == CD_NONE) {
        issuer->last_tip = more->tip_prev;
    } else {
        dag->more[more->tip_next].tip_prev = more->tip_prev;
    }
}

/* The ring of issuers that have a bond and a tip within their quota. */

static void ring_add(cd_dag *dag, uint32_t id) {
    cd_issuer *issuer = &dag->issuers[id];
    if (dag->cursor == CD_NONE) {
        dag->cursor = issuer->ring_next = issuer->ring_prev = id;
        dag->visited = false;
        return;
    }
    cd_issuer *after = &dag->issuers[dag->cursor]; /* so that the newcomer waits a whole turn */
    issuer->ring_next = dag->cursor;
    issuer->ring_prev = after->ring_prev;
    dag->issuers[after->ring_prev].ring_next = id;
    after->ring_prev = id;
}

static void ring_remove(cd_dag *dag, uint32_t id) {
    cd_issuer *issuer = &dag->issuers[id];
    if (dag->cursor == id) {
        dag->cursor = issuer->ring_next == id ? CD_NONE : issuer->ring_next;
        dag->visited = false;
    }
    dag->issuers[issuer->ring_prev].ring_next = issuer->ring_next;
    dag->issuers[issuer->ring_next].ring_prev = issuer->ring_prev;
    issuer->ring_next = issuer->ring_prev = CD_NONE;
    issuer->credit = 0;
}

static void ring_update(cd_dag *dag, cd_issuer *issuer) {
    const uint32_t id = (uint32_t)(issuer - dag->issuers);
    bool belongs = issuer->bond > 0 && issuer->first_tip != CD_NONE && within_quota(issuer);
    bool there = issuer->ring_next != CD_NONE;
    if (belongs && !there) ring_add(dag, id);
    if (!belongs && there) ring_remove(dag, id);
}

/* After the count or the quota has changed: move the issuer's tips in or out of the array. */
static void settle_issuer(cd_dag *dag, cd_issuer *issuer, bool was_within) {
    const bool within = within_quota(issuer);
    if (within != was_within) {
        for (uint32_t at = issuer->first_tip; at != CD_NONE; at = dag->more[at].tip_next) {
            if (within) {
                array_add(dag, at);
            } else {
                array_remove(dag, at);
            }
        }
    }
    ring_update(dag, issuer);
}

static void set_uncommitted(cd_dag *dag, cd_issuer *issuer, uint32_t count) {
    const bool was_within = within_quota(issuer);
    issuer->uncommitted = count;
    if (within_quota(issuer) != was_within) settle_issuer(dag, issuer, was_within);
}

static void tip_add(cd_dag *dag, uint32_t at) {
    cd_issuer *issuer = kind_of(dag, at) ? issuer_of(dag, at) : NULL;
    dag->more[at].tip_at = CD_PARKED;
    if (issuer == NULL || within_quota(issuer)) array_add(dag, at);
    if (issuer == NULL) return;
    list_append(dag, issuer, at);
    ring_update(dag, issuer);
}

static void tip_remove(cd_dag *dag, uint32_t at) {
    if (dag->more[at].tip_at == CD_NONE) return;
    if (dag->more[at].tip_at != CD_PARKED) array_remove(dag, at);
    dag->more[at].tip_at = CD_NONE;
    if (!kind_of(dag, at)) return;
    list_remove(dag, issuer_of(dag, at), at);
    ring_update(dag, issuer_of(dag, at));
}

/* What the graph reports. */

void cd_tips_on_insert(cd_dag *dag, uint32_t at) {
    dag->more[at].tip_at = CD_NONE;
    if (kind_of(dag, at))
        set_uncommitted(dag, issuer_of(dag, at), issuer_of(dag, at)->uncommitted + 1);
    if (dag->vertices[at].round >= dag->tip_round) tip_add(dag, at);
}

void cd_tips_on_child(cd_dag *dag, uint32_t parent) { tip_remove(dag, parent); }

void cd_tips_on_commit(cd_dag *dag, uint32_t at) {
    tip_remove(dag, at);
    if (kind_of(dag, at))
        set_uncommitted(dag, issuer_of(dag, at), issuer_of(dag, at)->uncommitted - 1);
}

void cd_tips_on_drop(cd_dag *dag, uint32_t at) {
    if (!dag->vertices[at].committed) cd_tips_on_commit(dag, at);
}

/* Selection. */

cd_status cd_dag_set_tip_round(cd_dag *dag, uint32_t round) {
    CD_ARG_CHECK(dag != NULL && round >= dag->tip_round);
    dag->tip_round = round;
    return CD_OK;
}

cd_status cd_dag_set_issuer(cd_dag *dag, uint32_t id, uint64_t bond, uint32_t quota) {
    CD_ARG_CHECK(dag != NULL && id < dag->config.issuers_max);
    cd_issuer *issuer = &dag->issuers[id];
    const bool was_within = within_quota(issuer);
    issuer->bond = bond;
    issuer->quota = quota;
    settle_issuer(dag, issuer, was_within);
    return CD_OK;
}

static uint64_t split_mix(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Uniform in [0, n), n >= 1: Lemire's multiplication with rejection, so without bias. */
static uint32_t below(uint64_t *state, uint32_t n) {
    uint64_t product = (split_mix(state) >> 32) * n;
    if ((uint32_t)product < n) {
        const uint32_t least = (0u - n) % n;
        while ((uint32_t)product < least) product = (split_mix(state) >> 32) * n;
    }
    return (uint32_t)(product >> 32);
}

/* How many tips there are to draw from; validators' are numbered before operators'. */
CD_INLINE uint32_t eligible(const cd_dag *dag, bool operators_only) {
    return (operators_only ? 0 : dag->tips_len[0]) + dag->tips_len[1];
}

CD_INLINE const uint32_t *tip_number(const cd_dag *dag, bool operators_only, uint32_t i) {
    const uint32_t first = operators_only ? 0 : dag->tips_len[0];
    return i < first ? &dag->tips[0][i] : &dag->tips[1][i - first];
}

/* Draw up to `wanted` tips at once, so that their cache lines are fetched side by side, and append
 * those that are new to `chosen`. A lazy one stops being a tip, which shifts the others: the rest
 * of the draw is thrown away. Repeats are thrown away too, so what stays is uniform. */
static uint32_t draw(cd_dag *dag, bool operators_only, uint64_t *rng, uint32_t wanted,
                     uint32_t *chosen, uint32_t n) {
    const uint32_t total = eligible(dag, operators_only);
    const uint32_t *place[CD_DAG_SELECT_MAX];
    for (uint32_t i = 0; i < wanted; i++) {
        place[i] = tip_number(dag, operators_only, below(rng, total));
        __builtin_prefetch(place[i]);
    }
    for (uint32_t i = 0; i < wanted; i++) __builtin_prefetch(&dag->vertices[*place[i]].round);
    for (uint32_t i = 0; i < wanted; i++) {
        const uint32_t at = *place[i];
        if (dag->vertices[at].round < dag->tip_round) {
            tip_remove(dag, at);
            break;
        }
        uint32_t k = 0;
        while (k < n && chosen[k] != at) k++;
        if (k == n) chosen[n++] = at;
    }
    return n;
}

/* All of at most 2 * CD_DAG_SELECT_MAX tips in random order: repeats would be too many to draw. */
static uint32_t draw_few(cd_dag *dag, bool operators_only, uint64_t *rng, uint32_t k,
                         uint32_t *chosen) {
    uint32_t all[2 * CD_DAG_SELECT_MAX], len = eligible(dag, operators_only), n = 0;
    for (uint32_t i = 0; i < len; i++) all[i] = *tip_number(dag, operators_only, i);
    while (n < k && len > 0) {
        const uint32_t i = below(rng, len), at = all[i];
        all[i] = all[--len];
        if (dag->vertices[at].round < dag->tip_round) {
            tip_remove(dag, at);
        } else {
            chosen[n++] = at;
        }
    }
    return n;
}

cd_status cd_dag_select_uniform(cd_dag *dag, uint32_t k, int operators_only, uint64_t *rng,
                                cd_dag_handle *out, size_t *count) {
    uint32_t chosen[CD_DAG_SELECT_MAX], n = 0;
    CD_ARG_CHECK(dag != NULL && rng != NULL && out != NULL && count != NULL);
    CD_ARG_CHECK(k >= CD_DAG_SELECT_MIN && k <= CD_DAG_SELECT_MAX);
    while (n < k && eligible(dag, operators_only != 0) > 2 * CD_DAG_SELECT_MAX)
        n = draw(dag, operators_only != 0, rng, k - n, chosen, n);
    /* If lazy tips have just left, the few that are left hold those already chosen. */
    if (n < k) n = draw_few(dag, operators_only != 0, rng, k, chosen);
    for (uint32_t i = 0; i < n; i++) out[i] = handle_of(dag, chosen[i]);
    *count = n;
    return CD_OK;
}

static uint64_t quantum_of(const cd_issuer *issuer, uint64_t tip_cost) {
    const uint64_t least = tip_cost / 16 + (tip_cost % 16 != 0);
    const uint64_t most = tip_cost > UINT64_MAX / 32 ? UINT64_MAX / 2 : 16 * tip_cost;
    const uint64_t bond = issuer->bond < most ? issuer->bond : most;
    return bond > least ? bond : least;
}

/* The issuer's next tip that is not lazy and not yet chosen, moved to the end of its list; CD_NONE
 * if there is none, and then the issuer may have left the ring. Chosen tips are always last. */
static uint32_t next_tip(cd_dag *dag, uint32_t id, uint32_t mark) {
    cd_issuer *issuer = &dag->issuers[id];
    for (uint32_t at; (at = issuer->first_tip) != CD_NONE;) {
        if (dag->vertices[at].mark == mark) return CD_NONE;
        if (dag->vertices[at].round < dag->tip_round) {
            tip_remove(dag, at);
            continue;
        }
        list_remove(dag, issuer, at);
        list_append(dag, issuer, at);
        dag->vertices[at].mark = mark;
        return at;
    }
    return CD_NONE;
}

/* One visit at the cursor: how many tips it gave. Ends with the cursor moved on, unless out is
 * full while the issuer still has credit. */
static uint32_t visit(cd_dag *dag, uint64_t tip_cost, uint32_t mark, uint32_t room,
                      cd_dag_handle *out) {
    const uint32_t id = dag->cursor;
    cd_issuer *issuer = &dag->issuers[id];
    uint32_t given = 0;
    if (!dag->visited) {
        const uint64_t quantum = quantum_of(issuer, tip_cost);
        issuer->credit =
            issuer->credit > UINT64_MAX - quantum ? UINT64_MAX : issuer->credit + quantum;
        dag->visited = true;
    }
    while (issuer->credit >= tip_cost) {
        if (given == room) return given;
        const uint32_t at = next_tip(dag, id, mark);
        if (at == CD_NONE) {
            issuer->credit = 0;
            break;
        }
        issuer->credit -= tip_cost;
        out[given++] = handle_of(dag, at);
    }
    if (issuer->ring_next != CD_NONE) { /* else leaving the ring moved the cursor */
        dag->cursor = issuer->ring_next;
        dag->visited = false;
    }
    return given;
}

/* An issuer with a free tip gives one at every 16th visit at the latest. So after 17 turns of the
 * ring without any, there is none; each issuer in it then holds a chosen tip, so it is short. */
cd_status cd_dag_select_fair(cd_dag *dag, uint32_t k, uint64_t tip_cost, cd_dag_handle *out,
                             size_t *count) {
    CD_ARG_CHECK(dag != NULL && out != NULL && count != NULL && tip_cost >= 1);
    CD_ARG_CHECK(k >= CD_DAG_SELECT_MIN && k <= CD_DAG_SELECT_MAX);
    const uint32_t mark = cd_dag_new_mark(dag);
    uint32_t n = 0, start = dag->cursor, turns = 0;
    while (n < k && dag->cursor != CD_NONE) {
        const uint32_t given = visit(dag, tip_cost, mark, k - n, out + n);
        n += given;
        if (given > 0 || dag->issuers[start].ring_next == CD_NONE) {
            start = dag->cursor;
            turns = 0;
        } else if (dag->cursor == start && ++turns > 17) {
            break;
        }
    }
    *count = n;
    return CD_OK;
}
