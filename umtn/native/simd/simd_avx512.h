// AVX-512 (F, BW, DQ, VL), with VNNI where the unit is compiled for it; with SIMD_HAS_BF16 also the bfloat16 products.
#pragma once
#include <immintrin.h>

#include "simd.h"

namespace {

#if !defined(SIMD_PREFETCH_BYTES)
#define SIMD_PREFETCH_BYTES 2048
#endif

struct Avx512 {
  typedef __m512 F;
  typedef __m512i I;
  typedef __m512i X;
  static constexpr int W = 16, ACCUMULATORS = 16;
  static constexpr bool ODD_TILES = true;
  static constexpr int OFFSET = 128;  // vpdpbusd takes activations without a sign
  static SIMD_INLINE F load(const float* p) { return _mm512_load_ps(p); }
  static SIMD_INLINE void store(float* p, F a) { _mm512_store_ps(p, a); }
  static SIMD_INLINE F load_anywhere(const float* p) { return _mm512_loadu_ps(p); }
  static SIMD_INLINE F set1(float a) { return _mm512_set1_ps(a); }
  static SIMD_INLINE F zero() { return _mm512_setzero_ps(); }
  static SIMD_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  static SIMD_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static SIMD_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static SIMD_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
  static SIMD_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static SIMD_INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }  // b where a is not a number
  static SIMD_INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
  static SIMD_INLINE F at_most(F a, F high) { return _mm512_min_ps(high, a); }  // not a number stays
  static SIMD_INLINE F at_least(F a, F low) { return _mm512_max_ps(low, a); }
  static SIMD_INLINE F round(F a) { return _mm512_roundscale_ps(a, 8); }
  static SIMD_INLINE F power(F a, F e) { return _mm512_scalef_ps(a, e); }
  static SIMD_INLINE F exponent(F a) { return _mm512_getexp_ps(a); }  // a = mantissa * 2^exponent, a > 0
  static SIMD_INLINE F mantissa(F a) { return _mm512_getmant_ps(a, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src); }
  static SIMD_INLINE float sum(F a) { return _mm512_reduce_add_ps(a); }
  static SIMD_INLINE float most(F a) { return _mm512_reduce_max_ps(a); }
  static SIMD_INLINE I izero() { return _mm512_setzero_si512(); }
  static SIMD_INLINE I iadd(I a, I b) { return _mm512_add_epi32(a, b); }
  static SIMD_INLINE I iload(const int32_t* p) { return _mm512_load_si512(p); }
  static SIMD_INLINE void istore(int32_t* p, I a) { _mm512_store_si512(p, a); }
  static SIMD_INLINE F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  static SIMD_INLINE I spread32(const void* p) {
    int32_t four;
    memcpy(&four, p, 4);
    return _mm512_set1_epi32(four);
  }
  static SIMD_INLINE X spread8(const int8_t* p) { return spread32(p); }
#if defined(__AVX512VNNI__) || defined(_MSC_VER)
  static SIMD_INLINE I dot8(I a, const int8_t* w, X x) {
    return _mm512_dpbusd_epi32(a, x, _mm512_load_si512(w));
  }
#endif
  static SIMD_INLINE void quantise(int8_t* p, F v) {
    v = max(min(v, set1(127.0f)), set1(-127.0f));
    __m128i q = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v));
    _mm_store_si128((__m128i*)p, _mm_xor_si128(q, _mm_set1_epi8((char)0x80)));
  }
#if defined(SIMD_HAS_BF16)
  static SIMD_INLINE F dot_bf16(F a, const uint16_t* w, I x) {
    return _mm512_dpbf16_ps(a, (__m512bh)_mm512_load_si512(w), (__m512bh)x);
  }
  static SIMD_INLINE void store_bf16(uint16_t* p, F v) {
    _mm256_store_si256((__m256i*)p, (__m256i)_mm512_cvtneps_pbh(v));
  }
#endif
  static SIMD_INLINE void prefetch(const void* p) {
    _mm_prefetch((const char*)p + SIMD_PREFETCH_BYTES, _MM_HINT_T0);
  }
};

}  // namespace
