/* Merkle trees over 32-byte leaves (see digest.h for what a node and a root are). */
#include "digest/digest.h"
#include "digest/kernel.h"

/* A node and a root are each one block, first and last of its message. */
#define ONE_BLOCK (CD_CHUNK_START | CD_CHUNK_END | CD_ROOT)

/* The context keys of digest.h's two context strings; the tests derive them from the strings. */
static const cd_digest_key NODE_KEY = {{0xeade2425u, 0x4ee29f1cu, 0x942e7e44u, 0xa38f34cau,
                                        0xc2d30f7du, 0x01715a89u, 0xed168facu, 0xd6741367u},
                                       CD_DERIVE_KEY_MATERIAL};
static const cd_digest_key ROOT_KEY = {{0x83e9db6eu, 0xd027c34cu, 0x24671459u, 0xd77419b6u,
                                        0xd758d3abu, 0xc4184939u, 0xa066d5c3u, 0xe8fb0b65u},
                                       CD_DERIVE_KEY_MATERIAL};

/* The top node over n >= 1 leaves: the tree's without the count. */
static void top_node(const uint8_t *leaves, size_t n, uint8_t top[32]) {
    cd_tree tree;
    cd_tree_init(&tree, cd_kernel_current(), &NODE_KEY, ONE_BLOCK, ONE_BLOCK);
    for (; n >= CD_TREE_NODES; n -= CD_TREE_NODES) {
        cd_tree_add_group(&tree, leaves);
        leaves += CD_TREE_NODES * CD_DIGEST_BYTES;
    }
    for (uint32_t some; n > 0; n -= some) {
        some = n < CD_TREE_PAIRS ? (uint32_t)n : CD_TREE_PAIRS;
        memcpy(cd_tree_room(&tree), leaves, some * CD_DIGEST_BYTES);
        cd_tree_added(&tree, some);
        leaves += some * CD_DIGEST_BYTES;
    }
    cd_tree_finish(&tree, top);
}

static void bind_count(uint64_t count, const uint8_t top[32], uint8_t root[32]) {
    uint8_t message[8 + CD_DIGEST_BYTES];
    cd_store64_le(message, count);
    memcpy(message + 8, top, CD_DIGEST_BYTES);
    cd_digest_one(&ROOT_KEY, message, sizeof message, root);
}

cd_status cd_merkle_root(const uint8_t *leaves, size_t n, uint8_t root[32]) {
    uint8_t top[CD_DIGEST_BYTES] = {0};
    CD_ARG_CHECK(n <= CD_TREE_LEAVES_MAX);
    if (n > 0) top_node(leaves, n, top);
    bind_count(n, top, root);
    return CD_OK;
}

/* A level of `width` nodes gives node `index` a sibling unless that is the odd last one. */
static int has_sibling(uint64_t index, uint64_t width) { return (index ^ 1) < width; }

size_t cd_merkle_proof_size(uint64_t index, uint64_t count) {
    size_t size = 0;
    if (index >= count) return 0;
    for (uint64_t width = count; width > 1; width -= width / 2, index /= 2)
        size += has_sibling(index, width) ? CD_DIGEST_BYTES : 0;
    return size;
}

/* The sibling at a level is the top node over its own leaves, so nothing need be kept: the proof
 * costs as much as the root. */
cd_status cd_merkle_proof(const uint8_t *leaves, size_t n, size_t index, uint8_t *proof) {
    CD_ARG_CHECK(index < n && n <= CD_TREE_LEAVES_MAX);
    size_t span = 1; /* leaves under a node of this level, except for a level's last node */
    for (size_t width = n; width > 1; width -= width / 2, index /= 2, span *= 2) {
        if (!has_sibling(index, width)) continue;
        const size_t first = (index ^ 1) * span;
        top_node(leaves + first * CD_DIGEST_BYTES, n - first < span ? n - first : span, proof);
        proof += CD_DIGEST_BYTES;
    }
    return CD_OK;
}

int cd_merkle_verify(const uint8_t root[32], const uint8_t leaf[32], uint64_t index, uint64_t count,
                     const uint8_t *proof, size_t proof_size) {
    uint8_t node[CD_DIGEST_BYTES], pair[2 * CD_DIGEST_BYTES];
    if (index >= count || proof_size != cd_merkle_proof_size(index, count)) return 0;
    memcpy(node, leaf, CD_DIGEST_BYTES);
    for (uint64_t width = count; width > 1; width -= width / 2, index /= 2) {
        if (!has_sibling(index, width)) continue;
        const size_t right = index % 2 * CD_DIGEST_BYTES; /* where our own node goes */
        memcpy(pair + right, node, CD_DIGEST_BYTES);
        memcpy(pair + (CD_DIGEST_BYTES - right), proof, CD_DIGEST_BYTES);
        cd_digest_one(&NODE_KEY, pair, sizeof pair, node);
        proof += CD_DIGEST_BYTES;
    }
    bind_count(count, node, pair);
    return memcmp(pair, root, CD_DIGEST_BYTES) == 0;
}
