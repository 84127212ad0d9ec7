/* What the fuzz targets share: reading the input, and the check that ends a run. */
#ifndef CD_FUZZ_H
#define CD_FUZZ_H

#include <stdlib.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The rest of the input; bytes past its end read as 0. */
typedef struct {
    const uint8_t *at;
    size_t left;
} source;

CD_INLINE uint8_t take(source *from) {
    if (from->left == 0) return 0;
    from->left--;
    return *from->at++;
}

/* Abort, which the driver reports, unless what must hold does. */
CD_INLINE void require(int holds) {
    if (!holds) abort();
}

/* A buffer of exactly `size` bytes, so that AddressSanitizer sees an access past them. */
CD_INLINE void *exact(size_t size) {
    void *bytes = malloc(size ? size : 1);
    require(bytes != NULL);
    return bytes;
}

#endif
