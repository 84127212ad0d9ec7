/* Fuzz target for ext/workers, in libFuzzer's form.
 *
 * The input is a program for one pool: its size, then a sequence of submit, collect, wait, stats and
 * close, with arguments in and out of range, and jobs that invert bytes, refuse or take a moment.
 * Whatever the order, no more than `capacity` jobs are outstanding, each accepted ticket comes back
 * once with its job's status, and its output is right if the job ran. abort() otherwise.
 */
#include "fuzz.h"
#include "workers/workers.h"

#define TICKETS_MAX 256
#define THREADS_MAX 3

typedef enum { UNUSED, OUTSTANDING, RETURNED } ticket_state;

typedef struct {
    ticket_state state;
    cd_status answer; /* what its job will return */
    uint8_t input[16], output[16];
} ticket;

typedef struct {
    cd_pool *pool;
    size_t capacity, outstanding, used;
    int closed;
    ticket tickets[TICKETS_MAX];
} machine;

static cd_status invert(const cd_job_args *args) {
    for (uint64_t i = 0; i < args->param[0] * 64; i++) __asm__ volatile("" ::: "memory");
    for (size_t i = 0; i < args->output_size; i++) args->output[i] = args->input[0][i] ^ 0xff;
    return (cd_status)(int64_t)args->param[1];
}

static void submit(machine *m, source *from) {
    if (m->used == TICKETS_MAX) return;
    ticket *t = &m->tickets[m->used];
    t->answer = take(from) % 4 ? CD_OK : CD_ERR_ARGUMENT;
    for (size_t i = 0; i < sizeof t->input; i++) t->input[i] = take(from);
    cd_job_args args = {
        .input = {t->input},
        .size = {sizeof t->input},
        .param = {take(from), (uint64_t)(int64_t)t->answer},
        .output = t->output,
        .output_size = sizeof t->output,
    };
    require(cd_pool_submit(m->pool, NULL, &args, m->used) == CD_ERR_ARGUMENT);
    cd_status status = cd_pool_submit(m->pool, invert, &args, m->used);
    if (m->closed) {
        require(status == CD_ERR_CLOSED);
    } else if (m->outstanding == m->capacity) {
        require(status == CD_ERR_FULL);
    } else {
        require(status == CD_OK);
        t->state = OUTSTANDING;
        m->used++;
        m->outstanding++;
    }
}

static void collect(machine *m, size_t max, int may_be_discarded) {
    cd_result results[8];
    size_t count = 99;
    require(cd_pool_collect(m->pool, results, max, &count) == CD_OK && count <= max);
    for (size_t i = 0; i < count; i++) {
        require(results[i].ticket < m->used);
        ticket *t = &m->tickets[results[i].ticket];
        require(t->state == OUTSTANDING);
        t->state = RETURNED;
        m->outstanding--;
        if (may_be_discarded && results[i].status == CD_ERR_CLOSED) continue;
        require(results[i].status == t->answer);
        for (size_t k = 0; k < sizeof t->input; k++) require((t->output[k] ^ t->input[k]) == 0xff);
    }
}

static void look(machine *m) {
    cd_pool_stats stats;
    require(cd_pool_get_stats(m->pool, &stats) == CD_OK);
    require(stats.submitted == m->used);
    require(stats.queued + stats.running + stats.finished == m->outstanding);
    require((cd_pool_eventfd(m->pool) >= 0) == !m->closed);
}

static void step(machine *m, source *from, int *discarded) {
    size_t ready;
    switch (take(from) % 8) {
    case 0:
    case 1:
    case 2: submit(m, from); break;
    case 3:
    case 4: collect(m, take(from) % 9, *discarded); break;
    case 5:
        require(cd_pool_wait(m->pool, (int64_t)take(from) * 1000, &ready) == CD_OK);
        require(ready <= m->outstanding);
        break;
    case 6: look(m); break;
    case 7:
        if (take(from) % 8) break; /* or nothing would come after the first few steps */
        *discarded |= !(take(from) & 1);
        require(cd_pool_close(m->pool, !*discarded) == CD_OK);
        m->closed = 1;
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static machine m; /* too large for a stack */
    source from = {data, size};
    memset(&m, 0, sizeof m);
    size_t threads = take(&from) % (THREADS_MAX + 2);
    m.capacity = take(&from) % 12;
    int sound = threads >= 1 && threads <= THREADS_MAX + 1 && m.capacity >= 1;
    cd_status status = cd_pool_open(threads, m.capacity, NULL, &m.pool);
    require(status == (sound ? CD_OK : CD_ERR_ARGUMENT) && (m.pool != NULL) == sound);
    if (!sound) return 0;
    int discarded = 0;
    while (from.left) step(&m, &from, &discarded);
    require(cd_pool_close(m.pool, 1) == CD_OK);
    m.closed = 1;
    while (m.outstanding) {
        size_t before = m.outstanding;
        collect(&m, 8, discarded);
        require(m.outstanding < before);
    }
    look(&m);
    cd_pool_free(m.pool);
    return 0;
}
