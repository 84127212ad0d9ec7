/* Jobs for the tests of the worker ring. Built by the tests; not part of the engine. */
#define _GNU_SOURCE
#include "base/job.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* A gate is three bytes that a test shares with its jobs: whether it is open, how many jobs have
 * come to it, and whether it stayed shut for so long that a job forced it. */
enum { GATE_OPEN, GATE_STARTED, GATE_FORCED };

static atomic_ulong runs;
static atomic_int running;
static pid_t owner;

__attribute__((constructor)) static void at_load(void) { owner = getpid(); }

/* A job that outlives the interpreter would run into memory that is being taken down. */
__attribute__((destructor)) static void at_exit(void) {
    if (atomic_load(&running) && getpid() == owner) dprintf(2, "a job runs at exit\n");
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

unsigned long job_runs(void) { return atomic_load(&runs); }

/* Forcing the gate opens it to all, so that a test which would hang ends, and fails. */
static bool pass(uint8_t *gate, uint64_t guard_s) {
    uint64_t end = now_ns() + guard_s * 1000000000u;
    __atomic_fetch_add(&gate[GATE_STARTED], 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&gate[GATE_OPEN], __ATOMIC_SEQ_CST)) {
        if (now_ns() > end) {
            dprintf(2, "nobody opened the gate\n");
            __atomic_store_n(&gate[GATE_FORCED], 1, __ATOMIC_SEQ_CST);
            __atomic_store_n(&gate[GATE_OPEN], 1, __ATOMIC_SEQ_CST);
        }
        usleep(200);
    }
    return !__atomic_load_n(&gate[GATE_FORCED], __ATOMIC_SEQ_CST);
}

/* input: data, and perhaps a gate to wait at. param: microseconds to spin, seconds after which the
 * gate is forced, a byte to add, a status to return.
 * output[i] = data[i] + byte; the output must not be larger than the data. */
cd_status job_add(const cd_job_args *args) {
    atomic_fetch_add(&running, 1);
    uint64_t end = now_ns() + args->param[0] * 1000;
    while (now_ns() < end) {
    }
    bool passed = args->input[1] == NULL || pass((uint8_t *)args->input[1], args->param[1]);
    atomic_fetch_sub(&running, 1);
    if (!passed) return CD_ERR_UNSUPPORTED;
    if (args->output_size > args->size[0]) return CD_ERR_ARGUMENT;
    for (size_t i = 0; i < args->output_size; i++)
        args->output[i] = (uint8_t)(args->input[0][i] + args->param[2]);
    atomic_fetch_add(&runs, 1);
    return (cd_status)(int64_t)args->param[3];
}
