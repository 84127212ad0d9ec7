/* What the files of the sorted runs share: entries, and the pages that hold them. */
#ifndef CD_RUNS_ENTRY_H
#define CD_RUNS_ENTRY_H

#include "runs/runs.h"

#include <stdbool.h>

/* An entry as numbers that compare as it does: the key's halves, big-endian, and the place. */
typedef struct {
    uint64_t word[3];
} cd_entry;

enum { CD_ENTRY_WORDS = 3, CD_ENTRY_PLACE = 2 };

CD_INLINE cd_entry cd_entry_load(const uint8_t *key, uint64_t place) {
    return (cd_entry){{cd_load64_be(key), cd_load64_be(key + 8), place}};
}

CD_INLINE bool cd_entry_has_key(const cd_entry *a, const cd_entry *b) {
    return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

CD_INLINE bool cd_entry_less(const cd_entry *a, const cd_entry *b) {
    if (a->word[0] != b->word[0]) return a->word[0] < b->word[0];
    if (a->word[1] != b->word[1]) return a->word[1] < b->word[1];
    return a->word[CD_ENTRY_PLACE] < b->word[CD_ENTRY_PLACE];
}

/* How many of n sorted entries are less than the bound, or at most the bound. */
size_t cd_entry_rank(const cd_entry *entries, size_t n, const cd_entry *bound, bool with_bound);

/* Sort n < 2^32 entries that lie in `from` into `to`; what is in `from` then is of no worth. The stack
 * takes under 256 KiB. */
void cd_entry_sort(cd_entry *from, cd_entry *to, size_t n);

struct cd_piece {
    size_t n;
    uint64_t first_place, last_place;
    cd_entry entries[];
};

/* Pages. */

enum {
    CD_PAGE_HEAD = 8,
    CD_PAGE_SEALED = CD_RUN_PAGE_BYTES - CD_RUN_SEAL_BYTES, /* bytes that the seal covers */
    CD_PAGE_GROUP = 64                                      /* pages that are sealed in one call */
};

typedef enum { CD_PAGE_DATA = 1, CD_PAGE_FENCE = 2, CD_PAGE_FOOTER = 3 } cd_page_kind;

_Static_assert(CD_PAGE_HEAD + CD_RUN_PAGE_ENTRIES * CD_RUN_ENTRY_BYTES == CD_PAGE_SEALED,
               "the entries fill a page");

/* Number, kind and count of n <= CD_PAGE_GROUP pages, and their seals. */
void cd_page_set_head(uint8_t *page, uint64_t number, cd_page_kind kind, size_t count);
int cd_page_seal(const cd_run_seal *seal, uint8_t *pages, size_t n);

/* Read n <= CD_PAGE_GROUP pages from number `first` on. All must be of a kind; *page tells which is
 * damaged or could not be read. The counts are the caller's to check. */
int cd_page_read(int descriptor, const cd_run_seal *seal, uint64_t first, size_t n,
                 cd_page_kind kind, uint8_t *pages, uint64_t *page);

CD_INLINE size_t cd_page_count(const uint8_t *page) { return (size_t)(page[6] | page[7] << 8); }

CD_INLINE cd_entry cd_page_entry(const uint8_t *page, size_t i) {
    const uint8_t *entry = page + CD_PAGE_HEAD + i * CD_RUN_ENTRY_BYTES;
    return cd_entry_load(entry, cd_load64_le(entry + CD_RUN_KEY_BYTES));
}

CD_INLINE void cd_page_put(uint8_t *page, size_t i, const cd_entry *entry) {
    uint8_t *out = page + CD_PAGE_HEAD + i * CD_RUN_ENTRY_BYTES;
    cd_store64_le(out, __builtin_bswap64(entry->word[0]));
    cd_store64_le(out + 8, __builtin_bswap64(entry->word[1]));
    cd_store64_le(out + CD_RUN_KEY_BYTES, entry->word[CD_ENTRY_PLACE]);
}

/* How many entries page i of those that hold `entries` has. */
CD_INLINE size_t cd_page_share(uint64_t entries, uint64_t i) {
    uint64_t left = entries - i * CD_RUN_PAGE_ENTRIES;
    return left < CD_RUN_PAGE_ENTRIES ? (size_t)left : CD_RUN_PAGE_ENTRIES;
}

CD_INLINE uint64_t cd_page_needed(uint64_t entries) {
    return (entries + CD_RUN_PAGE_ENTRIES - 1) / CD_RUN_PAGE_ENTRIES;
}

/* The footer. */

typedef struct {
    uint64_t pages; /* that hold data */
    uint64_t entries, first_place, last_place;
} cd_footer;

#define CD_FOOTER_MAGIC "cherryrn"
enum { CD_FOOTER_VERSION = 1 };

struct cd_run {
    int descriptor;
    cd_run_seal seal;
    cd_footer footer;
    cd_entry fences[]; /* the first entry of each data page */
};

/* Read n <= CD_PAGE_GROUP data pages of a run, which are there. */
int cd_run_read(const cd_run *run, uint64_t first, size_t n, uint8_t *pages, uint64_t *page);

#endif
