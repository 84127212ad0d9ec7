/* Instruction-set levels, lowest first. Each level includes those below it.
 *
 * A module picks its best code at or below the process's level; tests and operators can lower it.
 * The level is one atomic integer per extension module.
 */
#ifndef CD_CPU_H
#define CD_CPU_H

#include "base/base.h"

typedef enum {
    CD_ISA_PORTABLE = 0,
    CD_ISA_AVX2 = 1,
    CD_ISA_AVX512 = 2,     /* F, BW, VL, DQ */
    CD_ISA_AVX512IFMA = 3, /* and IFMA, BMI2 */
    CD_ISA_COUNT = 4
} cd_isa;

/* The highest level that this CPU and operating system support (cpuid and XCR0). */
cd_isa cd_isa_best(void);

/* The level in force: the best one until cd_isa_use lowers it. Thread-safe. */
cd_isa cd_isa_current(void);

/* Select a level. CD_ERR_ARGUMENT if out of range, CD_ERR_UNSUPPORTED if this CPU lacks it. */
cd_status cd_isa_use(int level);

#endif
