/* Inside of ext/digest: lanes, kernels, and the parts that share them. Not for other modules.
 *
 * A lane is one BLAKE3 chunk (1..16 blocks) or one parent node (1 block). Lanes that have the same
 * number of blocks travel together: a kernel compresses one group of lanes at once, one lane in
 * each element of its vectors. All kernels give the same bytes.
 */
#ifndef CD_DIGEST_KERNEL_H
#define CD_DIGEST_KERNEL_H

#include "base/base.h"
#include "digest/digest.h"

#define CD_BLOCK_BYTES 64
#define CD_CHUNK_BYTES 1024
#define CD_CHUNK_BLOCKS 16
#define CD_LANES_MAX 16

/* Domain flags of a compression (BLAKE3 specification, section 2.1). */
enum {
    CD_CHUNK_START = 1 << 0,
    CD_CHUNK_END = 1 << 1,
    CD_PARENT = 1 << 2,
    CD_ROOT = 1 << 3,
    CD_KEYED_HASH = 1 << 4,
    CD_DERIVE_KEY_CONTEXT = 1 << 5,
    CD_DERIVE_KEY_MATERIAL = 1 << 6
};

#define CD_IV                                            \
    {0x6A09E667u, 0xBB67AE85u, 0x3C6EF372u, 0xA54FF53Au, \
     0x510E527Fu, 0x9B05688Cu, 0x1F83D9ABu, 0x5BE0CD19u}

/* A group of lanes, all of `blocks` blocks. Arrays are per lane so that a kernel loads them whole.
 * input[i] holds (blocks - 1) * 64 + last_size[i] bytes; nothing past them is read. With one block,
 * the output of a lane may overlap the inputs of that lane and of lanes before it. */
typedef struct {
    const uint8_t *input[CD_LANES_MAX];
    uint8_t *output[CD_LANES_MAX]; /* 32 bytes each */
    uint32_t counter_low[CD_LANES_MAX];
    uint32_t counter_high[CD_LANES_MAX];
    uint32_t last_size[CD_LANES_MAX];  /* bytes of the last block, 0..64; 0 if there are none */
    uint32_t last_flags[CD_LANES_MAX]; /* added to the last block's flags */
    uint32_t key[8];
    uint32_t flags;       /* of every block */
    uint32_t first_flags; /* added to the first block's flags */
    uint32_t blocks;      /* 1..16 */
    uint32_t count;       /* lanes filled */
} cd_lanes;

typedef struct {
    uint32_t width; /* lanes that `run` takes at most */
    uint32_t worth; /* with fewer lanes than this the portable code is quicker */
    void (*run)(const cd_lanes *lanes);
} cd_kernel;

/* The portable one compresses `count` lanes one by one; a vector kernel always does `width`. */
void cd_kernel_portable_run(const cd_lanes *lanes);
#if defined(__x86_64__)
void cd_kernel_avx2_run(const cd_lanes *lanes);
void cd_kernel_avx512_run(const cd_lanes *lanes);
#endif

/* The kernel of the level in force. Ask once per call, so that a batch is done by one kernel. */
const cd_kernel *cd_kernel_current(void);

/* An empty group of lanes of `blocks` blocks. first_flags: CD_CHUNK_START for chunks, else 0. */
void cd_lanes_init(cd_lanes *lanes, const cd_digest_key *key, uint32_t blocks,
                   uint32_t first_flags);

/* Compress the group's lanes, full or not, and empty it. */
void cd_lanes_run(const cd_kernel *kernel, cd_lanes *lanes);

/* Add a lane, and run the group when that fills it. */
CD_INLINE void cd_lanes_put(const cd_kernel *kernel, cd_lanes *lanes, const uint8_t *input,
                            uint32_t last_size, uint32_t last_flags, uint64_t counter,
                            uint8_t *output) {
    uint32_t i = lanes->count++;
    CD_VERIFY_CHECK(i < kernel->width && last_size <= CD_BLOCK_BYTES);
    lanes->input[i] = input;
    lanes->output[i] = output;
    lanes->counter_low[i] = (uint32_t)counter;
    lanes->counter_high[i] = (uint32_t)(counter >> 32);
    lanes->last_size[i] = last_size;
    lanes->last_flags[i] = last_flags;
    if (lanes->count == kernel->width) cd_lanes_run(kernel, lanes);
}

