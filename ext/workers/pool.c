#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "workers/workers.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    cd_job_run run;
    cd_job_args args;
    uint64_t ticket;
} cd_job;

typedef struct {
    cd_pool *pool;
    pthread_t thread;
    cd_worker_stats stats;
} cd_worker;

typedef enum { CD_POOL_OPEN, CD_POOL_CLOSING, CD_POOL_CLOSED } cd_pool_state;

struct cd_pool {
    pid_t owner;
    size_t capacity, threads;
    pthread_mutex_t lock;   /* guards everything below, except that threads only read event */
    pthread_cond_t work;    /* a job was queued, or the pool is closing */
    pthread_cond_t settled; /* the pool became closed, or the last waiter left */
    cd_pool_state state;
    int event;
    size_t waiting; /* callers inside cd_pool_wait */
    size_t queue_head, queued, running, done_head, finished;
    uint64_t submitted, completed, discarded, refused;
    cd_job *queue;   /* ring of capacity jobs */
    cd_result *done; /* ring of capacity results */
    cd_worker worker[CD_POOL_THREADS_MAX];
};

static uint64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool owned(const cd_pool *pool) { return pool->owner == getpid(); }

static size_t outstanding(const cd_pool *pool) {
    return pool->queued + pool->running + pool->finished;
}

/* The descriptor is non-blocking: a full counter is readable already, an empty one is reset
 * already. */
static void event_raise(const cd_pool *pool) {
    while (eventfd_write(pool->event, 1) != 0 && errno == EINTR) {
    }
}

static void event_reset(const cd_pool *pool) {
    eventfd_t count;
    while (eventfd_read(pool->event, &count) != 0 && errno == EINTR) {
    }
}

/* Ring operations; the lock is held. */

static void push_job(cd_pool *pool, const cd_job *job) {
    CD_VERIFY_CHECK(outstanding(pool) < pool->capacity);
    pool->queue[(pool->queue_head + pool->queued++) % pool->capacity] = *job;
}

static cd_job pop_job(cd_pool *pool) {
    CD_VERIFY_CHECK(pool->queued > 0);
    cd_job job = pool->queue[pool->queue_head];
    pool->queue_head = (pool->queue_head + 1) % pool->capacity;
    pool->queued--;
    return job;
}

static void push_result(cd_pool *pool, uint64_t ticket, cd_status status) {
    CD_VERIFY_CHECK(pool->finished < pool->capacity);
    cd_result *result = &pool->done[(pool->done_head + pool->finished++) % pool->capacity];
    result->ticket = ticket;
    result->status = status;
}

/* The threads. */

static bool next_job(cd_pool *pool, cd_job *job) {
    pthread_mutex_lock(&pool->lock);
    while (pool->queued == 0 && pool->state == CD_POOL_OPEN)
        pthread_cond_wait(&pool->work, &pool->lock);
    bool found = pool->queued > 0;
    if (found) {
        *job = pop_job(pool);
        pool->running++;
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}

static void finish_job(cd_worker *worker, uint64_t ticket, cd_status status, uint64_t busy_ns) {
    cd_pool *pool = worker->pool;
    uint64_t cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
    pthread_mutex_lock(&pool->lock);
    pool->running--;
    pool->completed++;
    push_result(pool, ticket, status);
    bool first = pool->finished == 1;
    worker->stats.jobs++;
    worker->stats.busy_ns += busy_ns;
    worker->stats.cpu_ns = cpu_ns;
    pthread_mutex_unlock(&pool->lock);
    /* Outside the lock, or the reader that this wakes would run straight into it. */
    if (first) event_raise(pool);
}

static void *worker_main(void *context) {
    cd_worker *worker = context;
    cd_job job;
    while (next_job(worker->pool, &job)) {
        uint64_t start = now_ns(CLOCK_MONOTONIC);
        cd_status status = job.run(&job.args);
        finish_job(worker, job.ticket, status, now_ns(CLOCK_MONOTONIC) - start);
    }
    return NULL;
}

static int start_thread(cd_pool *pool, size_t index, const int *cpus) {
    cd_worker *worker = &pool->worker[index];
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) return error;
    if (cpus != NULL) {
        cpu_set_t set;
        CPU_ZERO(&set);
        if (cpus[index] >= 0) CPU_SET((size_t)cpus[index], &set); /* an empty set is refused */
        error = pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    }
    worker->pool = pool;
    if (error == 0) error = pthread_create(&worker->thread, &attributes, worker_main, worker);
    pthread_attr_destroy(&attributes);
    if (error != 0) return error;
    char name[16];
    snprintf(name, sizeof name, "cherry-w%u", (unsigned)index);
    pthread_setname_np(worker->thread, name);
    return 0;
}

/* New threads inherit the mask. A fault's own signals stay open, so that a crash is reported. */
static int start_threads(cd_pool *pool, size_t threads, const int *cpus) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = 0;
    while (error == 0 && pool->threads < threads) {
        error = start_thread(pool, pool->threads, cpus);
        if (error == 0) pool->threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* The callers. */

cd_status cd_pool_open(size_t threads, size_t capacity, const int *cpus, cd_pool **out) {
    CD_ARG_CHECK(out != NULL);
    *out = NULL;
    CD_ARG_CHECK(threads >= 1 && threads <= CD_POOL_THREADS_MAX);
    CD_ARG_CHECK(capacity >= 1 && capacity <= CD_POOL_CAPACITY_MAX);
    cd_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return CD_ERR_MEMORY;
    pool->owner = getpid();
    pool->capacity = capacity;
    pool->queue = calloc(capacity, sizeof *pool->queue);
    pool->done = calloc(capacity, sizeof *pool->done);
    pool->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->settled, NULL);
    int error = ENOMEM;
    if (pool->queue != NULL && pool->done != NULL && pool->event >= 0)
        error = start_threads(pool, threads, cpus);
    if (error != 0) {
        cd_pool_free(pool);
        return error == EINVAL ? CD_ERR_ARGUMENT : CD_ERR_MEMORY;
    }
    *out = pool;
    return CD_OK;
}

