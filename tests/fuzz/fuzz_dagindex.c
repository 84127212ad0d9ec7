/* Fuzz target for ext/dagindex, in libFuzzer's form.
 *
 * The input is a program for one small window: inserts of vertices whose digests, rounds, authors and
 * parents come from a small set, so that duplicates, equivocations, missing parents and broken refs
 * abound, mixed with GC, commits, quotas, selections and every query on live, stale and wild
 * handles. What must hold is simple: counts agree with a list of what was inserted, parents are
 * never above their children nor below gc_round, orders put parents first and each vertex once,
 * selected tips are tips. abort() otherwise.
 */
#include "dagindex/dagindex.h"
#include "fuzz.h"

#define NAMES 200
#define VALIDATORS_MAX 7

typedef struct {
    cd_dag *dag;
    uint32_t validators, gc_round, tip_round;
    size_t live;
    cd_dag_handle handles[NAMES]; /* by name; 0 if never inserted, else the newest handle */
    cd_dag_ref refs[NAMES];
} machine;

static uint32_t take_author(machine *m, source *from) {
    uint8_t byte = take(from);
    return byte & 0x80 ? CD_DAG_OPERATOR | (byte & 3) : byte % (m->validators + 1);
}

static cd_dag_ref make_ref(machine *m, source *from, uint8_t name) {
    cd_dag_ref ref = {.round = m->gc_round + take(from) % 20};
    memset(ref.digest, name, sizeof ref.digest);
    ref.author = take_author(m, from);
    return ref;
}

static int is_live(machine *m, uint8_t name) {
    return m->handles[name] != 0 && m->refs[name].round > m->gc_round;
}

static void insert(machine *m, source *from) {
    uint8_t name = take(from) % NAMES, outcome = 99;
    cd_dag_ref ref = make_ref(m, from, name);
    size_t n = take(from) % 12;
    cd_dag_ref *parents = exact(n * sizeof *parents);
    uint8_t *missing = exact(n);
    for (size_t i = 0; i < n; i++) {
        uint8_t of = take(from) % NAMES;
        parents[i] = m->handles[of] != 0 && take(from) % 8 ? m->refs[of] : make_ref(m, from, of);
    }
    uint64_t offsets[2] = {0, n};
    cd_dag_handle handle;
    cd_status status =
        cd_dag_insert(m->dag, &ref, 1, parents, n, offsets, &outcome, &handle, missing);
    require(status == CD_OK && outcome <= CD_DAG_INVALID);
    require((handle != 0) == (outcome <= CD_DAG_DUPLICATE));
    if (outcome == CD_DAG_DUPLICATE) require(handle == m->handles[name] && is_live(m, name));
    if (outcome == CD_DAG_INSERTED) {
        require(!is_live(m, name));
        m->handles[name] = handle;
        m->refs[name] = ref;
        m->live++;
    }
    size_t lacking = 0;
    for (size_t i = 0; i < n; i++) lacking += missing[i];
    require((lacking > 0) == (outcome == CD_DAG_MISSING));
    free(parents);
    free(missing);
}

static void collect(machine *m, source *from) {
    uint32_t round = m->gc_round + take(from) % 6;
    size_t dropped, expected = 0;
    for (size_t i = 0; i < NAMES; i++)
        expected += is_live(m, (uint8_t)i) && m->refs[i].round <= round;
    require(cd_dag_set_gc_round(m->dag, round, &dropped) == CD_OK && dropped == expected);
    m->gc_round = round;
    m->live -= dropped;
}

static cd_dag_handle take_handle(machine *m, source *from, int *live) {
    uint8_t name = take(from);
    *live = name < NAMES && is_live(m, name);
    return name < NAMES ? m->handles[name] : (uint64_t)name << 32 | take(from);
}

