/* The array of nodes: opening, setting, reading, checking. */
#include <stdbool.h>
#include <stdlib.h>

#include "base/pages.h"
#include "digest/digest.h"
#include "statetree/statetree.h"

#define NODE_BYTES CD_STATETREE_DIGEST_BYTES
#define PAIR_BYTES (2 * NODE_BYTES)
#define PAGE_BYTES 4096
#define TOUCHES 2      /* a page, on average */
#define BLOCK_NODES 64 /* gathered at a time: whole groups of lanes, and near in the cache */
#define AHEAD 32       /* how many nodes before its turn a node is fetched */

/* Every node is kept XORed with the digest that it has in an empty tree. So memory that nobody has
 * written is an empty tree, and of one with few entries few pages are ever touched. */
struct cd_statetree {
    uint32_t depth;
    cd_digest_key node_key;
    cd_digest_key root_key;
    uint8_t empty[CD_STATETREE_DEPTH_MAX + 1]
                 [NODE_BYTES]; /* a node of each level, the top's first */
    uint8_t *block;
    uint8_t *nodes; /* in the block, at a huge page */
    size_t touches; /* leaves set, as long as they are counted */
};

/* Hash n pairs that lie one after another. The arguments cannot be wrong, so neither can this. */
static void hash_pairs(const cd_statetree *tree, const uint8_t *pairs, size_t n, uint8_t *parents) {
    cd_status status =
        cd_digest_records(&tree->node_key, pairs, n, PAIR_BYTES, 0, PAIR_BYTES, parents);
    CD_VERIFY_CHECK(status == CD_OK);
    (void)status;
}

static uint8_t *node_at(const cd_statetree *tree, size_t place) {
    return tree->nodes + place * NODE_BYTES;
}

static size_t bucket_count(const cd_statetree *tree) { return (size_t)1 << tree->depth; }

static size_t nodes_size(const cd_statetree *tree) { return 2 * bucket_count(tree) * NODE_BYTES; }

/* From a digest to what is kept of it, or back. */
CD_INLINE void mask(uint8_t *to, const uint8_t *from, const uint8_t *empty) {
    for (size_t i = 0; i < NODE_BYTES; i++) to[i] = from[i] ^ empty[i];
}

/* Digests of a node on its level, the top's being 0, and of a pair. */
static void get(const cd_statetree *tree, uint32_t level, size_t place, uint8_t *digest) {
    mask(digest, node_at(tree, place), tree->empty[level]);
}

static void get_pair(const cd_statetree *tree, uint32_t level, size_t place, uint8_t *pair) {
    get(tree, level, place, pair);
    get(tree, level, place + 1, pair + NODE_BYTES);
}

static void put(cd_statetree *tree, uint32_t level, size_t place, const uint8_t *digest) {
    mask(node_at(tree, place), digest, tree->empty[level]);
}

static bool is_zero(const uint8_t *bytes, size_t size) {
    uint8_t seen = 0;
    for (size_t i = 0; i < size; i++) seen |= bytes[i];
    return seen == 0;
}

/* Whether a node and both of its children are as in an empty tree: then it follows from them. */
static bool is_blank(const cd_statetree *tree, size_t place) {
    return is_zero(node_at(tree, 2 * place), PAIR_BYTES) &&
           is_zero(node_at(tree, place), NODE_BYTES);
}

