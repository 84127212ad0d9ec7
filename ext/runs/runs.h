/* Sorted runs: a multimap from 16-byte keys to places, in memory and in files that never change.
 *
 * An entry is (key, place). Keys sort as bytes, entries by key and then by place, and no entry occurs
 * twice. A piece is a sorted array in memory, a run a sorted file. Both are immutable, so any thread
 * may read them while any other writes a new run out of them.
 *
 * Sources that are given together are in order of time: every place of one lies above every place of
 * those before it. So what is found in one source after another needs no merging, and the newest places
 * of a key are found without looking at older sources.
 *
 * A run file is made of pages of 4096 bytes, integers little-endian:
 *
 *   0     page number u32, kind u16, entries u16
 *   8     170 entries of 24 bytes: key 16, place u64; the rest of a last page is zero
 *   4088  seal 8: the first bytes of BLAKE3 over what precedes it, keyed for this file's name
 *
 * First the data pages, all full but the last; then the fence pages, whose entries are the first ones
 * of the data pages; then one footer page without entries: at 8 the magic "cherryrn", version u32, data
 * pages u32, entries u64, first place u64, last place u64, and zeros.
 *
 * Every page that is read is checked against its seal, its number, its kind and its count, so a file
 * that is damaged, cut off, renamed or put together from others is CD_RUN_DAMAGED and never a wrong
 * answer. The fences lie in memory: 24 bytes for each 170 entries. Files are read with pread: one that
 * shrinks is damage, not SIGBUS.
 *
 * Functions return 0, a cd_status, CD_RUN_DAMAGED, CD_RUN_DUPLICATE or an errno (> 0).
 */
#ifndef CD_RUNS_H
#define CD_RUNS_H

#include "base/base.h"
#include "base/job.h"

#define CD_RUN_KEY_BYTES 16
#define CD_RUN_ENTRY_BYTES 24
#define CD_RUN_PAGE_BYTES 4096
#define CD_RUN_PAGE_ENTRIES 170
#define CD_RUN_SEAL_BYTES 8
#define CD_RUN_PIECE_MAX (1u << 30) /* entries of a piece */
#define CD_RUN_SOURCES_MAX 4096
#define CD_RUN_LIMIT_MAX 65536 /* places of one answer */

enum {
    CD_RUN_DAMAGED = -100,  /* a page is not what was written, or is missing */
    CD_RUN_DUPLICATE = -101 /* an entry occurs twice */
};

typedef struct cd_piece cd_piece;
typedef struct cd_run cd_run;

/* What a source holds. Both kinds have at least one entry. */
typedef struct {
    uint64_t entries, first_place, last_place; /* the lowest place and the highest */
    uint64_t memory_bytes, file_bytes;
} cd_run_info;

/* Pieces. */

/* Sort n entries, 1 <= n <= CD_RUN_PIECE_MAX, given in any order. keys: n x 16 bytes.
 * CD_RUN_DUPLICATE if one occurs twice. Needs twice the piece's memory meanwhile, and n log n time at
 * worst, n for keys that are hashes. */
int cd_piece_build(const uint8_t *keys, const uint64_t *places, size_t n, cd_piece **piece);

/* One piece out of several that are in order of time; those stay as they are. */
int cd_piece_join(const cd_piece *const *pieces, size_t n, cd_piece **piece);

void cd_piece_free(cd_piece *piece);
void cd_piece_get_info(const cd_piece *piece, cd_run_info *info);

/* Runs. */

/* How the pages of a file are sealed. hash: cd_digest_records_job of the digest module, so that one
 * choice of instruction set holds for the process. key: derived from the file's name. */
typedef struct {
    cd_job_run hash;
    uint8_t key[32];
} cd_run_seal;

/* Take over a descriptor and read the footer and the fences. On failure the descriptor is closed, and
 * *page tells which page it was. */
int cd_run_open(int descriptor, const cd_run_seal *seal, cd_run **run, uint64_t *page);

/* Close and free. */
void cd_run_free(cd_run *run);
void cd_run_get_info(const cd_run *run, cd_run_info *info);

/* Sources. */

typedef struct {
    const cd_piece *piece; /* one of the two; the other is NULL */
    const cd_run *run;
} cd_run_source;

/* Where it failed: a page of sources[source], or of the file being written if source is the count. */
typedef struct {
    size_t source;
    uint64_t page;
} cd_run_fault;

/* What is asked for: places of key with first <= place <= last, ascending or descending, up to limit,
 * which is at most CD_RUN_LIMIT_MAX. */
typedef struct {
    uint8_t key[CD_RUN_KEY_BYTES];
    uint64_t first, last;
    size_t limit;
    int is_descending;
} cd_run_query;

/* places: room for query->limit. Reads one page of each run that has nothing to give, and otherwise
 * those that hold the answer. */
int cd_run_select(const cd_run_source *sources, size_t n, const cd_run_query *query,
                  uint64_t *places, size_t *count, cd_run_fault *fault);

/* Write all entries of n sources, 1 <= n <= CD_RUN_SOURCES_MAX, into an empty file and fsync it.
 * Memory: under 2 MiB, 12 KiB for each source above 64, and 24 bytes a data page. */
int cd_run_write(int descriptor, const cd_run_seal *seal, const cd_run_source *sources, size_t n,
                 cd_run_fault *fault);

/* A name for a code that any of these functions returned; a constant or thread-local. */
const char *cd_run_message(int code);

#endif
