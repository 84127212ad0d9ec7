/* Finding the places of a key, from one source after the other. */
#include "runs/entry.h"

/* A source as a row of entries that can be looked at one by one. */
typedef struct {
    const cd_piece *piece;
    const cd_run *run;
    uint64_t page; /* of the run, that is in `bytes`; NO_PAGE if none is */
    uint8_t bytes[CD_RUN_PAGE_BYTES];
} cd_reader;

#define NO_PAGE UINT64_MAX

static int load(cd_reader *reader, uint64_t page) {
    if (reader->page == page) return CD_OK;
    reader->page = page;
    return cd_run_read(reader->run, page, 1, reader->bytes, &reader->page);
}

/* *at becomes the number of entries less than the bound, or at most the bound. */
static int rank(cd_reader *reader, const cd_entry *bound, bool with_bound, uint64_t *at) {
    if (reader->piece != NULL) {
        *at = cd_entry_rank(reader->piece->entries, reader->piece->n, bound, with_bound);
        return CD_OK;
    }
    const cd_footer *footer = &reader->run->footer;
    uint64_t after = cd_entry_rank(reader->run->fences, footer->pages, bound, with_bound);
    *at = 0;
    if (after == 0) return CD_OK;
    int rc = load(reader, after - 1);
    if (rc != 0) return rc;
    size_t low = 0, high = cd_page_share(footer->entries, after - 1);
    while (low < high) {
        size_t middle = (low + high) / 2;
        cd_entry entry = cd_page_entry(reader->bytes, middle);
        bool is_below = with_bound ? !cd_entry_less(bound, &entry) : cd_entry_less(&entry, bound);
        if (is_below)
            low = middle + 1;
        else
            high = middle;
    }
    *at = (after - 1) * CD_RUN_PAGE_ENTRIES + low;
    return CD_OK;
}

/* The fence spares the page: a key that ends with a page is not looked for in the next one. */
static int entry_at(cd_reader *reader, uint64_t at, cd_entry *entry) {
    if (reader->piece != NULL) {
        *entry = reader->piece->entries[at];
        return CD_OK;
    }
    uint64_t page = at / CD_RUN_PAGE_ENTRIES;
    if (at % CD_RUN_PAGE_ENTRIES == 0) {
        *entry = reader->run->fences[page];
        return CD_OK;
    }
    int rc = load(reader, page);
    if (rc == 0) *entry = cd_page_entry(reader->bytes, at % CD_RUN_PAGE_ENTRIES);
    return rc;
}

static int select_up(cd_reader *reader, uint64_t entries, const cd_run_query *query,
                     uint64_t *places, size_t *count) {
    const cd_entry first = cd_entry_load(query->key, query->first);
    uint64_t at;
    cd_entry entry;
    int rc = rank(reader, &first, false, &at);
    for (; rc == 0 && at < entries && *count < query->limit; at++) {
        rc = entry_at(reader, at, &entry);
        if (rc != 0 || !cd_entry_has_key(&entry, &first)) break;
        if (entry.word[CD_ENTRY_PLACE] > query->last) break;
        places[(*count)++] = entry.word[CD_ENTRY_PLACE];
    }
    return rc;
}

static int select_down(cd_reader *reader, const cd_run_query *query, uint64_t *places,
                       size_t *count) {
    const cd_entry last = cd_entry_load(query->key, query->last);
    uint64_t at;
    cd_entry entry;
    int rc = rank(reader, &last, true, &at);
    for (; rc == 0 && at > 0 && *count < query->limit; at--) {
        rc = entry_at(reader, at - 1, &entry);
        if (rc != 0 || !cd_entry_has_key(&entry, &last)) break;
        if (entry.word[CD_ENTRY_PLACE] < query->first) break;
        places[(*count)++] = entry.word[CD_ENTRY_PLACE];
    }
    return rc;
}

static int select_from(cd_reader *reader, const cd_run_query *query, uint64_t *places,
                       size_t *count) {
    cd_run_info info;
    if (reader->piece != NULL)
        cd_piece_get_info(reader->piece, &info);
    else
        cd_run_get_info(reader->run, &info);
    if (info.last_place < query->first || info.first_place > query->last) return CD_OK;
    if (query->is_descending) return select_down(reader, query, places, count);
    return select_up(reader, info.entries, query, places, count);
}

int cd_run_select(const cd_run_source *sources, size_t n, const cd_run_query *query,
                  uint64_t *places, size_t *count, cd_run_fault *fault) {
    CD_ARG_CHECK(n == 0 || sources != NULL);
    CD_ARG_CHECK(query != NULL && places != NULL && count != NULL && fault != NULL);
    CD_ARG_CHECK(query->limit <= CD_RUN_LIMIT_MAX);
    cd_reader reader;
    *count = 0;
    *fault = (cd_run_fault){n, 0};
    for (size_t i = 0; i < n && *count < query->limit; i++) {
        fault->source = query->is_descending ? n - 1 - i : i;
        reader.piece = sources[fault->source].piece;
        reader.run = sources[fault->source].run;
        reader.page = NO_PAGE;
        CD_ARG_CHECK((reader.piece == NULL) != (reader.run == NULL));
        int rc = select_from(&reader, query, places, count);
        fault->page = reader.page;
        if (rc != 0) return rc;
    }
    return CD_OK;
}
