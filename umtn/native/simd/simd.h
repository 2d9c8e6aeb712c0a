// Compiler words. Each translation unit includes exactly one simd_*.h after this, all in unnamed namespaces.
#pragma once
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#define SIMD_INLINE __forceinline
#define SIMD_NOINLINE __declspec(noinline)
#define SIMD_LAMBDA
#define SIMD_UNROLL
#elif defined(__clang__)
#define SIMD_INLINE inline __attribute__((always_inline))
#define SIMD_NOINLINE __attribute__((noinline))
#define SIMD_LAMBDA __attribute__((always_inline))
#define SIMD_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SIMD_INLINE inline __attribute__((always_inline))
#define SIMD_NOINLINE __attribute__((noinline))
#define SIMD_LAMBDA __attribute__((always_inline))
#define SIMD_UNROLL _Pragma("GCC unroll 16")
#endif
