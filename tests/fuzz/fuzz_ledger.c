/* Fuzz target for ext/ledger, in libFuzzer's form.
 *
 * The input is a program for one small table: batches of records with amounts, fees and nonces at
 * their edges between a few accounts and assets, records of other kinds, lines set and removed,
 * operations, drains, exports and snapshots, in a table that may be too small for them. A plain array of lines
 * follows along by the rules; abort() where table and array differ.
 */
#include "digest/digest.h"
#include "fuzz.h"
#include "ledger/ledger.h"
#include "wire/wire.h"

#define NAMES 8
#define ASSETS 3
#define BATCH_MAX 6
#define NOW_S 1000

typedef unsigned __int128 u128;

typedef struct {
    u128 balance;
    uint64_t base, mask;
    uint32_t flags;
} model_line;

typedef struct {
    cd_ledger *ledger;
    uint32_t lines_max, depth;
    u128 fees;
    uint8_t keys[NAMES][32], addresses[NAMES][32];
    model_line lines[NAMES][ASSETS];
    int in_snapshot;
    model_line frozen[NAMES][ASSETS]; /* as they stood when it began, cleared as they are read */
} machine;

static u128 take_amount(source *from) {
    const u128 edges[] = {0, 1, 2, UINT64_MAX, (u128)1 << 64, ~(u128)0 - 3, ~(u128)0};
    uint8_t byte = take(from);
    return byte < 7 ? edges[byte] : byte;
}

static int is_empty(const model_line *line) {
    return line->balance == 0 && line->base == 0 && line->mask == 0 && line->flags == 0;
}

static size_t count_lines(const machine *m) {
    size_t count = 0;
    for (size_t i = 0; i < NAMES; i++)
        for (size_t k = 0; k < ASSETS; k++) count += !is_empty(&m->lines[i][k]);
    return count;
}

typedef struct {
    size_t sender, recipient;
    uint32_t asset, valid_until;
    uint64_t nonce, fee;
    u128 amount;
} order;

static order take_order(machine *m, source *from) {
    order o = {.sender = take(from) % NAMES, .recipient = take(from) % NAMES};
    const uint8_t rare = take(from);
    o.asset = take(from) % ASSETS;
    o.amount = take_amount(from);
    o.fee = rare & 1 ? take(from) : (uint64_t)take_amount(from);
    o.nonce = m->lines[o.sender][0].base + take(from) % 67 - (rare >> 1 & 1);
    o.valid_until = rare >> 2 & 7 ? UINT32_MAX : NOW_S - 1 + (rare >> 6);
    return o;
}

static void write_record(const machine *m, const order *o, uint8_t *record) {
    memset(record, 0, CD_RECORD_BYTES);
    record[CD_RECORD_KIND] = CD_KIND_TRANSFER;
    record[CD_RECORD_SCHEME] = CD_SCHEME_ED25519;
    cd_store32_le(record + CD_RECORD_ASSET, o->asset);
    cd_store64_le(record + CD_RECORD_NONCE, o->nonce);
    cd_store64_le(record + CD_RECORD_AMOUNT_LO, (uint64_t)o->amount);
    cd_store64_le(record + CD_RECORD_AMOUNT_HI, (uint64_t)(o->amount >> 64));
    cd_store64_le(record + CD_RECORD_FEE, o->fee);
    cd_store32_le(record + CD_RECORD_VALID_UNTIL, o->valid_until);
    memcpy(record + CD_RECORD_RECIPIENT, m->addresses[o->recipient], 20);
    memcpy(record + CD_RECORD_SENDER, m->keys[o->sender], 32);
}

