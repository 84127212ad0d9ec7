/* The streaming binary tree (see kernel.h), and a long message's tree of chunks. */
#include "digest/kernel.h"

void cd_tree_init(cd_tree *tree, const cd_kernel *kernel, const cd_digest_key *key,
                  uint32_t node_flags, uint32_t top_flags) {
    tree->kernel = kernel;
    tree->top_flags = top_flags;
    tree->top_level = 0;
    memset(tree->count, 0, sizeof tree->count);
    cd_lanes_init(&tree->pairs, key, 1, 0);
    cd_lanes_alike(&tree->pairs, CD_BLOCK_BYTES, node_flags);
}

/* Compress 2 * pairs children into as many parents. */
static void hash_pairs(cd_tree *tree, const uint8_t *children, uint32_t pairs, uint8_t *parents) {
    cd_lanes_run_rows(tree->kernel, &tree->pairs, children, CD_BLOCK_BYTES, pairs, parents);
}

static uint8_t *room(cd_tree *tree, uint32_t level) {
    CD_VERIFY_CHECK(level < CD_TREE_LEVELS && tree->count[level] < CD_TREE_NODES);
    return tree->node[level] + (size_t)tree->count[level] * CD_DIGEST_BYTES;
}

/* Count n nodes into a level, and move full levels up: 32 nodes become 16 of the level above. */
static void added(cd_tree *tree, uint32_t level, uint32_t n) {
    if (level > tree->top_level) tree->top_level = level;
    tree->count[level] += n;
    while (tree->count[level] == CD_TREE_NODES) {
        uint8_t *parents = room(tree, level + 1);
        hash_pairs(tree, tree->node[level], CD_TREE_PAIRS, parents);
        tree->count[level] = 0;
        level++;
        if (level > tree->top_level) tree->top_level = level;
        tree->count[level] += CD_TREE_PAIRS;
    }
}

uint8_t *cd_tree_room(cd_tree *tree) { return room(tree, 0); }

void cd_tree_added(cd_tree *tree, uint32_t n) { added(tree, 0, n); }

void cd_tree_add_group(cd_tree *tree, const uint8_t *nodes) {
    hash_pairs(tree, nodes, CD_TREE_PAIRS, room(tree, 1));
    added(tree, 1, CD_TREE_PAIRS);
}

/* Pair the rest of a level into the level above. Both have room: a level holds 0 or 16 nodes when
 * its turn comes, and at most 16 arrive from below. */
static void raise_level(cd_tree *tree, uint32_t level) {
    const uint32_t n = tree->count[level], pairs = n / 2;
    uint8_t *parents = room(tree, level + 1);
    hash_pairs(tree, tree->node[level], pairs, parents);
    if (n % 2)
        memcpy(parents + (size_t)pairs * CD_DIGEST_BYTES,
               tree->node[level] + (size_t)(n - 1) * CD_DIGEST_BYTES, CD_DIGEST_BYTES);
    tree->count[level] = 0;
    tree->count[level + 1] += pairs + n % 2;
    if (n && level + 1 > tree->top_level) tree->top_level = level + 1;
}

void cd_tree_finish(cd_tree *tree, uint8_t top[CD_DIGEST_BYTES]) {
    uint32_t level = 0;
    while (level < tree->top_level || tree->count[level] > 2) raise_level(tree, level++);
    if (tree->count[level] == 2) {
        cd_lanes_alike(&tree->pairs, CD_BLOCK_BYTES, tree->top_flags);
        hash_pairs(tree, tree->node[level], 1, top);
    } else {
        memcpy(top, tree->node[level], CD_DIGEST_BYTES);
    }
}

/* Chunks go through in groups of 16, so that the tree takes whole groups until the last one. Only
 * the last chunk may have fewer blocks than the others; then it is a group of its own. */
void cd_digest_long(const cd_kernel *kernel, const cd_digest_key *key, const uint8_t *data,
                    size_t size, uint8_t out[CD_DIGEST_BYTES]) {
    cd_tree tree;
    cd_lanes chunks;
    uint32_t n = 0; /* chunks of the group at hand */
    cd_tree_init(&tree, kernel, key, CD_PARENT, CD_PARENT | CD_ROOT);
    cd_lanes_init(&chunks, key, CD_CHUNK_BLOCKS, CD_CHUNK_START);
    for (size_t at = 0; at < size; at += CD_CHUNK_BYTES) {
        const size_t bytes = size - at < CD_CHUNK_BYTES ? size - at : CD_CHUNK_BYTES;
        if (cd_chunk_blocks(bytes) < CD_CHUNK_BLOCKS) {
            cd_lanes_run(kernel, &chunks);
            cd_lanes_init(&chunks, key, cd_chunk_blocks(bytes), CD_CHUNK_START);
        }
        cd_lanes_put(kernel, &chunks, data + at, cd_last_block_size(bytes), CD_CHUNK_END,
                     at / CD_CHUNK_BYTES, cd_tree_room(&tree) + (size_t)n * CD_DIGEST_BYTES);
        if (++n < CD_TREE_PAIRS) continue;
        cd_lanes_run(kernel, &chunks);
        cd_tree_added(&tree, n);
        n = 0;
    }
    cd_lanes_run(kernel, &chunks);
    cd_tree_added(&tree, n);
    cd_tree_finish(&tree, out);
}
