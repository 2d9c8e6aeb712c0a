// Denormal numbers count as zero for as long as a NoDenormals lives: they cost a hundred times a normal one.
#pragma once
#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
namespace {
struct NoDenormals {
  unsigned before = _mm_getcsr();
  NoDenormals() { _mm_setcsr(before | 0x8040); }
  ~NoDenormals() { _mm_setcsr(before); }
};
}  // namespace
#elif defined(__aarch64__)
namespace {
struct NoDenormals {
  uint64_t before;
  NoDenormals() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" ::"r"(before | (1u << 24)));
  }
  ~NoDenormals() { __asm__ volatile("msr fpcr, %0" ::"r"(before)); }
};
}  // namespace
#else
namespace {
struct NoDenormals {
  NoDenormals() {}
};
}  // namespace
#endif
