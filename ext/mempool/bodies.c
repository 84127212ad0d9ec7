/* Bodies: chains of blocks of one arena, so that no room is lost to their lengths. */
#include "mempool/pool.h"

/* The caller has made sure that there are blocks enough. */
void cd_body_store(cd_mempool *pool, uint32_t slot, const uint8_t *body, uint32_t size) {
    uint32_t *link = &pool->slots[slot].body;
    pool->blocks_held += blocks_of(size);
    while (size > 0) {
        uint32_t block = pool->blocks_free;
        if (block != CD_NONE)
            pool->blocks_free = pool->block_next[block];
        else
            block = pool->blocks_used++;
        const uint32_t part = size < CD_MEMPOOL_BLOCK_BYTES ? size : CD_MEMPOOL_BLOCK_BYTES;
        memcpy(pool->blocks + (size_t)block * CD_MEMPOOL_BLOCK_BYTES, body, part);
        *link = block;
        link = &pool->block_next[block];
        body += part;
        size -= part;
    }
    *link = CD_NONE;
}

void cd_body_load(const cd_mempool *pool, uint32_t slot, uint32_t size, uint8_t *body) {
    for (uint32_t block = pool->slots[slot].body; size > 0; block = pool->block_next[block]) {
        const uint32_t part = size < CD_MEMPOOL_BLOCK_BYTES ? size : CD_MEMPOOL_BLOCK_BYTES;
        memcpy(body, pool->blocks + (size_t)block * CD_MEMPOOL_BLOCK_BYTES, part);
        body += part;
        size -= part;
    }
}

void cd_body_free(cd_mempool *pool, uint32_t slot) {
    for (uint32_t block = pool->slots[slot].body; block != CD_NONE;) {
        const uint32_t next = pool->block_next[block];
        pool->block_next[block] = pool->blocks_free;
        pool->blocks_free = block;
        pool->blocks_held--;
        block = next;
    }
}
