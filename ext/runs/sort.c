/* Sorting: from the most significant bit that differs, ten bits at a time, down to short ranges. */
#include "runs/entry.h"

enum {
    SHORT = 16,   /* entries that are sorted by insertion */
    BITS_MIN = 4, /* of a bucket's number; with 192 bits in all, 48 levels at most */
    BITS_MAX = 10
};

size_t cd_entry_rank(const cd_entry *entries, size_t n, const cd_entry *bound, bool with_bound) {
    size_t low = 0;
    while (n > 0) {
        size_t half = n / 2;
        const cd_entry *middle = &entries[low + half];
        bool is_below = with_bound ? !cd_entry_less(bound, middle) : cd_entry_less(middle, bound);
        low = is_below ? low + half + 1 : low;
        n = is_below ? n - half - 1 : half;
    }
    return low;
}

static void sort_short(cd_entry *entries, size_t n) {
    for (size_t i = 1; i < n; i++) {
        cd_entry entry = entries[i];
        size_t at = i;
        for (; at > 0 && cd_entry_less(&entry, &entries[at - 1]); at--)
            entries[at] = entries[at - 1];
        entries[at] = entry;
    }
}

/* One account's entries arrive in order, and so do joined pieces that hold one key. */
static bool is_sorted(const cd_entry *entries, size_t n) {
    size_t i = 1;
    while (i < n && !cd_entry_less(&entries[i], &entries[i - 1])) i++;
    return i == n;
}

/* The word that differs first, and its bits that do; false if all entries are the same. */
static bool find_difference(const cd_entry *entries, size_t n, int *word, uint64_t *bits) {
    for (*word = 0; *word < CD_ENTRY_WORDS; ++*word) {
        *bits = 0;
        for (size_t i = 1; i < n; i++) *bits |= entries[i].word[*word] ^ entries[0].word[*word];
        if (*bits != 0) return true;
    }
    return false;
}

static int bucket_bits(size_t n) {
    int bits = 63 - __builtin_clzll(n) - 2; /* 4 to 8 entries a bucket, if keys are hashes */
    return bits < BITS_MIN ? BITS_MIN : bits > BITS_MAX ? BITS_MAX : bits;
}

/* Sort what lies in `from`. It ends in `to` if it is to move, else in `from`.
 *
 * Each level spends at least BITS_MIN bits of those that differ, so no choice of keys makes it slower
 * than a constant number of passes. */
static void sort(cd_entry *from, cd_entry *to, size_t n, bool moves) {
    int word;
    uint64_t difference;
    if (n <= SHORT) sort_short(from, n);
    if (n <= SHORT || is_sorted(from, n) || !find_difference(from, n, &word, &difference)) {
        if (moves) memcpy(to, from, n * sizeof *from);
        return;
    }
    int bits = bucket_bits(n), shift = 64 - __builtin_clzll(difference) - bits;
    if (shift < 0) shift = 0;
    uint32_t ends[1 << BITS_MAX], buckets = 1u << bits, mask = buckets - 1, total = 0;
    memset(ends, 0, buckets * sizeof *ends);
    for (size_t i = 0; i < n; i++) ends[from[i].word[word] >> shift & mask]++;
    for (uint32_t i = 0; i < buckets; i++) {
        uint32_t count = ends[i];
        ends[i] = total;
        total += count;
    }
    for (size_t i = 0; i < n; i++) to[ends[from[i].word[word] >> shift & mask]++] = from[i];
    for (uint32_t i = 0, start = 0; i < buckets; start = ends[i++])
        if (ends[i] > start) sort(to + start, from + start, ends[i] - start, !moves);
}

void cd_entry_sort(cd_entry *from, cd_entry *to, size_t n) {
    CD_VERIFY_CHECK(n <= UINT32_MAX);
    sort(from, to, n, true);
}
