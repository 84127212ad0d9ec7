/* The rules of a transaction: expiry, policy, replay window, fee, amount. */
#include "ledger/table.h"
#include "wire/wire.h"

#define BLOCK 32 /* transfers prepared together: their lines fit the first cache */

#define PLAIN_TRANSFER ((uint32_t)(CD_KIND_TRANSFER | CD_SCHEME_ED25519 << 8)) /* flags 0 */

static const cd_ledger_line nothing;

typedef struct {
    const uint8_t *record;
    cd_key account, holding, recipient; /* holding is account where the asset is the native coin */
    bool to_self;
} transfer;

CD_INLINE bool is_plain_transfer(const uint8_t *record) {
    return cd_load32_le(record + CD_RECORD_KIND) == PLAIN_TRANSFER &&
           cd_load32_le(record + CD_RECORD_BODY_SIZE) == 0;
}

CD_INLINE cd_u128 load_amount(const uint8_t *record) {
    return (cd_u128)cd_load64_le(record + CD_RECORD_AMOUNT_HI) << 64 |
           cd_load64_le(record + CD_RECORD_AMOUNT_LO);
}

/* Whether an account may begin a transaction: APPLIED, or why not. */
CD_INLINE uint8_t admit(const cd_ledger *ledger, const cd_ledger_line *account,
                        const uint8_t *record, uint32_t now_s, uint32_t forbidden) {
    const uint32_t valid_until = cd_load32_le(record + CD_RECORD_VALID_UNTIL);
    const uint64_t nonce = cd_load64_le(record + CD_RECORD_NONCE);
    const uint64_t fee = cd_load64_le(record + CD_RECORD_FEE);
    if (account == NULL) account = &nothing;
    if (now_s > valid_until) return CD_TX_EXPIRED;
    if (account->flags & forbidden) return CD_TX_POLICY;
    if (nonce < account->nonce_base) return CD_TX_NONCE_USED;
    if (nonce > CD_LEDGER_NONCE_MAX || nonce - account->nonce_base >= CD_LEDGER_NONCE_WINDOW)
        return CD_TX_NONCE_FAR;
    if (account->nonce_mask >> (nonce - account->nonce_base) & 1) return CD_TX_NONCE_USED;
    if (load_balance(account) < fee || ledger->fees + fee < fee) return CD_TX_FEE_UNPAYABLE;
    return CD_TX_APPLIED;
}

/* Use the nonce and take the fee of an admitted transaction. The window slides over used nonces. */
CD_INLINE void charge(cd_ledger *ledger, const cd_key *key, cd_ledger_line *account,
                      const uint8_t *record) {
    const uint64_t nonce = cd_load64_le(record + CD_RECORD_NONCE);
    const uint64_t fee = cd_load64_le(record + CD_RECORD_FEE);
    uint64_t mask = account->nonce_mask | (uint64_t)1 << (nonce - account->nonce_base);
    will_change(ledger, key);
    while (mask & 1) {
        account->nonce_base++;
        mask >>= 1;
    }
    account->nonce_mask = mask;
    store_balance(account, load_balance(account) - fee);
    ledger->fees += fee;
}

/* Whether the amount can move besides the fee: APPLIED, or why not. */
CD_INLINE uint8_t judge_amount(const transfer *t, const cd_ledger_line *from,
                               const cd_ledger_line *to, cd_u128 amount, uint64_t fee) {
    const cd_u128 balance = from == NULL ? 0 : load_balance(from);
    const cd_u128 held = to == NULL ? 0 : load_balance(to);
    if (amount > balance - fee) return CD_TX_INSUFFICIENT; /* admitted: balance >= fee */
    if (!t->to_self && held + amount < amount) return CD_TX_OVERFLOW;
    return CD_TX_APPLIED;
}

static cd_status create_if_missing(cd_ledger *ledger, cd_key *key, cd_ledger_line **line) {
    return *line != NULL ? CD_OK : cd_line_create(ledger, key, line);
}

