/* Writing a run out of pieces and runs, a chunk of entries at a time.
 *
 * Each source has a window of entries. Those of all windows up to the lowest end of a window whose source
 * goes on are complete: they are put together and sorted as one chunk that fits the cache. For keys that
 * are hashes this takes fewer steps than comparing the heads of the sources entry by entry. */
#include "runs/writer.h"

#include <stdlib.h>

enum { WINDOWS_PAGES = 64 }; /* of all windows together, but one each at least */

typedef struct {
    const cd_entry *window; /* entries of the source that are at hand */
    size_t len;
    uint64_t read, entries; /* of the source: those that are or were at hand, and all */
    cd_entry *buffer;       /* of a run: room for a window */
} cd_cursor;

typedef struct {
    const cd_run_source *sources;
    cd_cursor *cursors;
    size_t n, window_pages;
    cd_entry *buffers, *chunk, *sorted; /* each has room for all windows */
    cd_writer *writer;
    uint8_t *bytes; /* a window as it lies in the file */
} cd_merge;

static int fill_from_run(const cd_run *run, size_t pages, cd_cursor *cursor, uint8_t *bytes,
                         uint64_t *page) {
    uint64_t first = cursor->read / CD_RUN_PAGE_ENTRIES;
    size_t n = run->footer.pages - first < pages ? (size_t)(run->footer.pages - first) : pages;
    int rc = cd_run_read(run, first, n, bytes, page);
    if (rc != 0) return rc;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *at = bytes + i * CD_RUN_PAGE_BYTES;
        size_t count = cd_page_count(at);
        for (size_t entry = 0; entry < count; entry++)
            cursor->buffer[cursor->len++] = cd_page_entry(at, entry);
    }
    cursor->window = cursor->buffer;
    cursor->read += cursor->len;
    return CD_OK;
}

static int fill(cd_merge *merge, size_t i, uint64_t *page) {
    cd_cursor *cursor = &merge->cursors[i];
    if (cursor->len > 0 || cursor->read == cursor->entries) return CD_OK;
    if (merge->sources[i].run != NULL)
        return fill_from_run(merge->sources[i].run, merge->window_pages, cursor, merge->bytes,
                             page);
    uint64_t left = cursor->entries - cursor->read;
    size_t window = merge->window_pages * CD_RUN_PAGE_ENTRIES;
    cursor->window = merge->sources[i].piece->entries + cursor->read;
    cursor->len = left < window ? (size_t)left : window;
    cursor->read += cursor->len;
    return CD_OK;
}

/* The lowest end of a window whose source goes on; NULL if none does. */
static const cd_entry *find_bound(const cd_merge *merge) {
    const cd_entry *bound = NULL;
    for (size_t i = 0; i < merge->n; i++) {
        const cd_cursor *cursor = &merge->cursors[i];
        if (cursor->read == cursor->entries) continue;
        const cd_entry *end = &cursor->window[cursor->len - 1];
        if (bound == NULL || cd_entry_less(end, bound)) bound = end;
    }
    return bound;
}

/* Move what is complete from the windows into the chunk; how much it is. */
static size_t take(cd_merge *merge) {
    const cd_entry *bound = find_bound(merge);
    size_t total = 0;
    for (size_t i = 0; i < merge->n; i++) {
        cd_cursor *cursor = &merge->cursors[i];
        size_t count = cursor->len;
        if (bound != NULL) count = cd_entry_rank(cursor->window, count, bound, true);
        if (count == 0) continue;
        memcpy(merge->chunk + total, cursor->window, count * sizeof *merge->chunk);
        total += count;
        cursor->window += count;
        cursor->len -= count;
    }
    return total;
}

static int run_merge(cd_merge *merge, cd_run_fault *fault) {
    for (;;) {
        int rc = CD_OK;
        for (size_t i = 0; rc == 0 && i < merge->n; i++) {
            fault->source = i;
            rc = fill(merge, i, &fault->page);
        }
        if (rc != 0) return rc;
        size_t n = take(merge);
        if (n == 0) return CD_OK;
        cd_entry_sort(merge->chunk, merge->sorted, n);
        rc = cd_writer_put(merge->writer, merge->sorted, n);
        fault->source = merge->n;
        fault->page = merge->writer->number;
        if (rc != 0) return rc;
    }
}

