/* The BLAKE3 compression function, written once for every width.
 *
 * The including file defines the type `word` (a 32-bit integer or a vector of them) and the
 * functions word_set (one value in every element), word_add, word_xor, and word_rotr16, _rotr12,
 * _rotr8, _rotr7. The seven rounds are written out with constant message indices: the permuted
 * message is never materialised, and a word is a memory operand of the addition that uses it.
 */
#include "digest/kernel.h"

/* One quarter round. (a + m) + b: b is the operand that arrives last. */
CD_INLINE void mix(word *a, word *b, word *c, word *d, word m0, word m1) {
    *a = word_add(word_add(*a, m0), *b);
    *d = word_rotr16(word_xor(*d, *a));
    *c = word_add(*c, *d);
    *b = word_rotr12(word_xor(*b, *c));
    *a = word_add(word_add(*a, m1), *b);
    *d = word_rotr8(word_xor(*d, *a));
    *c = word_add(*c, *d);
    *b = word_rotr7(word_xor(*b, *c));
}

#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, sa, sb, sc, sd, se, sf) \
    do {                                                                      \
        mix(&v0, &v4, &v8, &vc, m[s0], m[s1]);                                \
        mix(&v1, &v5, &v9, &vd, m[s2], m[s3]);                                \
        mix(&v2, &v6, &va, &ve, m[s4], m[s5]);                                \
        mix(&v3, &v7, &vb, &vf, m[s6], m[s7]);                                \
        mix(&v0, &v5, &va, &vf, m[s8], m[s9]);                                \
        mix(&v1, &v6, &vb, &vc, m[sa], m[sb]);                                \
        mix(&v2, &v7, &v8, &vd, m[sc], m[sd]);                                \
        mix(&v3, &v4, &v9, &ve, m[se], m[sf]);                                \
    } while (0)

/* Replace the chaining value cv by the compression of the 16-word message m under it. */
CD_INLINE void compress(word cv[8], const word m[16], word counter_low, word counter_high,
                        word block_size, word flags) {
    static const uint32_t iv[8] = CD_IV;
    word v0 = cv[0], v1 = cv[1], v2 = cv[2], v3 = cv[3];
    word v4 = cv[4], v5 = cv[5], v6 = cv[6], v7 = cv[7];
    word v8 = word_set(iv[0]), v9 = word_set(iv[1]), va = word_set(iv[2]), vb = word_set(iv[3]);
    word vc = counter_low, vd = counter_high, ve = block_size, vf = flags;

    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8);
    ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1);
    ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6);
    ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4);
    ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7);
    ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13);

    cv[0] = word_xor(v0, v8);
    cv[1] = word_xor(v1, v9);
    cv[2] = word_xor(v2, va);
    cv[3] = word_xor(v3, vb);
    cv[4] = word_xor(v4, vc);
    cv[5] = word_xor(v5, vd);
    cv[6] = word_xor(v6, ve);
    cv[7] = word_xor(v7, vf);
}

#undef ROUND