cd_status cd_pool_submit(cd_pool *pool, cd_job_run run, const cd_job_args *args, uint64_t ticket) {
    CD_ARG_CHECK(pool != NULL && run != NULL && args != NULL);
    if (!owned(pool)) return CD_ERR_CLOSED;
    cd_job job = {.run = run, .args = *args, .ticket = ticket};
    cd_status status = CD_OK;
    pthread_mutex_lock(&pool->lock);
    if (pool->state != CD_POOL_OPEN) {
        status = CD_ERR_CLOSED;
    } else if (outstanding(pool) == pool->capacity) {
        pool->refused++;
        status = CD_ERR_FULL;
    } else {
        push_job(pool, &job);
        pool->submitted++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (status == CD_OK) pthread_cond_signal(&pool->work);
    return status;
}

cd_status cd_pool_collect(cd_pool *pool, cd_result *out, size_t max, size_t *count) {
    CD_ARG_CHECK(pool != NULL && count != NULL && (out != NULL || max == 0));
    *count = 0;
    if (!owned(pool)) return CD_ERR_CLOSED;
    pthread_mutex_lock(&pool->lock);
    bool signalling = pool->state != CD_POOL_CLOSED;
    /* Reset before taking: a result that comes later raises it again. */
    if (signalling) event_reset(pool);
    for (; *count < max && pool->finished > 0; pool->finished--) {
        out[(*count)++] = pool->done[pool->done_head];
        pool->done_head = (pool->done_head + 1) % pool->capacity;
    }
    if (signalling && pool->finished > 0) event_raise(pool);
    pthread_mutex_unlock(&pool->lock);
    return CD_OK;
}

cd_status cd_pool_wait(cd_pool *pool, int64_t timeout_ns, size_t *ready) {
    CD_ARG_CHECK(pool != NULL && ready != NULL);
    *ready = 0;
    if (!owned(pool)) return CD_ERR_CLOSED;
    struct timespec limit = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    pthread_mutex_lock(&pool->lock);
    if (pool->finished == 0 && pool->state != CD_POOL_CLOSED) {
        struct pollfd event = {.fd = pool->event, .events = POLLIN};
        pool->waiting++;
        pthread_mutex_unlock(&pool->lock);
        ppoll(&event, 1, timeout_ns < 0 ? NULL : &limit, NULL);
        pthread_mutex_lock(&pool->lock);
        if (pool->finished == 0 && pool->state != CD_POOL_CLOSED)
            event_reset(pool); /* it was raised late */
        if (--pool->waiting == 0) pthread_cond_broadcast(&pool->settled);
    }
    *ready = pool->finished;
    pthread_mutex_unlock(&pool->lock);
    return CD_OK;
}

int cd_pool_eventfd(cd_pool *pool) {
    if (pool == NULL || !owned(pool)) return -1;
    pthread_mutex_lock(&pool->lock);
    int event = pool->state == CD_POOL_CLOSED ? -1 : pool->event;
    pthread_mutex_unlock(&pool->lock);
    return event;
}

cd_status cd_pool_get_stats(cd_pool *pool, cd_pool_stats *stats) {
    CD_ARG_CHECK(pool != NULL && stats != NULL);
    memset(stats, 0, sizeof *stats);
    if (!owned(pool)) return CD_ERR_CLOSED;
    pthread_mutex_lock(&pool->lock);
    stats->submitted = pool->submitted;
    stats->completed = pool->completed;
    stats->discarded = pool->discarded;
    stats->refused = pool->refused;
    stats->queued = pool->queued;
    stats->running = pool->running;
    stats->finished = pool->finished;
    stats->threads = pool->threads;
    for (size_t i = 0; i < pool->threads; i++) stats->worker[i] = pool->worker[i].stats;
    pthread_mutex_unlock(&pool->lock);
    return CD_OK;
}

static void discard_queue(cd_pool *pool) {
    while (pool->queued > 0) {
        push_result(pool, pop_job(pool).ticket, CD_ERR_CLOSED);
        pool->discarded++;
    }
    event_raise(pool);
}

/* The lock is held, and state is CLOSING: this caller alone joins. */
static void stop_threads(cd_pool *pool) {
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->threads; i++) pthread_join(pool->worker[i].thread, NULL);
    pthread_mutex_lock(&pool->lock);
    pool->state = CD_POOL_CLOSED;
    if (pool->event < 0) return; /* it could not be opened */
    event_raise(pool);
    while (pool->waiting > 0) pthread_cond_wait(&pool->settled, &pool->lock);
    close(pool->event);
    pool->event = -1;
}

cd_status cd_pool_close(cd_pool *pool, int drain) {
    CD_ARG_CHECK(pool != NULL);
    if (!owned(pool)) return CD_ERR_CLOSED;
    pthread_mutex_lock(&pool->lock);
    if (!drain && pool->queued > 0) discard_queue(pool);
    if (pool->state == CD_POOL_OPEN) {
        pool->state = CD_POOL_CLOSING;
        stop_threads(pool);
        pthread_cond_broadcast(&pool->settled);
    }
    while (pool->state != CD_POOL_CLOSED || pool->event >= 0)
        pthread_cond_wait(&pool->settled, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return CD_OK;
}

void cd_pool_free(cd_pool *pool) {
    if (pool == NULL || !owned(pool)) return;
    cd_pool_close(pool, 0);
    pthread_cond_destroy(&pool->settled);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool->queue);
    free(pool->done);
    free(pool);
}
