/* Huge pages, for arrays that are read all over: each of their lines costs a walk through the page
 * tables otherwise, two of them under a hypervisor. */
#ifndef CD_PAGES_H
#define CD_PAGES_H

#include "base/base.h"

#include <sys/mman.h>

#define CD_HUGE_BYTES ((size_t)2 << 20)

/* `array` lies at CD_HUGE_BYTES. A hint: what the system makes of it changes no result. What is not
 * touched yet is zeroed 2 MiB at a time; what is, the system puts together in its own time, and
 * nobody waits for it. */
CD_INLINE void cd_advise_huge(void *array, size_t size) {
#ifdef MADV_HUGEPAGE
    (void)madvise(array, size / CD_HUGE_BYTES * CD_HUGE_BYTES, MADV_HUGEPAGE);
#else
    (void)array, (void)size;
#endif
}

#endif
