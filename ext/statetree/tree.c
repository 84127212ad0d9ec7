/* The array of nodes: opening, setting, reading, checking. */
#include <stdlib.h>

#include "digest/digest.h"
#include "statetree/statetree.h"

#define NODE_BYTES CD_STATETREE_DIGEST_BYTES
#define PAIR_BYTES (2 * NODE_BYTES)
#define LINE_BYTES 64
#define BLOCK_NODES 64 /* gathered at a time: whole groups of lanes, and near in the cache */
#define AHEAD 32       /* how many nodes before its turn a node is fetched */

struct cd_statetree {
    uint32_t depth;
    cd_digest_key node_key;
    cd_digest_key root_key;
    uint8_t *nodes;
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

cd_status cd_statetree_open(const cd_statetree_config *config, cd_statetree **out) {
    *out = NULL;
    CD_ARG_CHECK(config->depth >= CD_STATETREE_DEPTH_MIN);
    CD_ARG_CHECK(config->depth <= CD_STATETREE_DEPTH_MAX);
    cd_statetree *tree = malloc(sizeof *tree);
    if (!tree) return CD_ERR_MEMORY;
    tree->depth = config->depth;
    cd_digest_key_keyed(&tree->node_key, config->node_key);
    cd_digest_key_keyed(&tree->root_key, config->root_key);
    tree->nodes = aligned_alloc(LINE_BYTES, 2 * bucket_count(tree) * NODE_BYTES);
    if (!tree->nodes) {
        free(tree);
        return CD_ERR_MEMORY;
    }
    uint8_t pair[PAIR_BYTES];
    memcpy(pair, config->empty_leaf, NODE_BYTES);
    for (size_t width = bucket_count(tree); width > 0; width /= 2) {
        for (size_t i = 0; i < width; i++) memcpy(node_at(tree, width + i), pair, NODE_BYTES);
        memcpy(pair + NODE_BYTES, pair, NODE_BYTES);
        hash_pairs(tree, pair, 1, pair);
    }
    *out = tree;
    return CD_OK;
}

void cd_statetree_free(cd_statetree *tree) {
    if (!tree) return;
    free(tree->nodes);
    free(tree);
}

/* Scattered nodes are out of the cache: without fetching them early their latency is a quarter of
 * the time of a large update. */
static void fetch(const cd_statetree *tree, size_t place) {
    __builtin_prefetch(node_at(tree, place), 1);
}

/* Rehash the nodes at `places`, which ascend. Their pairs are gathered, so that all but the last few
 * hashes of a level fill whole groups of lanes. */
static void rehash(cd_statetree *tree, const uint32_t *places, size_t n) {
    uint8_t pairs[BLOCK_NODES * PAIR_BYTES], parents[BLOCK_NODES * NODE_BYTES];
    for (size_t done = 0, count; done < n; done += count) {
        count = n - done < BLOCK_NODES ? n - done : BLOCK_NODES;
        for (size_t i = 0; i < count; i++) {
            if (done + i + AHEAD < n) {
                fetch(tree, 2 * (size_t)places[done + i + AHEAD]);
                fetch(tree, places[done + i + AHEAD]);
            }
            memcpy(pairs + i * PAIR_BYTES, node_at(tree, 2 * (size_t)places[done + i]), PAIR_BYTES);
        }
        hash_pairs(tree, pairs, count, parents);
        for (size_t i = 0; i < count; i++)
            memcpy(node_at(tree, places[done + i]), parents + i * NODE_BYTES, NODE_BYTES);
    }
}

/* Rehash a whole level of `width` nodes. Its pairs lie in order, and no digest is written where a
 * pair is still to be read: the level ends before its children begin. */
static void rehash_level(cd_statetree *tree, size_t width) {
    hash_pairs(tree, node_at(tree, 2 * width), width, node_at(tree, width));
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
        memcpy(node_at(tree, places[i]), digests + i * NODE_BYTES, NODE_BYTES);
    }
    for (size_t level = width / 2; level > 0; level /= 2) {
        n = to_parents(places, n);
        if (n == level)
            rehash_level(tree, level);
        else
            rehash(tree, places, n);
    }
    free(places);
    return CD_OK;
}

void cd_statetree_root(const cd_statetree *tree, uint8_t root[32]) {
    uint8_t message[1 + NODE_BYTES];
    message[0] = (uint8_t)tree->depth;
    memcpy(message + 1, node_at(tree, 1), NODE_BYTES);
    cd_digest_one(&tree->root_key, message, sizeof message, root);
}

cd_status cd_statetree_leaf(const cd_statetree *tree, uint32_t bucket, uint8_t leaf[32]) {
    CD_ARG_CHECK(bucket < bucket_count(tree));
    memcpy(leaf, node_at(tree, bucket_count(tree) + bucket), NODE_BYTES);
    return CD_OK;
}

cd_status cd_statetree_siblings(const cd_statetree *tree, uint32_t bucket, uint8_t *siblings) {
    CD_ARG_CHECK(bucket < bucket_count(tree));
    for (size_t place = bucket_count(tree) + bucket; place > 1; place /= 2, siblings += NODE_BYTES)
        memcpy(siblings, node_at(tree, place ^ 1), NODE_BYTES);
    return CD_OK;
}

size_t cd_statetree_leaves_size(const cd_statetree *tree) {
    return bucket_count(tree) * NODE_BYTES;
}

void cd_statetree_leaves(const cd_statetree *tree, uint8_t *leaves) {
    memcpy(leaves, node_at(tree, bucket_count(tree)), cd_statetree_leaves_size(tree));
}

cd_status cd_statetree_load(cd_statetree *tree, const uint8_t *leaves, size_t size) {
    CD_ARG_CHECK(size == cd_statetree_leaves_size(tree));
    memcpy(node_at(tree, bucket_count(tree)), leaves, size);
    for (size_t level = bucket_count(tree) / 2; level > 0; level /= 2) rehash_level(tree, level);
    return CD_OK;
}

uint32_t cd_statetree_audit(const cd_statetree *tree) {
    uint8_t parents[BLOCK_NODES * NODE_BYTES];
    for (size_t level = bucket_count(tree) / 2; level > 0; level /= 2) {
        for (size_t done = 0, count; done < level; done += count) {
            const size_t first = level + done;
            count = level - done < BLOCK_NODES ? level - done : BLOCK_NODES;
            hash_pairs(tree, node_at(tree, 2 * first), count, parents);
            for (size_t i = 0; i < count; i++)
                if (memcmp(node_at(tree, first + i), parents + i * NODE_BYTES, NODE_BYTES) != 0)
                    return (uint32_t)(first + i);
        }
    }
    return 0;
}
