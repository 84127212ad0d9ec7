/* A unit of work that a native worker thread runs: a function over plain buffers.
 *
 * The module that owns the work exports such a function in a PyCapsule named "cherrydag.job"; the
 * worker ring calls it without knowing what it does. It must not touch Python, may run on several
 * threads at once, and must keep to the buffers it is given.
 */
#ifndef CD_JOB_H
#define CD_JOB_H

#include "base/base.h"

#define CD_JOB_CAPSULE "cherrydag.job"
#define CD_JOB_INPUTS 4

typedef struct {
    const uint8_t *input[CD_JOB_INPUTS]; /* unused ones are NULL */
    size_t size[CD_JOB_INPUTS];          /* bytes of each input */
    uint64_t param[CD_JOB_INPUTS];       /* counts and flags; each job states its own */
    uint8_t *output;
    size_t output_size;
} cd_job_args;

typedef cd_status (*cd_job_run)(const cd_job_args *args);

#endif
