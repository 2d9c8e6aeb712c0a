// Feature bits: Intel SDM volume 2A, CPUID; Arm by the operating system's word.
#include "cpu.h"

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__)
#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
static void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4]) { __cpuidex((int*)r, (int)leaf, (int)sub); }
static uint64_t xcr0() { return _xgetbv(0); }
#else
#include <cpuid.h>
static void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4]) { __cpuid_count(leaf, sub, r[0], r[1], r[2], r[3]); }
static uint64_t xcr0() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((uint64_t)high << 32) | low;
}
#endif

namespace {
enum { A, B, C, D };
bool bit(uint32_t leaf, uint32_t sub, int reg, int number) {
  uint32_t r[4];
  cpuid(0, 0, r);
  if (r[A] < leaf) return false;
  if (sub) {
    cpuid(leaf, 0, r);
    if (r[A] < sub) return false;
  }
  cpuid(leaf, sub, r);
  return (r[reg] >> number) & 1;
}
bool saved(uint64_t registers) { return bit(1, 0, C, 27) && (xcr0() & registers) == registers; }
}  // namespace

bool cpu_avx2() { return saved(0x6) && bit(1, 0, C, 12) && bit(7, 0, B, 5); }  // with FMA
bool cpu_avxvnni() { return cpu_avx2() && bit(7, 1, A, 4); }
bool cpu_avx512() {  // F, DQ, BW, VL
  return cpu_avx2() && saved(0xe6) && bit(7, 0, B, 16) && bit(7, 0, B, 17) && bit(7, 0, B, 30) && bit(7, 0, B, 31);
}
bool cpu_avx512vnni() { return cpu_avx512() && bit(7, 0, C, 11); }
bool cpu_avx512bf16() { return cpu_avx512vnni() && bit(7, 1, A, 5); }
bool cpu_neon_dot() { return false; }

#else

bool cpu_avx2() { return false; }
bool cpu_avxvnni() { return false; }
bool cpu_avx512() { return false; }
bool cpu_avx512vnni() { return false; }
bool cpu_avx512bf16() { return false; }

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
bool cpu_neon_dot() { return (getauxval(AT_HWCAP) >> 20) & 1; }  // HWCAP_ASIMDDP
#elif defined(__aarch64__) && defined(__APPLE__)
bool cpu_neon_dot() { return true; }
#elif defined(_M_ARM64)
#include <windows.h>
bool cpu_neon_dot() { return IsProcessorFeaturePresent(43) != 0; }  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
#else
bool cpu_neon_dot() { return false; }
#endif
#endif
