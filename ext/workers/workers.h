/* A pool of native threads that run jobs (base/job.h) and never touch Python.
 *
 *   submit -> queue -> a worker runs the job -> finished -> collect
 *
 * Why not Python threads: a worker that comes back to Python between two jobs has to win the GIL
 * from the event loop, and beside a busy loop it wins a few times a second. These threads never
 * ask for it; a loop learns of results through an eventfd.
 *
 * Invariants: queued + running + finished <= capacity, so neither ring can overflow; every
 * accepted job gives exactly one result, which is CD_ERR_CLOSED if it was discarded; results come
 * in order of completion. All functions are thread-safe, except that nobody may use a pool that is
 * being freed.
 *
 * A pool belongs to the process that opened it. In a forked child its threads do not exist and its
 * lock may be held for ever, so there every call returns CD_ERR_CLOSED and touches nothing.
 */
#ifndef CD_WORKERS_H
#define CD_WORKERS_H

#include "base/job.h"

#define CD_POOL_THREADS_MAX 64
#define CD_POOL_CAPACITY_MAX 65536

typedef struct cd_pool cd_pool;

typedef struct {
    uint64_t ticket;
    cd_status status; /* what the job returned, or CD_ERR_CLOSED if it never ran */
} cd_result;

typedef struct {
    uint64_t jobs;    /* jobs that this thread has run */
    uint64_t busy_ns; /* wall time inside jobs */
    uint64_t cpu_ns;  /* CPU time that the thread had received when its last job ended */
} cd_worker_stats;

typedef struct {
    uint64_t submitted; /* jobs accepted */
    uint64_t completed; /* jobs run to their end */
    uint64_t discarded; /* jobs dropped by a close without draining */
    uint64_t refused;   /* submissions answered with CD_ERR_FULL */
    size_t queued, running, finished;
    size_t threads;
    cd_worker_stats worker[CD_POOL_THREADS_MAX];
} cd_pool_stats;

/* Start 1..CD_POOL_THREADS_MAX threads that share one queue. capacity: jobs outstanding at most,
 * 1..CD_POOL_CAPACITY_MAX. cpus: NULL, or one CPU number for each thread to be pinned to. The
 * threads block every signal but those that a fault raises. CD_ERR_ARGUMENT for a number out of
 * range or a CPU that does not exist, CD_ERR_MEMORY if memory, a descriptor or a thread is
 * refused. */
cd_status cd_pool_open(size_t threads, size_t capacity, const int *cpus, cd_pool **pool);

/* Queue a job; never blocks. The buffers named in args must stay until the job's result is
 * collected. CD_ERR_FULL if capacity jobs are outstanding, CD_ERR_CLOSED after close. */
cd_status cd_pool_submit(cd_pool *pool, cd_job_run run, const cd_job_args *args, uint64_t ticket);

/* Take up to max results into out, without blocking, also after close. Sets *count. */
cd_status cd_pool_collect(cd_pool *pool, cd_result *out, size_t max, size_t *count);

/* Block until a result waits, timeout_ns have passed (< 0: no limit), a signal arrives or the pool
 * is closed. Sets *ready to the number of waiting results. */
cd_status cd_pool_wait(cd_pool *pool, int64_t timeout_ns, size_t *ready);

/* A descriptor that polls readable while results wait, and once in a while when none do. Collecting
 * resets it; nobody else may read it. -1 after close or in a forked child. */
int cd_pool_eventfd(cd_pool *pool);

cd_status cd_pool_get_stats(cd_pool *pool, cd_pool_stats *stats);

/* Refuse further jobs, run what is queued (drain) or discard it, wait for running jobs, join the
 * threads, close the descriptor. Results can still be collected. May be called again, from any
 * thread: returns when the pool is closed, and a discarding call overtakes a draining one. */
cd_status cd_pool_close(cd_pool *pool, int drain);

/* Close without draining, then free the memory; NULL is allowed. A forked child's copy is left
 * alone. */
void cd_pool_free(cd_pool *pool);

#endif