/* Room and new lines come first: once they are there nothing can fail. */
static cd_status apply_one(cd_ledger *ledger, transfer *t, uint32_t now_s, uint8_t *result) {
    const bool native = cd_load32_le(t->record + CD_RECORD_ASSET) == 0;
    const uint64_t fee = cd_load64_le(t->record + CD_RECORD_FEE);
    const cd_u128 amount = load_amount(t->record);
    cd_ledger_line *account = find_line(ledger, &t->account);
    uint8_t status = admit(ledger, account, t->record, now_s, CD_ACCOUNT_POLICY);
    if (status != CD_TX_APPLIED) {
        *result = status;
        return CD_OK;
    }
    cd_ledger_line *from = native ? account : find_line(ledger, &t->holding);
    cd_ledger_line *to = t->to_self ? from : find_line(ledger, &t->recipient);
    status = judge_amount(t, from, to, amount, native ? fee : 0);
    const bool moves = status == CD_TX_APPLIED && amount != 0 && !t->to_self;
    const bool opens = account == NULL;
    if (!reserve_changes(ledger)) return CD_ERR_MEMORY;
    cd_status room = create_if_missing(ledger, &t->account, &account);
    if (room != CD_OK) return room;
    if (moves) room = create_if_missing(ledger, &t->recipient, &to);
    if (room != CD_OK) {
        if (opens) cd_line_remove(ledger, &t->account);
        return room;
    }
    charge(ledger, &t->account, account, t->record);
    if (moves) {
        if (!native) will_change(ledger, &t->holding);
        will_change(ledger, &t->recipient);
        store_balance(from, load_balance(from) - amount);
        store_balance(to, load_balance(to) + amount);
        if (!native && says_nothing(from)) cd_line_remove(ledger, &t->holding);
    }
    *result = status;
    return CD_OK;
}

/* Addresses of the senders of n records. */
static void hash_senders(const cd_ledger *ledger, const uint8_t *records, size_t n,
                         uint8_t (*digests)[CD_DIGEST_BYTES]) {
    cd_digest_records(&ledger->address_key, records, n, CD_RECORD_BYTES, CD_RECORD_SENDER,
                      CD_RECORD_SIGNATURE, digests[0]);
}

/* Apply up to BLOCK plain transfers whose senders' addresses lie `stride` bytes apart. Holdings of
 * senders have their keys behind all others. */
static cd_status apply_block(cd_ledger *ledger, const uint8_t *records, const uint8_t *senders,
                             size_t stride, size_t n, uint32_t now_s, uint8_t *statuses,
                             size_t *handled) {
    uint8_t bytes[3 * BLOCK][CD_LEDGER_KEY_BYTES];
    cd_key keys[3 * BLOCK];
    size_t holdings = 2 * n;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *record = records + i * CD_RECORD_BYTES;
        const uint32_t asset = cd_load32_le(record + CD_RECORD_ASSET);
        make_key(bytes[2 * i], senders + i * stride, 0);
        make_key(bytes[2 * i + 1], record + CD_RECORD_RECIPIENT, asset);
        if (asset != 0) make_key(bytes[holdings++], senders + i * stride, asset);
    }
    cd_keys_prepare(ledger, bytes[0], CD_LEDGER_KEY_BYTES, holdings, keys);
    holdings = 2 * n;
    for (size_t i = 0; i < n; i++) {
        transfer t = {.record = records + i * CD_RECORD_BYTES,
                      .account = keys[2 * i],
                      .recipient = keys[2 * i + 1]};
        const bool native = cd_load32_le(t.record + CD_RECORD_ASSET) == 0;
        t.holding = native ? t.account : keys[holdings++];
        t.to_self = memcmp(t.holding.bytes, t.recipient.bytes, CD_LEDGER_KEY_BYTES) == 0;
        cd_status status = apply_one(ledger, &t, now_s, &statuses[i]);
        if (status != CD_OK) return status;
        ++*handled;
    }
    return CD_OK;
}

