#include "base/cpu.h"

#include <stdatomic.h>

cd_isa cd_isa_best(void) {
#if defined(__x86_64__)
    __builtin_cpu_init(); /* looks at cpuid and at XCR0, so the kernel saves the registers too */
    if (!__builtin_cpu_supports("avx2")) return CD_ISA_PORTABLE;
    if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")))
        return CD_ISA_AVX2;
    if (!(__builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("bmi2")))
        return CD_ISA_AVX512;
    return CD_ISA_AVX512IFMA;
#else
    return CD_ISA_PORTABLE;
#endif
}

/* -1 until first asked for. Racing first callers compute and store the same value. */
static atomic_int selected = -1;

cd_isa cd_isa_current(void) {
    int level = atomic_load_explicit(&selected, memory_order_relaxed);
    if (level < 0) {
        level = (int)cd_isa_best();
        atomic_store_explicit(&selected, level, memory_order_relaxed);
    }
    return (cd_isa)level;
}

cd_status cd_isa_use(int level) {
    CD_ARG_CHECK(level >= 0 && level < CD_ISA_COUNT);
    if (level > (int)cd_isa_best()) return CD_ERR_UNSUPPORTED;
    atomic_store_explicit(&selected, level, memory_order_relaxed);
    return CD_OK;
}
