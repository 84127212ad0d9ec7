/* Jobs for the tests of the worker ring. Built by the tests; not part of the engine. */
#define _GNU_SOURCE
#include "base/job.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

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

/* param: microseconds to take, whether to sleep (1) or spin (0), a byte to add, a status to return.
 * output[i] = input[0][i] + byte; the output must not be larger than the input. */
cd_status job_add(const cd_job_args *args) {
    atomic_fetch_add(&running, 1);
    uint64_t end = now_ns() + args->param[0] * 1000;
    if (args->param[1]) {
        usleep((useconds_t)args->param[0]);
    } else {
        while (now_ns() < end) {
        }
    }
    atomic_fetch_sub(&running, 1);
    if (args->output_size > args->size[0]) return CD_ERR_ARGUMENT;
    for (size_t i = 0; i < args->output_size; i++)
        args->output[i] = (uint8_t)(args->input[0][i] + args->param[2]);
    atomic_fetch_add(&runs, 1);
    return (cd_status)(int64_t)args->param[3];
}
