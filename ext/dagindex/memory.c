/* Opening, growing and freeing. Every array doubles up to its limit; freed parts are reused. Rows
 * begin at cache lines, and large arrays lie on huge pages where the system has them. */
#include "dagindex/index.h"

#include "base/pages.h"

#define ROOM_FIRST 64u
#define CACHE_LINE ((size_t)64)

static bool config_holds(const cd_dag_config *config) {
    uint32_t rounds = config->rounds_max;
    return config->validators >= 1 && config->validators <= CD_DAG_VALIDATORS_MAX && rounds >= 4 &&
           rounds <= CD_DAG_ROUNDS_MAX && (rounds & (rounds - 1)) == 0 &&
           config->vertices_max >= 1 && config->vertices_max <= CD_DAG_VERTICES_MAX &&
           config->blocks_max >= 1 && config->blocks_max <= CD_DAG_BLOCKS_MAX &&
           config->issuers_max <= CD_DAG_ISSUERS_MAX;
}

static bool sum_stakes(const uint64_t *stakes, size_t n, uint64_t *total) {
    *total = 0;
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(*total, stakes[i], total)) return false;
    return *total > 0;
}

static bool allocate_fixed(cd_dag *dag) {
    const cd_dag_config *config = &dag->config;
    size_t slots = (size_t)config->rounds_max * config->validators;
    dag->rounds = calloc(config->rounds_max, sizeof *dag->rounds);
    dag->slots = malloc(slots * sizeof *dag->slots);
    dag->issuers = malloc(((size_t)config->issuers_max + 1) * sizeof *dag->issuers);
    if (dag->rounds == NULL || dag->slots == NULL || dag->issuers == NULL) return false;
    for (uint32_t i = 0; i < config->rounds_max; i++) dag->rounds[i].operators = CD_NONE;
    memset(dag->slots, 0xff, slots * sizeof *dag->slots);
    for (uint32_t i = 0; i < config->issuers_max; i++)
        dag->issuers[i] = (cd_issuer){.quota = UINT32_MAX,
                                      .first_tip = CD_NONE,
                                      .last_tip = CD_NONE,
                                      .ring_next = CD_NONE,
                                      .ring_prev = CD_NONE};
    return true;
}

cd_status cd_dag_open(const cd_dag_config *config, const uint64_t *stakes, cd_dag **out) {
    uint64_t total;
    CD_ARG_CHECK(out != NULL);
    *out = NULL;
    CD_ARG_CHECK(config != NULL && stakes != NULL && config_holds(config));
    CD_ARG_CHECK(sum_stakes(stakes, config->validators, &total));
    cd_dag *dag = calloc(1, sizeof *dag);
    if (dag == NULL) return CD_ERR_MEMORY;
    dag->config = *config;
    memcpy(dag->stakes, stakes, config->validators * sizeof *stakes);
    dag->quorum = total - (total - 1) / 3;
    dag->free_vertex = dag->free_block = dag->free_side = dag->cursor = CD_NONE;
    if (!allocate_fixed(dag) || !cd_dag_reserve(dag, 1, true)) {
        cd_dag_free(dag);
        return CD_ERR_MEMORY;
    }
    *out = dag;
    return CD_OK;
}

void cd_dag_free(cd_dag *dag) {
    if (dag == NULL) return;
    void *parts[] = {dag->vertices, dag->more,  dag->scratch, dag->blocks,  dag->sides,  dag->table,
                     dag->rounds,   dag->slots, dag->issuers, dag->tips[0], dag->tips[1]};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
    free(dag);
}

cd_status cd_dag_get_stats(const cd_dag *dag, cd_dag_stats *stats) {
    CD_ARG_CHECK(dag != NULL && stats != NULL);
    const size_t vertex = sizeof *dag->vertices + sizeof *dag->more + 4 * sizeof(uint32_t);
    const size_t slots = (size_t)dag->config.rounds_max * dag->config.validators;
    stats->gc_round = dag->gc_round;
    stats->highest_round = dag->highest_round;
    stats->vertices = dag->live;
    stats->tips = dag->tips_len[0] + dag->tips_len[1];
    stats->bytes = sizeof *dag + dag->room * vertex + dag->blocks_room * sizeof *dag->blocks +
                   dag->sides_room * sizeof *dag->sides +
                   ((size_t)dag->table_mask + 1) * sizeof *dag->table +
                   dag->config.rounds_max * sizeof *dag->rounds + slots * sizeof *dag->slots +
                   dag->config.issuers_max * sizeof *dag->issuers;
    return CD_OK;
}

uint32_t cd_dag_new_mark(cd_dag *dag) {
    if (dag->mark == UINT32_MAX) {
        for (uint32_t i = 0; i < dag->used; i++) dag->vertices[i].mark = 0;
        dag->mark = 0;
    }
    return ++dag->mark;
}