cd_status cd_ledger_apply(cd_ledger *ledger, const uint8_t *records, const uint8_t *senders,
                          size_t n, uint32_t now_s, uint8_t *statuses, size_t *handled) {
    uint8_t digests[BLOCK][CD_DIGEST_BYTES];
    CD_ARG_CHECK(handled != NULL);
    *handled = 0;
    CD_ARG_CHECK(ledger != NULL && n <= SIZE_MAX / CD_RECORD_BYTES);
    CD_ARG_CHECK(n == 0 || (records != NULL && statuses != NULL));
    while (*handled < n) {
        const size_t first = *handled, left = n - first;
        const uint8_t *from = records + first * CD_RECORD_BYTES;
        const uint8_t *by = digests[0];
        size_t stride = CD_DIGEST_BYTES, count = 0;
        while (count < left && count < BLOCK && is_plain_transfer(from + count * CD_RECORD_BYTES))
            count++;
        if (count == 0) break;
        if (senders != NULL) {
            stride = CD_LEDGER_ADDRESS_BYTES;
            by = senders + first * stride;
        } else {
            hash_senders(ledger, from, count, digests);
        }
        cd_status status =
            apply_block(ledger, from, by, stride, count, now_s, statuses + first, handled);
        if (status != CD_OK) return status;
    }
    return CD_OK;
}

cd_status cd_ledger_begin(cd_ledger *ledger, const uint8_t *record, const uint8_t *sender,
                          uint32_t now_s, uint32_t forbidden, uint8_t *status) {
    uint8_t digest[1][CD_DIGEST_BYTES], bytes[CD_LEDGER_KEY_BYTES];
    cd_key key;
    CD_ARG_CHECK(ledger != NULL && record != NULL && status != NULL);
    if (sender == NULL) hash_senders(ledger, record, 1, digest);
    make_key(bytes, sender == NULL ? digest[0] : sender, 0);
    cd_keys_prepare(ledger, bytes, CD_LEDGER_KEY_BYTES, 1, &key);
    cd_ledger_line *account = find_line(ledger, &key);
    const uint8_t admitted = admit(ledger, account, record, now_s, forbidden);
    if (admitted == CD_TX_APPLIED) {
        if (!reserve_changes(ledger)) return CD_ERR_MEMORY;
        cd_status room = create_if_missing(ledger, &key, &account);
        if (room != CD_OK) return room;
        charge(ledger, &key, account, record);
    }
    *status = admitted;
    return CD_OK;
}

cd_status cd_ledger_judge(const cd_ledger *ledger, const uint8_t *records, size_t n, uint32_t now_s,
                          uint32_t forbidden, uint8_t *statuses) {
    uint8_t digests[BLOCK][CD_DIGEST_BYTES], bytes[BLOCK][CD_LEDGER_KEY_BYTES];
    cd_key keys[BLOCK];
    CD_ARG_CHECK(ledger != NULL && n <= SIZE_MAX / CD_RECORD_BYTES);
    CD_ARG_CHECK(n == 0 || (records != NULL && statuses != NULL));
    for (size_t first = 0; first < n; first += BLOCK) {
        const uint8_t *from = records + first * CD_RECORD_BYTES;
        const size_t count = n - first < BLOCK ? n - first : BLOCK;
        hash_senders(ledger, from, count, digests);
        for (size_t i = 0; i < count; i++) make_key(bytes[i], digests[i], 0);
        cd_keys_prepare(ledger, bytes[0], CD_LEDGER_KEY_BYTES, count, keys);
        for (size_t i = 0; i < count; i++) {
            const cd_ledger_line *account = find_line(ledger, &keys[i]);
            statuses[first + i] =
                admit(ledger, account, from + i * CD_RECORD_BYTES, now_s, forbidden);
        }
    }
    return CD_OK;
}
