/* Ground of the native code: status codes, argument checks, unaligned loads.
 *
 * CD_ARG_CHECK guards every public entry point and stays on in release builds: a broken contract
 * is an error code, never undefined behaviour. CD_VERIFY_CHECK states internal invariants (limb
 * bounds, sizes); it exists only in debug and sanitizer builds (-DCD_VERIFY).
 */
#ifndef CD_BASE_H
#define CD_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum {
    CD_OK = 0,
    CD_ERR_ARGUMENT = -1,    /* a length, count or flag breaks the contract */
    CD_ERR_MEMORY = -2,      /* no memory */
    CD_ERR_UNSUPPORTED = -3, /* this CPU lacks the instruction set asked for */
    CD_ERR_FULL = -4,        /* a bounded queue is full */
    CD_ERR_CLOSED = -5       /* the object has been closed */
} cd_status;

#define CD_ARG_CHECK(cond)                   \
    do {                                     \
        if (!(cond)) return CD_ERR_ARGUMENT; \
    } while (0)

#ifdef CD_VERIFY
#include <stdio.h>
#include <stdlib.h>
#define CD_VERIFY_CHECK(cond)                                                            \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            fprintf(stderr, "%s:%d: invariant broken: %s\n", __FILE__, __LINE__, #cond); \
            abort();                                                                     \
        }                                                                                \
    } while (0)
#else
#define CD_VERIFY_CHECK(cond) ((void)0)
#endif

#define CD_INLINE static inline __attribute__((always_inline, unused))
#define CD_NOINLINE static __attribute__((noinline))

/* The innermost arithmetic: inlined for speed, but a plain function in checked builds, where every
 * copy would carry its checks and compiling would take minutes. */
#ifdef CD_VERIFY
#define CD_HOT static __attribute__((noinline, unused))
#else
#define CD_HOT CD_INLINE
#endif

CD_INLINE uint32_t cd_load32_le(const uint8_t *p) {
    uint32_t x;
    memcpy(&x, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap32(x);
#endif
    return x;
}

CD_INLINE uint64_t cd_load64_le(const uint8_t *p) {
    uint64_t x;
    memcpy(&x, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

CD_INLINE uint64_t cd_load64_be(const uint8_t *p) { return __builtin_bswap64(cd_load64_le(p)); }

CD_INLINE void cd_store32_le(uint8_t *p, uint32_t x) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap32(x);
#endif
    memcpy(p, &x, 4);
}

CD_INLINE void cd_store64_le(uint8_t *p, uint64_t x) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    memcpy(p, &x, 8);
}

#endif
