/* Pieces: sorted arrays in memory. */
#include "runs/entry.h"

#include <stdlib.h>

#define STRETCH 128 /* entries that pieces are joined by, on average */

/* A piece with room for n entries, and scratch for as many. */
static int allocate(size_t n, cd_piece **piece, cd_entry **scratch) {
    *piece = malloc(sizeof **piece + n * sizeof *(*piece)->entries);
    *scratch = malloc(n * sizeof **scratch);
    if (*piece != NULL && *scratch != NULL) {
        (*piece)->n = n;
        return CD_OK;
    }
    free(*piece);
    free(*scratch);
    *piece = NULL;
    return CD_ERR_MEMORY;
}

static void find_places(cd_piece *piece, const uint64_t *places) {
    piece->first_place = piece->last_place = places[0];
    for (size_t i = 1; i < piece->n; i++) {
        if (places[i] < piece->first_place) piece->first_place = places[i];
        if (places[i] > piece->last_place) piece->last_place = places[i];
    }
}

static bool has_duplicate(const cd_piece *piece) {
    for (size_t i = 1; i < piece->n; i++)
        if (!cd_entry_less(&piece->entries[i - 1], &piece->entries[i])) return true;
    return false;
}

int cd_piece_build(const uint8_t *keys, const uint64_t *places, size_t n, cd_piece **out) {
    CD_ARG_CHECK(out != NULL);
    *out = NULL;
    CD_ARG_CHECK(keys != NULL && places != NULL && n >= 1 && n <= CD_RUN_PIECE_MAX);
    cd_piece *piece;
    cd_entry *scratch;
    int rc = allocate(n, &piece, &scratch);
    if (rc != 0) return rc;
    for (size_t i = 0; i < n; i++)
        scratch[i] = cd_entry_load(keys + i * CD_RUN_KEY_BYTES, places[i]);
    cd_entry_sort(scratch, piece->entries, n);
    free(scratch);
    if (has_duplicate(piece)) {
        free(piece);
        return CD_RUN_DUPLICATE;
    }
    find_places(piece, places);
    *out = piece;
    return CD_OK;
}

/* Move what precedes the bound, or all if there is none, from each piece's cursor on; returns how many. */
static size_t gather(const cd_piece *const *pieces, size_t n, size_t *cursors,
                     const cd_entry *bound, cd_entry *to) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const cd_entry *entries = pieces[i]->entries;
        size_t at = cursors[i];
        for (; at < pieces[i]->n && (bound == NULL || cd_entry_less(&entries[at], bound)); at++)
            to[count++] = entries[at];
        cursors[i] = at;
    }
    return count;
}

/* Every so many entries of the largest piece bound a stretch, which is sorted within the first cache.
 * Sorting all at once would scatter them over memory that no cache holds. */
static void merge(const cd_piece *const *pieces, size_t n, size_t *cursors, cd_entry *scratch,
                  cd_piece *piece) {
    const cd_piece *largest = pieces[0];
    for (size_t i = 1; i < n; i++)
        if (pieces[i]->n > largest->n) largest = pieces[i];
    const size_t step = 1 + largest->n * STRETCH / piece->n;
    cd_entry *to = piece->entries;
    for (size_t at = step; to < piece->entries + piece->n; at += step) {
        const cd_entry *bound = at < largest->n ? &largest->entries[at] : NULL;
        const size_t count = gather(pieces, n, cursors, bound, scratch);
        cd_entry_sort(scratch, to, count);
        to += count;
    }
}

int cd_piece_join(const cd_piece *const *pieces, size_t n, cd_piece **out) {
    CD_ARG_CHECK(out != NULL);
    *out = NULL;
    CD_ARG_CHECK(pieces != NULL && n >= 1);
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        CD_ARG_CHECK(pieces[i] != NULL && pieces[i]->n <= CD_RUN_PIECE_MAX - total);
        CD_ARG_CHECK(i == 0 || pieces[i - 1]->last_place < pieces[i]->first_place);
        total += pieces[i]->n;
    }
    cd_piece *piece;
    cd_entry *scratch;
    size_t *cursors = calloc(n, sizeof *cursors);
    int rc = cursors == NULL ? CD_ERR_MEMORY : allocate(total, &piece, &scratch);
    if (rc == CD_OK) {
        merge(pieces, n, cursors, scratch, piece);
        free(scratch);
    }
    free(cursors);
    if (rc != CD_OK) return rc;
    piece->first_place = pieces[0]->first_place;
    piece->last_place = pieces[n - 1]->last_place;
    *out = piece;
    return CD_OK;
}

void cd_piece_free(cd_piece *piece) { free(piece); }

void cd_piece_get_info(const cd_piece *piece, cd_run_info *info) {
    *info = (cd_run_info){
        .entries = piece->n,
        .first_place = piece->first_place,
        .last_place = piece->last_place,
        .memory_bytes = sizeof *piece + piece->n * sizeof *piece->entries,
    };
}
