// Compiler words. Each translation unit includes exactly one simd_*.h after this, all in unnamed namespaces.
#pragma once
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#define WN_INLINE __forceinline
#define WN_NOINLINE __declspec(noinline)
#define WN_LAMBDA
#define WN_UNROLL
#elif defined(__clang__)
#define WN_INLINE inline __attribute__((always_inline))
#define WN_NOINLINE __attribute__((noinline))
#define WN_LAMBDA __attribute__((always_inline))
#define WN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define WN_INLINE inline __attribute__((always_inline))
#define WN_NOINLINE __attribute__((noinline))
#define WN_LAMBDA __attribute__((always_inline))
#define WN_UNROLL _Pragma("GCC unroll 16")
#endif
