/* Pages: heads, seals, and reading them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runs/entry.h"

#include <errno.h>
#include <unistd.h>

enum { DIGEST_BYTES = 32 };

void cd_page_set_head(uint8_t *page, uint64_t number, cd_page_kind kind, size_t count) {
    cd_store32_le(page, (uint32_t)number);
    page[4] = (uint8_t)kind;
    page[5] = 0;
    page[6] = (uint8_t)count;
    page[7] = (uint8_t)(count >> 8);
}

static int hash(const cd_run_seal *seal, const uint8_t *pages, size_t n, uint8_t *digests) {
    const cd_job_args args = {
        .input = {pages, seal->key},
        .size = {n * CD_RUN_PAGE_BYTES, sizeof seal->key},
        .param = {n, CD_RUN_PAGE_BYTES, 0, CD_PAGE_SEALED},
        .output = digests,
        .output_size = n * DIGEST_BYTES,
    };
    return seal->hash(&args);
}

int cd_page_seal(const cd_run_seal *seal, uint8_t *pages, size_t n) {
    uint8_t digests[CD_PAGE_GROUP * DIGEST_BYTES];
    CD_VERIFY_CHECK(n <= CD_PAGE_GROUP);
    int rc = hash(seal, pages, n, digests);
    for (size_t i = 0; rc == 0 && i < n; i++)
        memcpy(pages + i * CD_RUN_PAGE_BYTES + CD_PAGE_SEALED, digests + i * DIGEST_BYTES,
               CD_RUN_SEAL_BYTES);
    return rc;
}

/* Read n pages from number `first` on; *page is the one that could not be. */
static int read_bytes(int descriptor, uint64_t first, size_t n, uint8_t *pages, uint64_t *page) {
    size_t size = n * CD_RUN_PAGE_BYTES, at = 0;
    while (at < size) {
        off_t offset = (off_t)(first * CD_RUN_PAGE_BYTES + at);
        ssize_t got = pread(descriptor, pages + at, size - at, offset);
        if (got < 0 && errno == EINTR) continue;
        *page = first + at / CD_RUN_PAGE_BYTES;
        if (got < 0) return errno;
        if (got == 0) return CD_RUN_DAMAGED;
        at += (size_t)got;
    }
    return CD_OK;
}

static bool is_sound(const uint8_t *page, uint64_t number, cd_page_kind kind,
                     const uint8_t *digest) {
    return memcmp(page + CD_PAGE_SEALED, digest, CD_RUN_SEAL_BYTES) == 0 &&
           cd_load32_le(page) == number && page[4] == kind && page[5] == 0;
}

int cd_page_read(int descriptor, const cd_run_seal *seal, uint64_t first, size_t n,
                 cd_page_kind kind, uint8_t *pages, uint64_t *page) {
    uint8_t digests[CD_PAGE_GROUP * DIGEST_BYTES];
    CD_VERIFY_CHECK(n <= CD_PAGE_GROUP);
    int rc = read_bytes(descriptor, first, n, pages, page);
    if (rc == 0) rc = hash(seal, pages, n, digests);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        *page = first + i;
        if (!is_sound(pages + i * CD_RUN_PAGE_BYTES, *page, kind, digests + i * DIGEST_BYTES))
            rc = CD_RUN_DAMAGED;
    }
    return rc;
}
