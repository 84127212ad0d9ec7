/* Fuzz target for ext/digest, in libFuzzer's form.
 *
 * The first bytes choose a mode and a shape; the rest is data. Every instruction-set level of this
 * CPU must give the bytes of the portable one, the batch calls those of the single-message call,
 * and a Merkle proof must hold until a byte of it changes. abort() on any disagreement. Inputs are
 * copied to buffers of their exact size, so that AddressSanitizer sees a read past them.
 */
#include "base/cpu.h"
#include "digest/digest.h"
#include "fuzz.h"

#define MESSAGES_MAX 200
#define LEAVES_MAX 600
#define GROWN_MAX ((size_t)200000)

static size_t take16(source *from) {
    size_t low = take(from);
    return low | (size_t)take(from) << 8;
}

/* A buffer of exactly `size` bytes, filled by repeating the source with a slow drift. */
static uint8_t *grow(const source *from, size_t size) {
    uint8_t *bytes = exact(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)((from->left ? from->at[i % from->left] : 0) + i / 251);
    return bytes;
}

static cd_digest_key take_key(source *from) {
    cd_digest_key key;
    uint8_t bytes[32];
    const unsigned mode = take(from) % 3;
    for (int i = 0; i < 32; i++) bytes[i] = take(from);
    if (mode == 0) cd_digest_key_plain(&key);
    if (mode == 1) cd_digest_key_keyed(&key, bytes);
    if (mode == 2) cd_digest_key_derive(&key, bytes, bytes[0] % 33);
    return key;
}

/* Message lengths lie around block and chunk sizes, now and then at several chunks. */
static size_t take_length(source *from) {
    const size_t raw = take16(from);
    if (raw % 16 == 0) return raw / 4;
    if (raw % 4 == 0) return 1024 + raw % 7 - 3;
    return raw % 300;
}

static void check_many(source *from) {
    const cd_digest_key key = take_key(from);
    const size_t n = take(from) % (MESSAGES_MAX + 1);
    uint64_t offsets[MESSAGES_MAX + 1];
    uint8_t out[MESSAGES_MAX * 32], one[32];
    offsets[0] = take(from);
    for (size_t i = 0; i < n; i++) {
        const size_t length = take_length(from);
        offsets[i + 1] = offsets[i] + (offsets[i] + length <= GROWN_MAX ? length : 0);
    }
    uint8_t *bytes = grow(from, offsets[n]);
    for (int level = 0; level <= (int)cd_isa_best(); level++) {
        require(cd_isa_use(level) == CD_OK);
        require(cd_digest_many(&key, bytes, offsets[n], offsets, n, out) == CD_OK);
        require(cd_isa_use(CD_ISA_PORTABLE) == CD_OK);
        for (size_t i = 0; i < n; i++) {
            cd_digest_one(&key, bytes + offsets[i], offsets[i + 1] - offsets[i], one);
            require(memcmp(out + 32 * i, one, 32) == 0);
        }
    }
    if (offsets[n] > 0) {
        const cd_status status = cd_digest_many(&key, bytes, offsets[n] - 1, offsets, n, out);
        require(status == CD_ERR_ARGUMENT);
    }
    free(bytes);
}

static void check_records(source *from) {
    const cd_digest_key key = take_key(from);
    const size_t n = take(from) % 70, stride = 1 + take16(from) % 2600;
    size_t start = take16(from), stop = take16(from);
    const int fits = start <= stop && stop <= stride;
    if (!fits && take(from) % 8) { /* mostly make it fit */
        start %= stride + 1;
        stop = start + stop % (stride - start + 1);
    }
    uint8_t *bytes = grow(from, n * stride), *out = malloc(n * 32 + 1), one[32];
    require(out != NULL);
    for (int level = 0; level <= (int)cd_isa_best(); level++) {
        require(cd_isa_use(level) == CD_OK);
        const cd_status status = cd_digest_records(&key, bytes, n, stride, start, stop, out);
        require(status == (start <= stop && stop <= stride ? CD_OK : CD_ERR_ARGUMENT));
        if (status != CD_OK) break;
        for (size_t i = 0; i < n; i++) {
            cd_digest_one(&key, bytes + i * stride + start, stop - start, one);
            require(memcmp(out + 32 * i, one, 32) == 0);
        }
    }
    free(bytes);
    free(out);
}

static void check_merkle(source *from) {
    const size_t n = take16(from) % (LEAVES_MAX + 1);
    const size_t index = n ? take16(from) % n : 0, flip = take16(from);
    uint8_t root[32], other[32], proof[CD_MERKLE_PROOF_MAX];
    uint8_t *leaves = grow(from, n * 32);
    for (int level = 0; level <= (int)cd_isa_best(); level++) {
        require(cd_isa_use(level) == CD_OK);
        require(cd_merkle_root(leaves, n, level ? other : root) == CD_OK);
        if (level) require(memcmp(root, other, 32) == 0);
    }
    const size_t size = cd_merkle_proof_size(index, n);
    if (n > 0) {
        const uint8_t *leaf = leaves + index * 32;
        require(cd_merkle_proof(leaves, n, index, proof) == CD_OK);
        require(cd_merkle_verify(root, leaf, index, n, proof, size));
        require(!cd_merkle_verify(root, leaf, index, n + 1 + flip, proof, size));
        require(!cd_merkle_verify(root, leaf, n + flip, n, proof, size));
        require(!cd_merkle_verify(root, leaf, index, n, proof, size + 32));
        root[flip % 32] ^= (uint8_t)(1 << (flip >> 5) % 8);
        require(!cd_merkle_verify(root, leaf, index, n, proof, size));
        root[flip % 32] ^= (uint8_t)(1 << (flip >> 5) % 8);
        if (size > 0) proof[flip % size] ^= (uint8_t)(1 << (flip >> 5) % 8);
        if (size > 0) require(!cd_merkle_verify(root, leaf, index, n, proof, size));
    }
    free(leaves);
}

/* Arbitrary bytes as a proof: any answer but a crash, and never yes. */
static void check_forgery(source *from) {
    uint8_t root[32], leaf[32];
    uint64_t index = 0, count = 0;
    for (int i = 0; i < 32; i++) root[i] = take(from);
    for (int i = 0; i < 32; i++) leaf[i] = take(from);
    for (int i = 0; i < 8; i++) index = index << 8 | take(from);
    for (int i = 0; i < 8; i++) count = count << 8 | take(from);
    uint8_t *proof = grow(from, from->left);
    require(!cd_merkle_verify(root, leaf, index, count, proof, from->left));
    free(proof);
    const size_t size = cd_merkle_proof_size(index, count);
    require(size <= CD_MERKLE_PROOF_MAX);
    proof = grow(from, size);
    require(!cd_merkle_verify(root, leaf, index, count, proof, size));
    free(proof);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    source from = {data, size};
    switch (take(&from) % 4) {
    case 0: check_many(&from); break;
    case 1: check_records(&from); break;
    case 2: check_merkle(&from); break;
    default: check_forgery(&from); break;
    }
    return 0;
}
