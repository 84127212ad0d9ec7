/* A run file in the making: entries go in, in order, and pages come out. */
#ifndef CD_RUNS_WRITER_H
#define CD_RUNS_WRITER_H

#include "runs/entry.h"

typedef struct {
    int descriptor;
    const cd_run_seal *seal;
    cd_page_kind kind;
    uint64_t number;  /* of the first page in `pages` */
    size_t full, len; /* full pages there, and entries in the one behind them */
    uint8_t pages[CD_PAGE_GROUP * CD_RUN_PAGE_BYTES];
    uint64_t fences_len;
    cd_entry fences[]; /* the first entry of each data page: room for all of them */
} cd_writer;

void cd_writer_begin(cd_writer *writer, int descriptor, const cd_run_seal *seal);

/* Append n entries. */
int cd_writer_put(cd_writer *writer, const cd_entry *entries, uint64_t n);

/* Append the fences and the footer, and fsync. */
int cd_writer_finish(cd_writer *writer, const cd_footer *footer);

#endif