cd_status cd_statetree_open(const cd_statetree_config *config, cd_statetree **out) {
    *out = NULL;
    CD_ARG_CHECK(config->depth >= CD_STATETREE_DEPTH_MIN);
    CD_ARG_CHECK(config->depth <= CD_STATETREE_DEPTH_MAX);
    cd_statetree *tree = malloc(sizeof *tree);
    if (!tree) return CD_ERR_MEMORY;
    tree->depth = config->depth;
    cd_digest_key_keyed(&tree->node_key, config->node_key);
    cd_digest_key_keyed(&tree->root_key, config->root_key);
    tree->block = calloc(1, nodes_size(tree) + CD_HUGE_BYTES);
    if (!tree->block) {
        free(tree);
        return CD_ERR_MEMORY;
    }
    tree->nodes = tree->block + (-(uintptr_t)tree->block & (CD_HUGE_BYTES - 1));
    tree->touches = 0;
    uint8_t pair[PAIR_BYTES];
    memcpy(pair, config->empty_leaf, NODE_BYTES);
    for (uint32_t level = tree->depth + 1; level-- > 0;) {
        memcpy(tree->empty[level], pair, NODE_BYTES);
        memcpy(pair + NODE_BYTES, pair, NODE_BYTES);
        hash_pairs(tree, pair, 1, pair);
    }
    *out = tree;
    return CD_OK;
}

void cd_statetree_free(cd_statetree *tree) {
    if (!tree) return;
    free(tree->block);
    free(tree);
}

/* After n leaves have changed. Huge pages are asked for once nearly all small ones are touched: before,
 * one update would wait for tens of megabytes to be zeroed, and a small state would take them all. */
static void count_touches(cd_statetree *tree, size_t n) {
    const size_t enough = TOUCHES * nodes_size(tree) / PAGE_BYTES;
    if (tree->touches >= enough) return;
    tree->touches += n;
    if (tree->touches >= enough) cd_advise_huge(tree->nodes, nodes_size(tree));
}

/* Scattered nodes are out of the cache: without fetching them early their latency is a quarter of
 * the time of a large update. */
static void fetch(const cd_statetree *tree, size_t place) {
    __builtin_prefetch(node_at(tree, place), 1);
}

/* Rehash the nodes of a level at `places`, which ascend. Their pairs are gathered, so that all but the
 * last few hashes of a level fill whole groups of lanes. */
static void rehash(cd_statetree *tree, uint32_t level, const uint32_t *places, size_t n) {
    uint8_t pairs[BLOCK_NODES * PAIR_BYTES], parents[BLOCK_NODES * NODE_BYTES];
    for (size_t done = 0, count; done < n; done += count) {
        count = n - done < BLOCK_NODES ? n - done : BLOCK_NODES;
        for (size_t i = 0; i < count; i++) {
            if (done + i + AHEAD < n) {
                fetch(tree, 2 * (size_t)places[done + i + AHEAD]);
                fetch(tree, places[done + i + AHEAD]);
            }
            get_pair(tree, level + 1, 2 * (size_t)places[done + i], pairs + i * PAIR_BYTES);
        }
        hash_pairs(tree, pairs, count, parents);
        for (size_t i = 0; i < count; i++)
            put(tree, level, places[done + i], parents + i * NODE_BYTES);
    }
}

/* The next places of a level, from *next on, whose nodes are not blank; at most BLOCK_NODES. */
static size_t not_blank(const cd_statetree *tree, uint32_t level, size_t *next, uint32_t *places) {
    const size_t end = (size_t)2 << level;
    size_t n = 0;
    for (; *next < end && n < BLOCK_NODES; ++*next)
        if (!is_blank(tree, *next)) places[n++] = (uint32_t)*next;
    return n;
}

/* Replace ascending places by those of their parents; returns how many distinct ones there are. */
static size_t to_parents(uint32_t *places, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t parent = places[i] / 2;
        if (count == 0 || places[count - 1] != parent) places[count++] = parent;
    }
    return count;
}

cd_status cd_statetree_set_leaves(cd_statetree *tree, const uint32_t *buckets, size_t n,
                                  const uint8_t *digests) {
    const size_t width = bucket_count(tree);
    CD_ARG_CHECK(n <= width);
    if (n == 0) return CD_OK;
    for (size_t i = 1; i < n; i++) CD_ARG_CHECK(buckets[i - 1] < buckets[i]);
    CD_ARG_CHECK(buckets[n - 1] < width);
    uint32_t *places = malloc(n * sizeof *places);
    if (!places) return CD_ERR_MEMORY;
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n) fetch(tree, width + buckets[i + AHEAD]);
        places[i] = (uint32_t)width + buckets[i];
        put(tree, tree->depth, places[i], digests + i * NODE_BYTES);
    }
    count_touches(tree, n);
    for (uint32_t level = tree->depth; level-- > 0;) {
        n = to_parents(places, n);
        rehash(tree, level, places, n);
    }
    free(places);
    return CD_OK;
}