static uint8_t begin(machine *m, const order *o, uint32_t forbidden) {
    model_line *account = &m->lines[o->sender][0];
    const u128 distance = (u128)o->nonce - account->base;
    if (o->valid_until != UINT32_MAX && o->valid_until < NOW_S) return CD_TX_EXPIRED;
    if (account->flags & forbidden) return CD_TX_POLICY;
    if (o->nonce < account->base) return CD_TX_NONCE_USED;
    if (distance < 64 && (account->mask >> distance & 1)) return CD_TX_NONCE_USED;
    if (distance >= 64 || o->nonce > CD_LEDGER_NONCE_MAX) return CD_TX_NONCE_FAR;
    if (o->fee > account->balance || o->fee > ~(u128)0 - m->fees) return CD_TX_FEE_UNPAYABLE;
    account->balance -= o->fee;
    m->fees += o->fee;
    account->mask |= (uint64_t)1 << distance;
    for (; account->mask & 1; account->mask >>= 1) account->base++;
    return CD_TX_APPLIED;
}

static uint8_t transfer(machine *m, const order *o) {
    model_line *from = &m->lines[o->sender][o->asset], *to = &m->lines[o->recipient][o->asset];
    uint8_t status = begin(m, o, CD_ACCOUNT_POLICY);
    if (status != CD_TX_APPLIED) return status;
    if (o->amount > from->balance) return CD_TX_INSUFFICIENT;
    if (from == to) return CD_TX_APPLIED;
    if (o->amount > ~(u128)0 - to->balance) return CD_TX_OVERFLOW;
    from->balance -= o->amount;
    to->balance += o->amount;
    return CD_TX_APPLIED;
}

static void apply(machine *m, source *from) {
    const size_t n = take(from) % (BATCH_MAX + 1), foreign = take(from) % (2 * BATCH_MAX);
    const int known = take(from) & 1;
    order orders[BATCH_MAX];
    uint8_t *records = exact(n * CD_RECORD_BYTES), *statuses = exact(n), *senders = exact(n * 20);
    for (size_t i = 0; i < n; i++) {
        orders[i] = take_order(m, from);
        write_record(m, &orders[i], records + i * CD_RECORD_BYTES);
        memcpy(senders + i * 20, m->addresses[orders[i].sender], 20);
        if (i == foreign) records[i * CD_RECORD_BYTES + take(from) % 3] ^= 1 + (take(from) & 0x7f);
    }
    size_t handled = 99;
    cd_status status =
        cd_ledger_apply(m->ledger, records, known ? senders : NULL, n, NOW_S, statuses, &handled);
    const size_t all = foreign < n ? foreign : n;
    require(status == CD_OK ? handled == all : status == CD_ERR_FULL && handled < all);
    for (size_t i = 0; i < handled; i++) require(statuses[i] == transfer(m, &orders[i]));
    if (status == CD_ERR_FULL) require(count_lines(m) + 2 > m->lines_max);
    free(records);
    free(statuses);
    free(senders);
}

static void operate(machine *m, source *from) {
    order o = take_order(m, from);
    const uint32_t forbidden = take(from) % 4;
    const int known = take(from) & 1;
    uint8_t *record = exact(CD_RECORD_BYTES), status = 0;
    write_record(m, &o, record);
    record[CD_RECORD_KIND] = take(from);
    cd_status done = cd_ledger_begin(m->ledger, record, known ? m->addresses[o.sender] : NULL,
                                     NOW_S, forbidden, &status);
    if (done == CD_OK)
        require(status == begin(m, &o, forbidden));
    else
        require(done == CD_ERR_FULL && count_lines(m) == m->lines_max);
    free(record);
}

