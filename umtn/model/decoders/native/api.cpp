// The C interface: which instruction set there is, and one pass.
#include "teacher.h"
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(_WIN32)
#define API extern "C" __declspec(dllexport)
#else
#define API extern "C" __attribute__((visibility("default")))
#endif

namespace {
enum { NONE, BF16, AMX };

int best() {
#if defined(__x86_64__) && defined(__linux__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512bf16")) return NONE;
    unsigned a, b, c, d = 0;
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    constexpr unsigned TILE = 1u << 24, TILE_BF16 = 1u << 22;
#if !defined(WITHOUT_AMX)
    // the kernel hands out the tiles' registers to programs that ask (ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
    if ((d & TILE) && (d & TILE_BF16) && !syscall(SYS_arch_prctl, 0x1023, 18)) return AMX;
#endif
#if !defined(WITHOUT_BF16)
    return BF16;
#endif
#endif
    return NONE;
}
}  // namespace

// 2: AMX, 1: AVX-512 BF16, 0: neither
API int teacher_best() { return best(); }

// level: 2 or 1, as teacher_best says. 0; 1: no memory; 2: not compiled for that level
API int teacher_pass(const TeacherPass* p, int level) {
#if defined(__x86_64__) && !defined(WITHOUT_AMX)
    if (level == AMX) return amx::pass(*p);
#endif
#if defined(__x86_64__) && !defined(WITHOUT_BF16)
    if (level == BF16) return bf16::pass(*p);
#endif
    return 2;
}