/* Make all lanes alike, with counter zero: then only the pointers differ. */
void cd_lanes_alike(cd_lanes *lanes, uint32_t last_size, uint32_t last_flags);

/* Compress n inputs that lie stride bytes apart, as lanes made alike before; outputs lie packed. */
void cd_lanes_run_rows(const cd_kernel *kernel, cd_lanes *lanes, const uint8_t *input,
                       size_t stride, size_t n, uint8_t *output);

/* A binary tree over 32-byte nodes that arrive from the left: neighbours are paired level by level,
 * the odd last one of a level rises unchanged. Both BLAKE3's tree of chunks and our Merkle tree
 * have this shape. A level holds at most 32 nodes; when it has them they become 16 nodes of the
 * level above in one full group, so that memory is bounded and hardly a lane is ever empty. */
#define CD_TREE_PAIRS 16
#define CD_TREE_NODES (2 * CD_TREE_PAIRS)
#define CD_TREE_LEVELS 41

typedef struct {
    const cd_kernel *kernel;
    uint32_t top_flags; /* of the last pair's one block */
    uint32_t top_level; /* the highest level in use */
    uint32_t count[CD_TREE_LEVELS];
    cd_lanes pairs;
    uint8_t node[CD_TREE_LEVELS][CD_TREE_NODES * CD_DIGEST_BYTES];
} cd_tree;

/* node_flags: of every pair's one block but the last pair's, which has top_flags. */
void cd_tree_init(cd_tree *tree, const cd_kernel *kernel, const cd_digest_key *key,
                  uint32_t node_flags, uint32_t top_flags);

/* Where the next nodes of level 0 go. There is room for CD_TREE_PAIRS of them if all additions
 * before were of CD_TREE_PAIRS nodes. */
uint8_t *cd_tree_room(cd_tree *tree);

/* Count in n <= CD_TREE_PAIRS nodes that were written there. */
void cd_tree_added(cd_tree *tree, uint32_t n);

/* Pair CD_TREE_NODES nodes that lie elsewhere; only while level 0 is empty. */
void cd_tree_add_group(cd_tree *tree, const uint8_t *nodes);

/* Pair what is left, up to the top node. At least one node must have been added. */
void cd_tree_finish(cd_tree *tree, uint8_t top[CD_DIGEST_BYTES]);

/* Hash one message of more than a chunk. */
void cd_digest_long(const cd_kernel *kernel, const cd_digest_key *key, const uint8_t *data,
                    size_t size, uint8_t out[CD_DIGEST_BYTES]);

/* cd_digest_records for records of more than a chunk; `first` is the first record's first byte. */
void cd_digest_long_records(const cd_digest_key *key, const uint8_t *first, size_t n, size_t stride,
                            size_t size, uint8_t *out);

/* Blocks of a chunk of `size` bytes, and the bytes of its last block. No bytes make one block. */
CD_INLINE uint32_t cd_chunk_blocks(size_t size) {
    return size ? (uint32_t)((size + CD_BLOCK_BYTES - 1) / CD_BLOCK_BYTES) : 1;
}

CD_INLINE uint32_t cd_last_block_size(size_t size) {
    return (uint32_t)(size - (size_t)(cd_chunk_blocks(size) - 1) * CD_BLOCK_BYTES);
}

/* Copy the 0..63 bytes of a short block and fill the block up with zeros. Two overlapping moves of
 * a fixed size serve every size of a power-of-two range: several times quicker than a libc call. */
CD_INLINE void cd_pad_block(uint8_t block[CD_BLOCK_BYTES], const uint8_t *input, size_t size) {
    memset(block, 0, CD_BLOCK_BYTES);
    if (size >= 32) {
        memcpy(block, input, 32);
        memcpy(block + size - 32, input + size - 32, 32);
    } else if (size >= 16) {
        memcpy(block, input, 16);
        memcpy(block + size - 16, input + size - 16, 16);
    } else if (size >= 8) {
        memcpy(block, input, 8);
        memcpy(block + size - 8, input + size - 8, 8);
    } else {
        for (size_t i = 0; i < size; i++) block[i] = input[i];
    }
}

#endif