static void put(machine *m, source *from) {
    const size_t name = take(from) % NAMES;
    cd_ledger_line line = {.asset = take(from) % ASSETS, .flags = take(from) % 4};
    const u128 balance = take_amount(from);
    const int wild = take(from) % 4 == 0, fresh = take(from) % 8 == 0;
    model_line *own = &m->lines[name][line.asset];
    size_t done = 9;
    memcpy(line.address, m->addresses[name], 20);
    line.balance[0] = (uint64_t)balance;
    line.balance[1] = (uint64_t)(balance >> 64);
    if (wild) {
        line.nonce_base = take(from) & 1 ? take(from) : CD_LEDGER_NONCE_MAX + 2 - take(from) % 70;
        line.nonce_mask = (uint64_t)take(from) << take(from) % 64;
        line.link = take(from) % 8 == 0;
    }
    cd_status status = cd_ledger_put(m->ledger, &line, 1, fresh, &done);
    require(done == (status == CD_OK));
    if (status == CD_ERR_FULL) require(is_empty(own) && count_lines(m) == m->lines_max);
    if (status == CD_ERR_ARGUMENT) require(wild || fresh);
    if (status != CD_OK) return;
    if (fresh) require(is_empty(own));
    require((line.nonce_mask & 1) == 0 && line.link == 0);
    require(line.asset == 0 || (line.nonce_base | line.nonce_mask) == 0);
    *own = (model_line){balance, line.nonce_base, line.nonce_mask, line.flags};
}

static void check_lines(machine *m) {
    cd_ledger_line line;
    for (size_t i = 0; i < NAMES; i++)
        for (uint32_t asset = 0; asset < ASSETS; asset++) {
            const model_line *own = &m->lines[i][asset];
            int found;
            require(cd_ledger_get(m->ledger, m->addresses[i], asset, &line, &found) == CD_OK);
            require(found == !is_empty(own) && line.link == 0);
            require(((u128)line.balance[1] << 64 | line.balance[0]) == own->balance);
            require(line.nonce_base == own->base && line.nonce_mask == own->mask);
            require(line.flags == own->flags);
        }
}

/* Entries of the dirty buckets ascend, and once drained there are none. */
static void drain(machine *m) {
    cd_ledger_stats stats;
    size_t count, none;
    require(cd_ledger_get_stats(m->ledger, &stats) == CD_OK);
    uint32_t *buckets = exact(stats.dirty_buckets * sizeof *buckets);
    uint64_t *offsets = exact((stats.dirty_buckets + 1) * sizeof *offsets);
    require(cd_ledger_drain_dirty(m->ledger, buckets, stats.dirty_buckets, &count) == CD_OK);
    require(count == stats.dirty_buckets);
    require(cd_ledger_drain_dirty(m->ledger, NULL, 0, &none) == CD_OK && none == 0);
    for (size_t i = 1; i < count; i++) require(buckets[i - 1] < buckets[i]);
    require(cd_ledger_bucket_offsets(m->ledger, buckets, count, offsets) == CD_OK);
    uint8_t *out = exact(offsets[count]);
    require(cd_ledger_bucket_entries(m->ledger, buckets, count, offsets, out, offsets[count]) ==
            CD_OK);
    for (size_t i = 0; i < count; i++)
        for (uint64_t at = offsets[i]; at + CD_LEDGER_ENTRY_BYTES < offsets[i + 1];
             at += CD_LEDGER_ENTRY_BYTES)
            require(memcmp(out + at, out + at + CD_LEDGER_ENTRY_BYTES, 25) < 0);
    free(out);
    free(offsets);
    free(buckets);
}

static void export(machine *m, source *from) {
    const size_t max = 1 + take(from) % 4;
    cd_ledger_line *lines = exact(max * sizeof *lines);
    size_t count = max, total = 0;
    for (uint32_t cursor = 0; count == max; total += count)
        require(cd_ledger_export(m->ledger, &cursor, lines, max, &count) == CD_OK && count <= max);
    require(total == count_lines(m) && cd_ledger_is_sound(m->ledger));
    free(lines);
}

static void begin_snapshot(machine *m) {
    cd_status status = cd_ledger_snapshot_begin(m->ledger);
    require(status == (m->in_snapshot ? CD_ERR_ARGUMENT : CD_OK));
    if (!m->in_snapshot) memcpy(m->frozen, m->lines, sizeof m->frozen);
    m->in_snapshot = 1;
}

