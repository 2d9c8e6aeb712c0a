// AVX2 with FMA; with SIMD_HAS_AVXVNNI the 256-bit VNNI products of CPUs without AVX-512.
#pragma once
#include <immintrin.h>

#include "simd.h"

namespace {

struct Avx2 {
  typedef __m256 F;
  typedef __m256i I;
  static constexpr int W = 8, ACCUMULATORS = 8;
  static constexpr bool ODD_TILES = false;
  static SIMD_INLINE F load(const float* p) { return _mm256_load_ps(p); }
  static SIMD_INLINE void store(float* p, F a) { _mm256_store_ps(p, a); }
  static SIMD_INLINE F load_anywhere(const float* p) { return _mm256_loadu_ps(p); }
  static SIMD_INLINE F set1(float a) { return _mm256_set1_ps(a); }
  static SIMD_INLINE F zero() { return _mm256_setzero_ps(); }
  static SIMD_INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
  static SIMD_INLINE F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static SIMD_INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static SIMD_INLINE F div(F a, F b) { return _mm256_div_ps(a, b); }
  static SIMD_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static SIMD_INLINE F min(F a, F b) { return _mm256_min_ps(a, b); }  // b where a is not a number
  static SIMD_INLINE F max(F a, F b) { return _mm256_max_ps(a, b); }
  static SIMD_INLINE F at_most(F a, F high) { return _mm256_min_ps(high, a); }  // not a number stays
  static SIMD_INLINE F at_least(F a, F low) { return _mm256_max_ps(low, a); }
  static SIMD_INLINE F round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static SIMD_INLINE F power(F a, F e) {
    __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(e), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(bits));
  }
  static SIMD_INLINE F exponent(F a) {  // a = mantissa * 2^exponent, a > 0
    return sub(_mm256_cvtepi32_ps(_mm256_srli_epi32(_mm256_castps_si256(a), 23)), set1(127.0f));
  }
  static SIMD_INLINE F mantissa(F a) {
    __m256 fraction = _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x007fffff)));
    return _mm256_or_ps(fraction, set1(1.0f));
  }
  static SIMD_INLINE float sum(F a) {
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
  }
  static SIMD_INLINE float most(F a) {
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_shuffle_ps(b, b, 1)));
  }
  static SIMD_INLINE I izero() { return _mm256_setzero_si256(); }
  static SIMD_INLINE I iadd(I a, I b) { return _mm256_add_epi32(a, b); }
  static SIMD_INLINE I iload(const int32_t* p) { return _mm256_load_si256((const __m256i*)p); }
  static SIMD_INLINE void istore(int32_t* p, I a) { _mm256_store_si256((__m256i*)p, a); }
  static SIMD_INLINE F to_float(I a) { return _mm256_cvtepi32_ps(a); }
  static SIMD_INLINE I spread32(const void* p) {
    int32_t four;
    memcpy(&four, p, 4);
    return _mm256_set1_epi32(four);
  }
#if defined(SIMD_HAS_AVXVNNI)
  typedef __m256i X;
  static constexpr int OFFSET = 128;
  static SIMD_INLINE X spread8(const int8_t* p) { return spread32(p); }
  static SIMD_INLINE I dot8(I a, const int8_t* w, X x) {
    return _mm256_dpbusd_avx_epi32(a, x, _mm256_load_si256((const __m256i*)w));
  }
#else
  // vpmaddubsw wants one side without a sign and saturates at 16 bits: |x| <= 127 and the sign moved to w
  struct X {
    __m256i value, magnitude;
  };
  static constexpr int OFFSET = 0;
  static SIMD_INLINE X spread8(const int8_t* p) {
    __m256i x = spread32(p);
    return {x, _mm256_abs_epi8(x)};
  }
  static SIMD_INLINE I dot8(I a, const int8_t* w, X x) {
    __m256i signed_w = _mm256_sign_epi8(_mm256_load_si256((const __m256i*)w), x.value);
    __m256i pairs = _mm256_maddubs_epi16(x.magnitude, signed_w);
    return _mm256_add_epi32(a, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
#endif
  static SIMD_INLINE void quantise(int8_t* p, F v) {
    v = max(min(v, set1(127.0f)), set1(-127.0f));
    __m256i q = _mm256_cvtps_epi32(v);
    __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    __m128i bytes = _mm_packs_epi16(half, half);
    if (OFFSET) bytes = _mm_xor_si128(bytes, _mm_set1_epi8((char)0x80));
    _mm_storel_epi64((__m128i*)p, bytes);
  }
  static SIMD_INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p + 4096, _MM_HINT_T0); }
};

}  // namespace
