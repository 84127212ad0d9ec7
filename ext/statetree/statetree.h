/* The bucketed Merkle tree that commits to one provider's state.
 *
 * 2^depth leaves, one for each bucket, and every inner node lie in one array in heap order: node 1
 * is the top, the children of node i are nodes 2i and 2i + 1, bucket b is node 2^depth + b. Place 0
 * is unused. So two siblings are 64 neighbouring, aligned bytes: one block of their parent's hash.
 *
 *   inner node = BLAKE3 keyed by node_key, left || right
 *   root       = BLAKE3 keyed by root_key, depth (one byte) || top
 *
 * The three keys (a leaf has one of its own, which only the caller knows) keep leaf, node and root
 * apart; the root binds depth. A leaf's digest is the caller's business; a bucket that was never set
 * has empty_leaf. The tree is the same whatever the order and grouping of the calls that set it.
 *
 * Memory: 2^(depth + 1) x 32 bytes (64 MiB at depth 20, 1 GiB at 24), reserved on opening and
 * touched, page by page, where leaves are set and above them; and 4 bytes for each leaf of a
 * cd_statetree_set_leaves while that runs. Not thread-safe.
 */
#ifndef CD_STATETREE_H
#define CD_STATETREE_H

#include "base/base.h"

#define CD_STATETREE_DEPTH_MIN 1
#define CD_STATETREE_DEPTH_MAX 24
#define CD_STATETREE_DIGEST_BYTES 32

typedef struct cd_statetree cd_statetree;

typedef struct {
    uint32_t depth; /* CD_STATETREE_DEPTH_MIN..CD_STATETREE_DEPTH_MAX */
    uint8_t node_key[32];
    uint8_t root_key[32];
    uint8_t empty_leaf[32];
} cd_statetree_config;

/* A tree of empty buckets; hashes once for each level. *tree is NULL unless CD_OK. */
cd_status cd_statetree_open(const cd_statetree_config *config, cd_statetree **tree);

/* NULL is fine. */
void cd_statetree_free(cd_statetree *tree);

/* Set the leaves of n buckets and rehash every node above them, once each, level by level.
 * buckets: strictly ascending and below 2^depth, else CD_ERR_ARGUMENT. digests: n x 32 bytes.
 * Nothing has changed unless CD_OK. */
cd_status cd_statetree_set_leaves(cd_statetree *tree, const uint32_t *buckets, size_t n,
                                  const uint8_t *digests);

void cd_statetree_root(const cd_statetree *tree, uint8_t root[32]);

/* bucket below 2^depth, else CD_ERR_ARGUMENT. */
cd_status cd_statetree_leaf(const cd_statetree *tree, uint32_t bucket, uint8_t leaf[32]);

/* The siblings on the way from the bucket's leaf to the top, lowest first: depth x 32 bytes. */
cd_status cd_statetree_siblings(const cd_statetree *tree, uint32_t bucket, uint8_t *siblings);

/* All leaves, 2^depth x 32 bytes in the order of their buckets. The inner nodes follow from them, so
 * they are what is worth storing. */
size_t cd_statetree_leaves_size(const cd_statetree *tree);
void cd_statetree_leaves(const cd_statetree *tree, uint8_t *leaves);

/* Replace all leaves (cd_statetree_leaves_size bytes, else CD_ERR_ARGUMENT), rehash every node above
 * one that is not empty or was not. */
cd_status cd_statetree_load(cd_statetree *tree, const uint8_t *leaves, size_t size);

/* Recompute every inner node. Returns the place of one that does not follow from its children, on
 * the lowest level that has any, or 0 if the tree is sound. */
uint32_t cd_statetree_audit(const cd_statetree *tree);

#endif