static size_t find_name(const machine *m, const uint8_t *address) {
    size_t name = 0;
    while (name < NAMES && memcmp(m->addresses[name], address, 20) != 0) name++;
    require(name < NAMES);
    return name;
}

static void read_snapshot(machine *m, source *from) {
    const size_t max = 1 + take(from) % 8;
    cd_ledger_line *lines = exact(max * sizeof *lines);
    size_t count = 99;
    cd_status status = cd_ledger_snapshot_read(m->ledger, lines, max, &count);
    require(status == (m->in_snapshot ? CD_OK : CD_ERR_ARGUMENT) && count <= max);
    for (size_t i = 0; i < count; i++) {
        const cd_ledger_line *line = &lines[i];
        model_line *frozen = &m->frozen[find_name(m, line->address)][line->asset];
        require(line->asset < ASSETS && line->link == 0 && !is_empty(frozen));
        require(((u128)line->balance[1] << 64 | line->balance[0]) == frozen->balance);
        require(line->nonce_base == frozen->base && line->nonce_mask == frozen->mask);
        require(line->flags == frozen->flags);
        *frozen = (model_line){0};
    }
    if (m->in_snapshot && count < max)
        for (size_t i = 0; i < NAMES; i++)
            for (size_t k = 0; k < ASSETS; k++) require(is_empty(&m->frozen[i][k]));
    free(lines);
}

static void end_snapshot(machine *m) {
    require(cd_ledger_snapshot_end(m->ledger) == CD_OK);
    m->in_snapshot = 0;
}

static void step(machine *m, source *from) {
    uint64_t fees[2] = {0, 0}, total[3];
    switch (take(from) % 16) {
    case 0: drain(m); break;
    case 1: export(m, from); break;
    case 2:
    case 3:
    case 4:
    case 5: put(m, from); break;
    case 6: operate(m, from); break;
    case 7:
        m->fees = take_amount(from);
        fees[0] = (uint64_t)m->fees;
        fees[1] = (uint64_t)(m->fees >> 64);
        require(cd_ledger_set_fees(m->ledger, fees) == CD_OK);
        break;
    case 8: begin_snapshot(m); break;
    case 9: read_snapshot(m, from); break;
    case 10: take(from) & 3 ? read_snapshot(m, from) : end_snapshot(m); break;
    default: apply(m, from); break;
    }
    cd_ledger_stats stats;
    u128 sum = 0;
    check_lines(m);
    require(cd_ledger_get_stats(m->ledger, &stats) == CD_OK && stats.lines == count_lines(m));
    require(((u128)stats.fees[1] << 64 | stats.fees[0]) == m->fees && stats.lines <= m->lines_max);
    require(cd_ledger_audit(m->ledger, 1, total) == CD_OK);
    for (size_t i = 0; i < NAMES; i++) sum += m->lines[i][1].balance;
    require(((u128)total[1] << 64 | total[0]) == sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    source from = {data, size};
    machine m = {0};
    cd_digest_key key;
    cd_ledger_config config = {.lines_max = 1 + take(&from) % (NAMES * ASSETS),
                               .depth = 1 + take(&from) % 6,
                               .seed = {take(&from)}};
    memset(config.address_key, 7, sizeof config.address_key);
    cd_digest_key_keyed(&key, config.address_key);
    for (size_t i = 0; i < NAMES; i++) {
        memset(m.keys[i], (int)i, sizeof m.keys[i]);
        cd_digest_one(&key, m.keys[i], 32, m.addresses[i]);
    }
    m.lines_max = config.lines_max;
    m.depth = config.depth;
    require(cd_ledger_open(&config, &m.ledger) == CD_OK);
    while (from.left) step(&m, &from);
    require(cd_ledger_is_sound(m.ledger));
    cd_ledger_free(m.ledger);
    return 0;
}