static int allocate(cd_merge *merge, const cd_footer *footer) {
    size_t window = merge->window_pages * CD_RUN_PAGE_ENTRIES;
    merge->cursors = calloc(merge->n, sizeof *merge->cursors);
    merge->buffers = malloc(merge->n * window * sizeof *merge->buffers);
    merge->chunk = malloc(merge->n * window * sizeof *merge->chunk);
    merge->sorted = malloc(merge->n * window * sizeof *merge->sorted);
    merge->bytes = malloc(merge->window_pages * CD_RUN_PAGE_BYTES);
    merge->writer = malloc(sizeof *merge->writer + footer->pages * sizeof *merge->writer->fences);
    bool has_all = merge->cursors != NULL && merge->buffers != NULL && merge->chunk != NULL &&
                   merge->sorted != NULL && merge->bytes != NULL && merge->writer != NULL;
    return has_all ? CD_OK : CD_ERR_MEMORY;
}

static void release(cd_merge *merge) {
    free(merge->writer);
    free(merge->bytes);
    free(merge->sorted);
    free(merge->chunk);
    free(merge->buffers);
    free(merge->cursors);
}

static void get_info(const cd_run_source *source, cd_run_info *info) {
    if (source->run != NULL)
        cd_run_get_info(source->run, info);
    else
        cd_piece_get_info(source->piece, info);
}

/* What the file will say of itself; CD_ERR_ARGUMENT if the sources are not in order of time. */
static int describe(const cd_run_source *sources, size_t n, cd_footer *footer) {
    *footer = (cd_footer){0};
    for (size_t i = 0; i < n; i++) {
        cd_run_info info;
        CD_ARG_CHECK((sources[i].run == NULL) != (sources[i].piece == NULL));
        get_info(&sources[i], &info);
        CD_ARG_CHECK(i == 0 || info.first_place > footer->last_place);
        if (i == 0) footer->first_place = info.first_place;
        footer->last_place = info.last_place;
        footer->entries += info.entries;
    }
    footer->pages = cd_page_needed(footer->entries);
    CD_ARG_CHECK(footer->pages < UINT32_MAX / 2);
    return CD_OK;
}

static int prepare(cd_merge *merge, const cd_footer *footer) {
    size_t share = WINDOWS_PAGES / merge->n;
    merge->window_pages = share < 1 ? 1 : share < CD_PAGE_GROUP ? share : CD_PAGE_GROUP;
    int rc = allocate(merge, footer);
    for (size_t i = 0; rc == 0 && i < merge->n; i++) {
        cd_run_info info;
        get_info(&merge->sources[i], &info);
        merge->cursors[i].entries = info.entries;
        merge->cursors[i].buffer = merge->buffers + i * merge->window_pages * CD_RUN_PAGE_ENTRIES;
    }
    return rc;
}

int cd_run_write(int descriptor, const cd_run_seal *seal, const cd_run_source *sources, size_t n,
                 cd_run_fault *fault) {
    cd_footer footer;
    CD_ARG_CHECK(seal != NULL && seal->hash != NULL && sources != NULL && fault != NULL);
    CD_ARG_CHECK(n >= 1 && n <= CD_RUN_SOURCES_MAX);
    *fault = (cd_run_fault){n, 0};
    int rc = describe(sources, n, &footer);
    if (rc != 0) return rc;
    cd_merge merge = {.sources = sources, .n = n};
    rc = prepare(&merge, &footer);
    if (rc == 0) {
        cd_writer_begin(merge.writer, descriptor, seal);
        rc = run_merge(&merge, fault);
    }
    if (rc == 0) {
        rc = cd_writer_finish(merge.writer, &footer);
        *fault = (cd_run_fault){n, merge.writer->number};
    }
    release(&merge);
    return rc;
}
