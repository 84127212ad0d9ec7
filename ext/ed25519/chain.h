/* The addition chain of z^((p-5)/8) = z^(2^252 - 3), written once for every field representation.
 *
 * CD_POW22523(T, MUL, SQUARE_N, r, z) declares its temporaries of type T; MUL(T*, T*, T*)
 * multiplies and SQUARE_N(T*, T*, n) squares n times. 252 squarings, 11 multiplications.
 */
#ifndef CD_CHAIN_H
#define CD_CHAIN_H

#define CD_POW22523(T, MUL, SQUARE_N, r, z) \
    do {                                    \
        T t0, t1, t2;                       \
        SQUARE_N(&t0, (z), 1);              \
        SQUARE_N(&t1, &t0, 2);              \
        MUL(&t1, (z), &t1);                 \
        MUL(&t0, &t0, &t1);                 \
        SQUARE_N(&t0, &t0, 1);              \
        MUL(&t0, &t1, &t0); /* 2^5 - 1 */   \
        SQUARE_N(&t1, &t0, 5);              \
        MUL(&t0, &t1, &t0); /* 2^10 - 1 */  \
        SQUARE_N(&t1, &t0, 10);             \
        MUL(&t1, &t1, &t0); /* 2^20 - 1 */  \
        SQUARE_N(&t2, &t1, 20);             \
        MUL(&t1, &t2, &t1); /* 2^40 - 1 */  \
        SQUARE_N(&t1, &t1, 10);             \
        MUL(&t0, &t1, &t0); /* 2^50 - 1 */  \
        SQUARE_N(&t1, &t0, 50);             \
        MUL(&t1, &t1, &t0); /* 2^100 - 1 */ \
        SQUARE_N(&t2, &t1, 100);            \
        MUL(&t1, &t2, &t1); /* 2^200 - 1 */ \
        SQUARE_N(&t1, &t1, 50);             \
        MUL(&t0, &t1, &t0); /* 2^250 - 1 */ \
        SQUARE_N(&t0, &t0, 2);              \
        MUL((r), &t0, (z)); /* 2^252 - 3 */ \
    } while (0)

#endif
