/* Stress of the worker pool, for ThreadSanitizer and AddressSanitizer; run by test_worker_ring.py.
 *
 * Each round opens a pool of random size; callers on several threads submit, collect, wait and ask
 * for stats at once, then several threads close it together, draining or not, while jobs still
 * run. Every accepted ticket must come back exactly once, and its output must be right if its job
 * ran.
 * Usage: stress_workers ROUNDS SEED. Exits with 1 at the first broken claim.
 */
#define _GNU_SOURCE
#include "workers/workers.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CALLERS 3
#define JOBS 400 /* by each caller */

typedef struct {
    uint8_t input[8], output[8];
    int accepted;
    atomic_int results;
} slot;

typedef struct {
    cd_pool *pool;
    slot *slots; /* CALLERS * JOBS, by ticket */
    uint64_t first;
    uint32_t random;
    int drain;
} caller;

#define CLAIM(cond)                                                          \
    do {                                                                     \
        if (!(cond)) {                                                       \
            fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #cond); \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static cd_status invert(const cd_job_args *args) {
    for (uint64_t i = 0; i < args->param[0]; i++) __asm__ volatile("" ::: "memory");
    for (size_t i = 0; i < args->output_size; i++) args->output[i] = args->input[0][i] ^ 0xff;
    return CD_OK;
}

static void collect(const caller *self, size_t max) {
    cd_result results[16];
    size_t count;
    CLAIM(cd_pool_collect(self->pool, results, max, &count) == CD_OK && count <= max);
    for (size_t i = 0; i < count; i++) {
        slot *s = &self->slots[results[i].ticket];
        CLAIM(atomic_fetch_add(&s->results, 1) == 0);
        CLAIM(results[i].status == CD_OK || results[i].status == CD_ERR_CLOSED);
        for (size_t k = 0; k < 8; k++)
            CLAIM(results[i].status != CD_OK || (s->output[k] ^ s->input[k]) == 0xff);
    }
}

static void *call(void *context) {
    caller *self = context;
    cd_pool_stats stats;
    size_t ready;
    for (uint64_t ticket = self->first; ticket < self->first + JOBS; ticket++) {
        slot *s = &self->slots[ticket];
        for (size_t k = 0; k < 8; k++) s->input[k] = (uint8_t)next_random(&self->random);
        cd_job_args args = {.input = {s->input}, .size = {8}};
        args.output = s->output;
        args.output_size = 8;
        args.param[0] = next_random(&self->random) % 20000;
        cd_status status;
        while ((status = cd_pool_submit(self->pool, invert, &args, ticket)) == CD_ERR_FULL) {
            CLAIM(cd_pool_wait(self->pool, next_random(&self->random) % 200000, &ready) == CD_OK);
            collect(self, 1 + next_random(&self->random) % 16);
        }
        if (status == CD_ERR_CLOSED) break;
        CLAIM(status == CD_OK);
        s->accepted = 1;
        if (next_random(&self->random) % 8 == 0) {
            CLAIM(cd_pool_get_stats(self->pool, &stats) == CD_OK);
            CLAIM(stats.submitted ==
                  stats.completed + stats.discarded + stats.queued + stats.running);
        }
    }
    CLAIM(cd_pool_wait(self->pool, 1000, &ready) == CD_OK);
    CLAIM(cd_pool_close(self->pool, self->drain) == CD_OK);
    CLAIM(cd_pool_eventfd(self->pool) == -1);
    return NULL;
}

static void run_round(uint32_t *random) {
    static slot slots[CALLERS * JOBS];
    memset(slots, 0, sizeof slots);
    caller callers[CALLERS];
    pthread_t threads[CALLERS];
    cd_pool *pool;
    size_t workers = 1 + next_random(random) % 4, capacity = 1 + next_random(random) % 40;
    CLAIM(cd_pool_open(workers, capacity, NULL, &pool) == CD_OK);
    for (size_t i = 0; i < CALLERS; i++) {
        uint32_t seed = next_random(random) | 1, drain = next_random(random) % 2;
        callers[i] = (caller){pool, slots, i * JOBS, seed, (int)drain};
        CLAIM(pthread_create(&threads[i], NULL, call, &callers[i]) == 0);
    }
    if (next_random(random) % 2) {
        usleep(next_random(random) % 3000);
        CLAIM(cd_pool_close(pool, 0) == CD_OK);
    }
    for (size_t i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 40; i++) collect(&callers[0], 1);
    for (size_t i = 0; i < CALLERS * JOBS; i++) CLAIM(slots[i].accepted == slots[i].results);
    cd_pool_free(pool);
}

/* The descriptor stays readable while results are left, and no longer. */
static void check_descriptor(void) {
    cd_pool *pool;
    cd_job_args args = {.size = {0}};
    cd_pool_stats stats;
    cd_result result;
    size_t count;
    CLAIM(cd_pool_open(2, 3, NULL, &pool) == CD_OK);
    struct pollfd event = {.fd = cd_pool_eventfd(pool), .events = POLLIN};
    for (uint64_t ticket = 0; ticket < 3; ticket++)
        CLAIM(cd_pool_submit(pool, invert, &args, ticket) == CD_OK);
    do CLAIM(cd_pool_get_stats(pool, &stats) == CD_OK);
    while (stats.finished < 3);
    for (int left = 3; left > 0; left--) {
        CLAIM(poll(&event, 1, 5000) == 1); /* it may be raised a moment after the result is in */
        CLAIM(cd_pool_collect(pool, &result, 1, &count) == CD_OK && count == 1);
    }
    CLAIM(poll(&event, 1, 0) == 0);
    cd_pool_free(pool);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    uint32_t random = (uint32_t)strtoul(argv[2], NULL, 10) * 2654435761u | 1;
    check_descriptor();
    for (long rounds = strtol(argv[1], NULL, 10); rounds > 0; rounds--) run_round(&random);
    puts("every claim held");
    return 0;
}
