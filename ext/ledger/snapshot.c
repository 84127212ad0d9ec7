/* Snapshots: the table as it stood, read in pieces while it goes on changing. */
#include "ledger/table.h"

cd_status cd_ledger_snapshot_begin(cd_ledger *ledger) {
    CD_ARG_CHECK(ledger != NULL && ledger->snapshot.settled == NULL);
    cd_snapshot snapshot = {.first = 1, .count = ledger->used};
    snapshot.words = (size_t)ledger->used / 64 + 1;
    snapshot.settled = malloc(snapshot.words * sizeof *snapshot.settled);
    if (snapshot.settled == NULL) return CD_ERR_MEMORY;
    memcpy(snapshot.settled, ledger->vacant, snapshot.words * sizeof *snapshot.settled);
    ledger->snapshot = snapshot;
    return CD_OK;
}

cd_status cd_ledger_snapshot_end(cd_ledger *ledger) {
    CD_ARG_CHECK(ledger != NULL);
    cd_snapshot *snapshot = &ledger->snapshot;
    while (snapshot->saved != NULL) {
        cd_saved_block *top = snapshot->saved;
        snapshot->saved = top->below;
        free(top);
    }
    free(snapshot->settled);
    *snapshot = (cd_snapshot){0};
    return CD_OK;
}

bool cd_snapshot_grow(cd_ledger *ledger) {
    cd_snapshot *snapshot = &ledger->snapshot;
    cd_saved_block *block = aligned_alloc(sizeof(cd_ledger_line), sizeof *block);
    if (block == NULL) return false;
    block->below = snapshot->saved;
    block->count = 0;
    snapshot->saved = block;
    snapshot->blocks++;
    return true;
}

void cd_snapshot_save(cd_ledger *ledger, uint32_t place) {
    cd_snapshot *snapshot = &ledger->snapshot;
    uint64_t *word = &snapshot->settled[place / 64];
    if (*word & place_bit(place)) return;
    *word |= place_bit(place);
    CD_VERIFY_CHECK(snapshot->saved->count < CD_SAVED_LINES);
    cd_ledger_line *saved = &snapshot->saved->lines[snapshot->saved->count++];
    *saved = *line_at(ledger, place);
    saved->link = 0;
}

/* Hand out saved lines, newest first, and free the blocks that they leave empty. */
static size_t take_saved(cd_snapshot *snapshot, cd_ledger_line *lines, size_t max) {
    size_t count = 0;
    while (snapshot->saved != NULL) {
        cd_saved_block *top = snapshot->saved;
        const size_t left = max - count, taken = top->count < left ? top->count : left;
        top->count -= (uint32_t)taken;
        if (taken != 0) memcpy(lines + count, top->lines + top->count, taken * sizeof *lines);
        count += taken;
        if (top->count != 0) break;
        snapshot->saved = top->below;
        snapshot->blocks--;
        free(top);
    }
    return count;
}

/* Go to the first place that is still to be read, if there is one. Bits beyond the last are clear, so
 * no step leads further than just behind it. */
static void skip_settled(cd_snapshot *snapshot) {
    while (snapshot->count != 0) {
        const uint32_t at = snapshot->first % 64;
        const uint64_t open = ~snapshot->settled[snapshot->first / 64] >> at;
        const uint32_t step = open != 0 ? (uint32_t)__builtin_ctzll(open) : 64 - at;
        CD_VERIFY_CHECK(step <= snapshot->count);
        snapshot->first += step;
        snapshot->count -= step;
        if (open != 0) return;
    }
}

/* Saved lines first, so that their memory is given back as fast as the snapshot is read. */
cd_status cd_ledger_snapshot_read(cd_ledger *ledger, cd_ledger_line *lines, size_t max,
                                  size_t *count) {
    CD_ARG_CHECK(count != NULL);
    *count = 0;
    CD_ARG_CHECK(ledger != NULL && ledger->snapshot.settled != NULL);
    CD_ARG_CHECK(max == 0 || lines != NULL);
    cd_snapshot *snapshot = &ledger->snapshot;
    *count = take_saved(snapshot, lines, max);
    for (;; ++*count) {
        skip_settled(snapshot);
        if (snapshot->count == 0 || *count == max) return CD_OK;
        lines[*count] = *line_at(ledger, snapshot->first);
        lines[*count].link = 0;
        snapshot->first++;
        snapshot->count--;
    }
}