static void look(machine *m, source *from) {
    int live, other_live, answer;
    size_t count = 0;
    cd_dag_vertex vertex, other;
    cd_dag_handle parents[16];
    cd_dag_support support;
    cd_dag_handle handle = take_handle(m, from, &live);
    cd_dag_handle second = take_handle(m, from, &other_live);
    cd_status status = cd_dag_get(m->dag, handle, &vertex);
    if (live) require(status == CD_OK && vertex.ref.round > m->gc_round);
    if (cd_dag_parents(m->dag, handle, parents, 16, &count) == CD_OK) {
        require(count == vertex.parents && count <= 12);
        for (size_t i = 0; i < count; i++) {
            require(cd_dag_get(m->dag, parents[i], &other) == CD_OK && other.has_children);
            require(other.ref.round > m->gc_round && other.ref.round <= vertex.ref.round);
            require(cd_dag_is_reachable(m->dag, handle, parents[i], 0, &answer) == CD_OK && answer);
        }
    }
    status = cd_dag_is_reachable(m->dag, handle, second, take(from) & 1, &answer);
    if (live && other_live) require(status == CD_OK);
    cd_dag_certified_in_past(m->dag, handle, second, &answer);
    status = cd_dag_approval(m->dag, handle, &support);
    if (live) require(status == CD_OK && support.stake <= m->validators);
    if (cd_dag_votes(m->dag, handle, &support) == CD_OK) {
        uint64_t votes = support.stake;
        require(cd_dag_certificates(m->dag, handle, &support) == CD_OK);
        if (support.stake) require(votes >= cd_dag_quorum(m->dag));
    }
    uint32_t author = take_author(m, from);
    cd_dag_blames(m->dag, m->gc_round + take(from) % 20, author, &support);
    cd_dag_slot(m->dag, m->gc_round + take(from) % 20, author, parents, 16, &count);
}

static size_t place_in(const cd_dag_handle *order, size_t n, cd_dag_handle handle) {
    size_t i = 0;
    while (i < n && order[i] != handle) i++;
    return i;
}

static void commit(machine *m, source *from) {
    int live;
    uint8_t seed[32] = {take(from)};
    cd_dag_handle leader = take_handle(m, from, &live), order[NAMES], parents[16];
    size_t n = 0, count;
    if (cd_dag_order(m->dag, leader, seed, order, NAMES, &n) != CD_OK) {
        require(!live);
        return;
    }
    require(n >= 1 && n <= m->live && order[n - 1] == leader);
    for (size_t i = 0; i < n; i++) {
        require(place_in(order, n, order[i]) == i);
        require(cd_dag_parents(m->dag, order[i], parents, 16, &count) == CD_OK);
        for (size_t k = 0; k < count; k++) {
            cd_dag_vertex parent;
            require(cd_dag_get(m->dag, parents[k], &parent) == CD_OK);
            require(parent.committed || place_in(order, i, parents[k]) < i);
        }
    }
    if (take(from) & 1) require(cd_dag_mark_committed(m->dag, order, n) == CD_OK);
}

static void choose(machine *m, source *from) {
    cd_dag_handle tips[CD_DAG_SELECT_MAX];
    uint32_t k = take(from) % 10;
    uint64_t rng = take(from);
    size_t count = 0;
    int fair = take(from) & 1;
    cd_status status = fair ? cd_dag_select_fair(m->dag, k, take(from), tips, &count)
                            : cd_dag_select_uniform(m->dag, k, (int)(rng & 1), &rng, tips, &count);
    if (k < CD_DAG_SELECT_MIN || k > CD_DAG_SELECT_MAX) require(status == CD_ERR_ARGUMENT);
    if (status != CD_OK) return;
    require(count <= k);
    for (size_t i = 0; i < count; i++) {
        cd_dag_vertex vertex;
        require(cd_dag_get(m->dag, tips[i], &vertex) == CD_OK);
        require(!vertex.has_children && !vertex.committed && vertex.ref.round >= m->tip_round);
        require(place_in(tips, count, tips[i]) == i);
        if (fair) require(vertex.ref.author & CD_DAG_OPERATOR);
    }
}

static void step(machine *m, source *from) {
    switch (take(from) % 16) {
    case 0: collect(m, from); break;
    case 1: commit(m, from); break;
    case 2:
    case 3: choose(m, from); break;
    case 4: cd_dag_set_issuer(m->dag, take(from) % 5, take(from), take(from) % 8); break;
    case 5:
        m->tip_round += take(from) % 3;
        require(cd_dag_set_tip_round(m->dag, m->tip_round) == CD_OK);
        break;
    case 6:
    case 7: look(m, from); break;
    default: insert(m, from); break;
    }
    cd_dag_stats stats;
    require(cd_dag_get_stats(m->dag, &stats) == CD_OK && stats.vertices == m->live);
    require(stats.gc_round == m->gc_round && stats.tips <= m->live);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    source from = {data, size};
    machine m = {0};
    uint64_t stakes[VALIDATORS_MAX] = {1, 1, 1, 1, 1, 1, 1};
    m.validators = 1 + take(&from) % VALIDATORS_MAX;
    cd_dag_config config = {.validators = m.validators,
                            .rounds_max = 16,
                            .vertices_max = 1 + take(&from) % NAMES,
                            .blocks_max = 1 + take(&from),
                            .issuers_max = take(&from) % 5,
                            .seed = {take(&from), 2}};
    require(cd_dag_open(&config, stakes, &m.dag) == CD_OK);
    while (from.left) step(&m, &from);
    cd_dag_free(m.dag);
    return 0;
}