void cd_statetree_root(const cd_statetree *tree, uint8_t root[32]) {
    uint8_t message[1 + NODE_BYTES];
    message[0] = (uint8_t)tree->depth;
    get(tree, 0, 1, message + 1);
    cd_digest_one(&tree->root_key, message, sizeof message, root);
}

cd_status cd_statetree_leaf(const cd_statetree *tree, uint32_t bucket, uint8_t leaf[32]) {
    CD_ARG_CHECK(bucket < bucket_count(tree));
    get(tree, tree->depth, bucket_count(tree) + bucket, leaf);
    return CD_OK;
}

cd_status cd_statetree_siblings(const cd_statetree *tree, uint32_t bucket, uint8_t *siblings) {
    CD_ARG_CHECK(bucket < bucket_count(tree));
    size_t place = bucket_count(tree) + bucket;
    for (uint32_t level = tree->depth; level > 0; level--, place /= 2, siblings += NODE_BYTES)
        get(tree, level, place ^ 1, siblings);
    return CD_OK;
}

size_t cd_statetree_leaves_size(const cd_statetree *tree) {
    return bucket_count(tree) * NODE_BYTES;
}

void cd_statetree_leaves(const cd_statetree *tree, uint8_t *leaves) {
    for (size_t i = 0; i < bucket_count(tree); i++)
        get(tree, tree->depth, bucket_count(tree) + i, leaves + i * NODE_BYTES);
}

cd_status cd_statetree_load(cd_statetree *tree, const uint8_t *leaves, size_t size) {
    CD_ARG_CHECK(size == cd_statetree_leaves_size(tree));
    const size_t width = bucket_count(tree);
    const uint8_t *empty = tree->empty[tree->depth];
    size_t n = 0;
    for (size_t i = 0; i < width; i++) {
        uint8_t kept[NODE_BYTES];
        mask(kept, leaves + i * NODE_BYTES, empty);
        /* A page on which all is equal, as where nothing ever was, stays untouched. */
        if (memcmp(node_at(tree, width + i), kept, NODE_BYTES) == 0) continue;
        memcpy(node_at(tree, width + i), kept, NODE_BYTES);
        n++;
    }
    count_touches(tree, n);
    uint32_t places[BLOCK_NODES];
    for (uint32_t level = tree->depth; level-- > 0;) {
        size_t next = (size_t)1 << level;
        for (size_t n; (n = not_blank(tree, level, &next, places)) > 0;)
            rehash(tree, level, places, n);
    }
    return CD_OK;
}

uint32_t cd_statetree_audit(const cd_statetree *tree) {
    uint8_t pairs[BLOCK_NODES * PAIR_BYTES], parents[BLOCK_NODES * NODE_BYTES], kept[NODE_BYTES];
    uint32_t places[BLOCK_NODES];
    for (uint32_t level = tree->depth; level-- > 0;) {
        size_t next = (size_t)1 << level;
        for (size_t n; (n = not_blank(tree, level, &next, places)) > 0;) {
            for (size_t i = 0; i < n; i++)
                get_pair(tree, level + 1, 2 * (size_t)places[i], pairs + i * PAIR_BYTES);
            hash_pairs(tree, pairs, n, parents);
            for (size_t i = 0; i < n; i++) {
                mask(kept, parents + i * NODE_BYTES, tree->empty[level]);
                if (memcmp(node_at(tree, places[i]), kept, NODE_BYTES) != 0) return places[i];
            }
        }
    }
    return 0;
}