/* The rest of the last page is not counted in the stats. */
static void *allocate(size_t bytes) {
    const size_t unit = bytes >= CD_HUGE_BYTES ? CD_HUGE_BYTES : CACHE_LINE;
    const size_t whole = (bytes + unit - 1) / unit * unit;
    void *array = aligned_alloc(unit, whole);
    if (array != NULL && unit == CD_HUGE_BYTES) cd_advise_huge(array, whole);
    return array;
}

/* Room for `count` items, of which the first `kept` stay. */
static bool grow(void **array, size_t kept, size_t count, size_t size) {
    void *grown = allocate(count * size);
    if (grown == NULL) return false;
    if (kept > 0) memcpy(grown, *array, kept * size);
    free(*array);
    *array = grown;
    return true;
}

static uint32_t doubled(uint32_t room, uint32_t least, uint32_t max) {
    uint64_t wanted = room ? (uint64_t)room * 2 : ROOM_FIRST;
    if (wanted < least) wanted = least;
    return wanted < max ? (uint32_t)wanted : max;
}

/* Twice the room or more in entries, a power of two. The entries are placed afresh. */
static bool grow_table(cd_dag *dag, uint32_t room) {
    uint32_t size = 2 * ROOM_FIRST;
    while (size < 2 * room) size *= 2;
    if (dag->table != NULL && size == dag->table_mask + 1) return true;
    cd_entry *table = allocate(size * sizeof *table);
    if (table == NULL) return false;
    memset(table, 0xff, size * sizeof *table);
    cd_entry *before = dag->table;
    uint32_t before_size = before == NULL ? 0 : dag->table_mask + 1;
    dag->table = table;
    dag->table_mask = size - 1;
    for (uint32_t i = 0; i < before_size; i++)
        if (before[i].at != CD_NONE) cd_table_add(dag, before[i].hash, before[i].at);
    free(before);
    return true;
}

static bool grow_vertices(cd_dag *dag) {
    if (dag->room == dag->config.vertices_max) return false;
    uint32_t room = doubled(dag->room, 1, dag->config.vertices_max);
    const size_t kept = dag->room;
    bool grown = grow((void **)&dag->vertices, kept, room, sizeof *dag->vertices) &&
                 grow((void **)&dag->more, kept, room, sizeof *dag->more) &&
                 grow((void **)&dag->scratch, 0, 2 * (size_t)room, sizeof *dag->scratch) &&
                 grow((void **)&dag->tips[0], kept, room, sizeof *dag->tips[0]) &&
                 grow((void **)&dag->tips[1], kept, room, sizeof *dag->tips[1]) &&
                 grow_table(dag, room);
    if (grown) dag->room = room; /* else what has grown is merely larger than room says */
    return grown;
}

bool cd_dag_reserve(cd_dag *dag, uint32_t parents, bool validator) {
    uint32_t blocks = (parents + CD_BLOCK_LINKS - 1) / CD_BLOCK_LINKS;
    if (dag->free_vertex == CD_NONE && dag->used == dag->room && !grow_vertices(dag)) return false;
    uint32_t at_hand = dag->blocks_free + dag->blocks_room - dag->blocks_used;
    if (at_hand < blocks) {
        uint32_t room =
            doubled(dag->blocks_room, dag->blocks_room + blocks - at_hand, dag->config.blocks_max);
        if (room - dag->blocks_room + at_hand < blocks) return false;
        if (!grow((void **)&dag->blocks, dag->blocks_room, room, sizeof *dag->blocks)) return false;
        dag->blocks_room = room;
    }
    if (validator && dag->free_side == CD_NONE && dag->sides_used == dag->sides_room) {
        uint32_t room = doubled(dag->sides_room, 1, dag->config.vertices_max);
        if (!grow((void **)&dag->sides, dag->sides_room, room, sizeof *dag->sides)) return false;
        dag->sides_room = room;
    }
    return true;
}

uint32_t cd_dag_take_vertex(cd_dag *dag) {
    uint32_t at = dag->free_vertex;
    if (at != CD_NONE) {
        dag->free_vertex = dag->vertices[at].next;
    } else {
        at = dag->used++;
        CD_VERIFY_CHECK(at < dag->room);
        dag->vertices[at].generation = 1;
        dag->vertices[at].mark = 0;
    }
    dag->live++;
    return at;
}

uint32_t cd_dag_take_block(cd_dag *dag) {
    uint32_t at = dag->free_block;
    if (at == CD_NONE) {
        CD_VERIFY_CHECK(dag->blocks_used < dag->blocks_room);
        return dag->blocks_used++;
    }
    dag->free_block = dag->blocks[at].next;
    dag->blocks_free--;
    return at;
}

uint32_t cd_dag_take_side(cd_dag *dag) {
    uint32_t at = dag->free_side;
    if (at == CD_NONE) {
        CD_VERIFY_CHECK(dag->sides_used < dag->sides_room);
        return dag->sides_used++;
    }
    dag->free_side = dag->sides[at].next;
    return at;
}
