/* Reading and setting lines, export, sums, and the check of the whole. */
#include "ledger/table.h"

#define BLOCK 128

cd_status cd_ledger_get(const cd_ledger *ledger, const uint8_t address[20], uint32_t asset,
                        cd_ledger_line *line, int *found) {
    uint8_t key[CD_LEDGER_KEY_BYTES];
    CD_ARG_CHECK(ledger != NULL && address != NULL && line != NULL && found != NULL);
    make_key(key, address, asset);
    const uint32_t place = cd_index_find(ledger, cd_index_hash(ledger, key), key);
    *found = place != 0;
    *line = place != 0 ? *line_at(ledger, place) : (cd_ledger_line){0};
    line->link = 0;
    return CD_OK;
}

/* Whether no nonce above CD_LEDGER_NONCE_MAX is used, and the window has slid as far as it can. */
static bool is_window(uint64_t base, uint64_t mask) {
    const uint64_t end = CD_LEDGER_NONCE_MAX + 1;
    if (mask & 1 || base > end) return false;
    return end - base >= CD_LEDGER_NONCE_WINDOW || mask >> (end - base) == 0;
}

static bool may_be_set(const cd_ledger_line *line) {
    if (line->link != 0) return false;
    if (line->asset != 0) return (line->nonce_base | line->nonce_mask) == 0;
    return is_window(line->nonce_base, line->nonce_mask);
}

static cd_status put_one(cd_ledger *ledger, cd_key *key, const cd_ledger_line *from, int fresh) {
    cd_ledger_line *line = find_line(ledger, key);
    CD_ARG_CHECK(may_be_set(from) && !(fresh && (line != NULL || says_nothing(from))));
    if (says_nothing(from) && line == NULL) return CD_OK;
    if (!reserve_changes(ledger)) return CD_ERR_MEMORY;
    if (says_nothing(from)) {
        will_change(ledger, key);
        cd_line_remove(ledger, key);
        return CD_OK;
    }
    cd_status status = line == NULL ? cd_line_create(ledger, key, &line) : CD_OK;
    if (status != CD_OK) return status;
    will_change(ledger, key);
    const uint32_t link = line->link;
    *line = *from;
    line->link = link;
    return CD_OK;
}

cd_status cd_ledger_put(cd_ledger *ledger, const cd_ledger_line *lines, size_t n, int fresh,
                        size_t *done) {
    cd_key keys[BLOCK];
    CD_ARG_CHECK(done != NULL);
    *done = 0;
    CD_ARG_CHECK(ledger != NULL && (n == 0 || lines != NULL));
    while (*done < n) {
        const cd_ledger_line *from = lines + *done;
        const size_t count = n - *done < BLOCK ? n - *done : BLOCK;
        cd_keys_prepare(ledger, from->address, sizeof *from, count, keys);
        for (size_t i = 0; i < count; i++) {
            cd_status status = put_one(ledger, &keys[i], from + i, fresh);
            if (status != CD_OK) return status;
            ++*done;
        }
    }
    return CD_OK;
}

cd_status cd_ledger_export(const cd_ledger *ledger, uint32_t *cursor, cd_ledger_line *lines,
                           size_t max, size_t *count) {
    CD_ARG_CHECK(ledger != NULL && cursor != NULL && count != NULL && (max == 0 || lines != NULL));
    *count = 0;
    while (*cursor < ledger->used && *count < max) {
        const cd_ledger_line *line = line_at(ledger, ++*cursor);
        if (says_nothing(line)) continue;
        lines[*count] = *line;
        lines[*count].link = 0;
        ++*count;
    }
    return CD_OK;
}

cd_status cd_ledger_set_fees(cd_ledger *ledger, const uint64_t fees[2]) {
    CD_ARG_CHECK(ledger != NULL && fees != NULL);
    ledger->fees = (cd_u128)fees[1] << 64 | fees[0];
    return CD_OK;
}

cd_status cd_ledger_audit(const cd_ledger *ledger, uint32_t asset, uint64_t total[3]) {
    cd_u128 sum = 0;
    uint64_t carries = 0;
    CD_ARG_CHECK(ledger != NULL && total != NULL);
    for (uint32_t place = 1; place <= ledger->used; place++) {
        const cd_ledger_line *line = line_at(ledger, place);
        if (line->asset == asset) carries += __builtin_add_overflow(sum, load_balance(line), &sum);
    }
    total[0] = (uint64_t)sum;
    total[1] = (uint64_t)(sum >> 64);
    total[2] = carries;
    return CD_OK;
}

/* Lines of a bucket; more than there are lines at all if its chain does not end. */
static uint32_t chain_count(const cd_ledger *ledger, uint32_t bucket, uint32_t holds,
                            bool *is_there) {
    uint32_t count = 0;
    for (uint32_t at = ledger->heads[bucket]; at != 0; at = line_at(ledger, at)->link) {
        if (++count > ledger->lines) break;
        *is_there |= at == holds;
    }
    return count;
}

int cd_ledger_is_sound(const cd_ledger *ledger) {
    uint64_t chained = 0, indexed = 0, live = 0, marked = 0;
    bool unused = false;
    for (uint32_t bucket = 0; bucket < 1u << ledger->depth; bucket++) {
        chained += chain_count(ledger, bucket, 0, &unused);
        marked += ledger->dirty[bucket / 64] >> bucket % 64 & 1;
    }
    for (size_t i = 0; i < (size_t)1 << ledger->shard_bits; i++) indexed += ledger->shards[i].used;
    for (uint32_t place = 1; place <= ledger->used; place++) {
        const cd_ledger_line *line = line_at(ledger, place);
        bool is_there = false;
        cd_key key;
        if (says_nothing(line) != ((ledger->vacant[place / 64] & place_bit(place)) != 0)) return 0;
        if (says_nothing(line)) continue;
        cd_keys_prepare(ledger, line->address, CD_LEDGER_KEY_BYTES, 1, &key);
        if (cd_index_find(ledger, key.hash, key.bytes) != place) return 0;
        chain_count(ledger, key.bucket, place, &is_there);
        if (!is_there || (line->asset != 0 && (line->nonce_base | line->nonce_mask) != 0)) return 0;
        live++;
    }
    return live == ledger->lines && chained == live && indexed == live &&
           marked == ledger->dirty_count;
}
