/* Runs: opening a file, and reading its data pages. */
#include "runs/entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the footer says, if it fits a file of `pages` pages. */
static bool decode_footer(const uint8_t *page, uint64_t pages, cd_footer *footer) {
    const uint8_t *body = page + CD_PAGE_HEAD;
    *footer = (cd_footer){
        .pages = cd_load32_le(body + 12),
        .entries = cd_load64_le(body + 16),
        .first_place = cd_load64_le(body + 24),
        .last_place = cd_load64_le(body + 32),
    };
    return memcmp(body, CD_FOOTER_MAGIC, 8) == 0 && cd_load32_le(body + 8) == CD_FOOTER_VERSION &&
           cd_page_count(page) == 0 && footer->entries >= 1 &&
           footer->entries <= pages * CD_RUN_PAGE_ENTRIES &&
           footer->pages == cd_page_needed(footer->entries) &&
           pages == footer->pages + cd_page_needed(footer->pages) + 1 &&
           footer->first_place <= footer->last_place;
}

static int read_footer(int descriptor, const cd_run_seal *seal, cd_footer *footer, uint64_t *page) {
    struct stat status;
    uint8_t bytes[CD_RUN_PAGE_BYTES];
    *page = 0;
    if (fstat(descriptor, &status) != 0) return errno;
    uint64_t pages = (uint64_t)status.st_size / CD_RUN_PAGE_BYTES;
    if (pages == 0 || pages > UINT32_MAX) return CD_RUN_DAMAGED;
    *page = pages;
    if (status.st_size % CD_RUN_PAGE_BYTES != 0) return CD_RUN_DAMAGED;
    int rc = cd_page_read(descriptor, seal, pages - 1, 1, CD_PAGE_FOOTER, bytes, page);
    if (rc != 0) return rc;
    return decode_footer(bytes, pages, footer) ? CD_OK : CD_RUN_DAMAGED;
}

static int read_fences(cd_run *run, uint64_t *page) {
    uint64_t needed = cd_page_needed(run->footer.pages), at = 0;
    uint8_t bytes[CD_RUN_PAGE_BYTES];
    for (uint64_t i = 0; i < needed; i++) {
        int rc = cd_page_read(run->descriptor, &run->seal, run->footer.pages + i, 1, CD_PAGE_FENCE,
                              bytes, page);
        if (rc != 0) return rc;
        size_t count = cd_page_share(run->footer.pages, i);
        if (cd_page_count(bytes) != count) return CD_RUN_DAMAGED;
        for (size_t entry = 0; entry < count; entry++)
            run->fences[at++] = cd_page_entry(bytes, entry);
    }
    return CD_OK;
}

static int open_run(int descriptor, const cd_run_seal *seal, cd_run **out, uint64_t *page) {
    cd_footer footer;
    int rc = read_footer(descriptor, seal, &footer, page);
    if (rc != 0) return rc;
    cd_run *run = malloc(sizeof *run + footer.pages * sizeof *run->fences);
    if (run == NULL) return CD_ERR_MEMORY;
    run->descriptor = descriptor;
    run->seal = *seal;
    run->footer = footer;
    rc = read_fences(run, page);
    if (rc == 0)
        *out = run;
    else
        free(run);
    return rc;
}

int cd_run_open(int descriptor, const cd_run_seal *seal, cd_run **run, uint64_t *page) {
    CD_ARG_CHECK(seal != NULL && seal->hash != NULL && run != NULL && page != NULL);
    *run = NULL;
    int rc = open_run(descriptor, seal, run, page);
    if (rc != 0) close(descriptor);
    return rc;
}

void cd_run_free(cd_run *run) {
    if (run == NULL) return;
    close(run->descriptor);
    free(run);
}

void cd_run_get_info(const cd_run *run, cd_run_info *info) {
    const cd_footer *footer = &run->footer;
    *info = (cd_run_info){
        .entries = footer->entries,
        .first_place = footer->first_place,
        .last_place = footer->last_place,
        .memory_bytes = sizeof *run + footer->pages * sizeof *run->fences,
        .file_bytes =
            (footer->pages + cd_page_needed(footer->pages) + 1) * (uint64_t)CD_RUN_PAGE_BYTES,
    };
}

int cd_run_read(const cd_run *run, uint64_t first, size_t n, uint8_t *pages, uint64_t *page) {
    int rc = cd_page_read(run->descriptor, &run->seal, first, n, CD_PAGE_DATA, pages, page);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        size_t count = cd_page_count(pages + i * CD_RUN_PAGE_BYTES);
        *page = first + i;
        if (count != cd_page_share(run->footer.entries, first + i)) rc = CD_RUN_DAMAGED;
    }
    return rc;
}

const char *cd_run_message(int code) {
    switch (code) {
    case CD_OK: return "no error";
    case CD_ERR_ARGUMENT: return "an argument breaks the contract";
    case CD_ERR_MEMORY: return "no memory";
    case CD_RUN_DAMAGED: return "is damaged, missing or of another file";
    case CD_RUN_DUPLICATE: return "an entry occurs twice";
    default: return strerror(code);
    }
}
