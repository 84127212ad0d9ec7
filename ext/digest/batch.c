/* Batches of messages of mixed lengths.
 *
 * Every chunk of every message is a lane, and it waits in the group of its block count until that
 * group is full: lanes of a group finish together whatever the order of the lengths. Chunks of a
 * message of several chunks leave their chaining values in `node`; when that is full, and at the
 * end, the trees over them are merged together, level by level, so that parents too fill whole
 * groups. Only a message too long for that is hashed by itself, where it fills groups of its own.
 */
#include "digest/kernel.h"

#define NODES_MAX 1024
#define TREES_MAX (NODES_MAX / 2) /* a tree has at least two chunks */
#define TREE_CHUNKS_MAX 64

typedef struct {
    uint8_t *out;
    uint32_t first; /* its nodes are node[first .. first + count) */
    uint32_t count;
} message_tree;

typedef struct {
    const cd_kernel *kernel;
    const cd_digest_key *key;
    uint32_t nodes;
    uint32_t trees;
    cd_lanes chunks[CD_CHUNK_BLOCKS]; /* chunks[b] collects chunks of b + 1 blocks */
    message_tree tree[TREES_MAX];
    uint8_t node[NODES_MAX][CD_DIGEST_BYTES];
} batch;

static void batch_init(batch *b, const cd_digest_key *key) {
    b->kernel = cd_kernel_current();
    b->key = key;
    b->nodes = 0;
    b->trees = 0;
    for (uint32_t i = 0; i < CD_CHUNK_BLOCKS; i++)
        cd_lanes_init(&b->chunks[i], key, i + 1, CD_CHUNK_START);
}

static void add_chunk(batch *b, const uint8_t *data, size_t size, uint64_t counter, uint32_t root,
                      uint8_t *out) {
    cd_lanes_put(b->kernel, &b->chunks[cd_chunk_blocks(size) - 1], data, cd_last_block_size(size),
                 CD_CHUNK_END | root, counter, out);
}

static void run_chunks(batch *b) {
    for (int i = 0; i < CD_CHUNK_BLOCKS; i++) cd_lanes_run(b->kernel, &b->chunks[i]);
}

/* Pair the nodes of one tree in place; the last pair of all gives the message's digest. A parent's
 * place is never to the right of its children's, so no node is lost before it is read. */
static void pair_nodes(batch *b, const message_tree *tree, cd_lanes *parents) {
    const uint32_t root = tree->count == 2 ? CD_ROOT : 0;
    for (uint32_t i = 0; i < tree->count / 2; i++)
        cd_lanes_put(b->kernel, parents, b->node[tree->first + 2 * i], CD_BLOCK_BYTES,
                     CD_PARENT | root, 0, root ? tree->out : b->node[tree->first + i]);
}

/* Once a level's pairs are done, the odd last node of a tree rises. */
static void raise_odd_node(batch *b, message_tree *tree) {
    const uint32_t pairs = tree->count / 2;
    if (tree->count % 2 && pairs)
        memcpy(b->node[tree->first + pairs], b->node[tree->first + tree->count - 1],
               CD_DIGEST_BYTES);
    tree->count -= pairs;
}

static void merge_trees(batch *b) {
    cd_lanes parents;
    uint32_t height = 0;
    if (b->trees == 0) return;
    run_chunks(b);
    cd_lanes_init(&parents, b->key, 1, 0);
    while ((1u << height) < TREE_CHUNKS_MAX) {
        for (uint32_t t = 0; t < b->trees; t++) pair_nodes(b, &b->tree[t], &parents);
        cd_lanes_run(b->kernel, &parents);
        for (uint32_t t = 0; t < b->trees; t++) raise_odd_node(b, &b->tree[t]);
        height++;
    }
    b->trees = 0;
    b->nodes = 0;
}

/* A message of 2..TREE_CHUNKS_MAX chunks. */
static void add_tree(batch *b, const uint8_t *data, size_t size, uint8_t *out) {
    const uint32_t count = (uint32_t)((size + CD_CHUNK_BYTES - 1) / CD_CHUNK_BYTES);
    if (b->nodes + count > NODES_MAX) merge_trees(b);
    b->tree[b->trees++] = (message_tree){out, b->nodes, count};
    for (uint32_t i = 0; i < count; i++) {
        const size_t at = (size_t)i * CD_CHUNK_BYTES;
        const size_t left = size - at;
        add_chunk(b, data + at, left < CD_CHUNK_BYTES ? left : CD_CHUNK_BYTES, i, 0,
                  b->node[b->nodes++]);
    }
}

static void batch_add(batch *b, const uint8_t *data, size_t size, uint8_t *out) {
    if (size <= CD_CHUNK_BYTES)
        add_chunk(b, data, size, 0, CD_ROOT, out);
    else if (size <= TREE_CHUNKS_MAX * CD_CHUNK_BYTES)
        add_tree(b, data, size, out);
    else
        cd_digest_long(b->kernel, b->key, data, size, out);
}

static void batch_finish(batch *b) {
    run_chunks(b);
    merge_trees(b);
}

cd_status cd_digest_many(const cd_digest_key *key, const uint8_t *data, size_t data_len,
                         const uint64_t *offsets, size_t n, uint8_t *out) {
    batch b;
    for (size_t i = 0; i < n; i++) {
        CD_ARG_CHECK(offsets[i] <= offsets[i + 1]);
        CD_ARG_CHECK(offsets[i + 1] - offsets[i] <= CD_TREE_LEAVES_MAX * CD_CHUNK_BYTES);
    }
    CD_ARG_CHECK(offsets[n] <= data_len);
    batch_init(&b, key);
    for (size_t i = 0; i < n; i++)
        batch_add(&b, data + offsets[i], offsets[i + 1] - offsets[i], out + i * CD_DIGEST_BYTES);
    batch_finish(&b);
    return CD_OK;
}

void cd_digest_long_records(const cd_digest_key *key, const uint8_t *first, size_t n, size_t stride,
                            size_t size, uint8_t *out) {
    batch b;
    batch_init(&b, key);
    for (size_t i = 0; i < n; i++)
        batch_add(&b, first + i * stride, size, out + i * CD_DIGEST_BYTES);
    batch_finish(&b);
}
