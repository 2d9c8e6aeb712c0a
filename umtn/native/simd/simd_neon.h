// 64-bit Arm; where the unit is compiled for it with the dot product instructions (Armv8.2; every Apple chip,
// Cortex-A76 and later).
#pragma once
#include <arm_neon.h>

#include "simd.h"

namespace {

struct Neon {
  typedef float32x4_t F;
  typedef int32x4_t I;
  typedef int8x16_t X;
  static constexpr int W = 4, ACCUMULATORS = 16;
  static constexpr bool ODD_TILES = false;
  static constexpr int OFFSET = 0;
  static SIMD_INLINE F load(const float* p) { return vld1q_f32(p); }
  static SIMD_INLINE void store(float* p, F a) { vst1q_f32(p, a); }
  static SIMD_INLINE F load_anywhere(const float* p) { return vld1q_f32(p); }
  static SIMD_INLINE F set1(float a) { return vdupq_n_f32(a); }
  static SIMD_INLINE F zero() { return vdupq_n_f32(0.0f); }
  static SIMD_INLINE F add(F a, F b) { return vaddq_f32(a, b); }
  static SIMD_INLINE F sub(F a, F b) { return vsubq_f32(a, b); }
  static SIMD_INLINE F mul(F a, F b) { return vmulq_f32(a, b); }
  static SIMD_INLINE F div(F a, F b) { return vdivq_f32(a, b); }
  static SIMD_INLINE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static SIMD_INLINE F min(F a, F b) { return vminnmq_f32(a, b); }  // b where a is not a number
  static SIMD_INLINE F max(F a, F b) { return vmaxnmq_f32(a, b); }
  static SIMD_INLINE F at_most(F a, F high) { return vminq_f32(a, high); }  // not a number stays
  static SIMD_INLINE F at_least(F a, F low) { return vmaxq_f32(a, low); }
  static SIMD_INLINE F round(F a) { return vrndnq_f32(a); }
  static SIMD_INLINE F power(F a, F e) {
    int32x4_t bits = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(e), vdupq_n_s32(127)), 23);
    return vmulq_f32(a, vreinterpretq_f32_s32(bits));
  }
  static SIMD_INLINE F exponent(F a) {  // a = mantissa * 2^exponent, a > 0
    uint32x4_t biased = vshrq_n_u32(vreinterpretq_u32_f32(a), 23);
    return vsubq_f32(vcvtq_f32_u32(biased), vdupq_n_f32(127.0f));
  }
  static SIMD_INLINE F mantissa(F a) {
    uint32x4_t fraction = vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x007fffff));
    return vreinterpretq_f32_u32(vorrq_u32(fraction, vdupq_n_u32(0x3f800000)));
  }
  static SIMD_INLINE float sum(F a) { return vaddvq_f32(a); }
  static SIMD_INLINE float most(F a) { return vmaxvq_f32(a); }
  static SIMD_INLINE I izero() { return vdupq_n_s32(0); }
  static SIMD_INLINE I iadd(I a, I b) { return vaddq_s32(a, b); }
  static SIMD_INLINE I iload(const int32_t* p) { return vld1q_s32(p); }
  static SIMD_INLINE void istore(int32_t* p, I a) { vst1q_s32(p, a); }
  static SIMD_INLINE F to_float(I a) { return vcvtq_f32_s32(a); }
  static SIMD_INLINE X spread8(const int8_t* p) {
    int32_t four;
    memcpy(&four, p, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
  }
#if defined(__ARM_FEATURE_DOTPROD) || defined(_MSC_VER)
  static SIMD_INLINE I dot8(I a, const int8_t* w, X x) { return vdotq_s32(a, vld1q_s8(w), x); }
#endif
  static SIMD_INLINE void quantise(int8_t* p, F v) {
    v = max(min(v, set1(127.0f)), set1(-127.0f));
    int16x4_t half = vqmovn_s32(vcvtnq_s32_f32(v));
    int8x8_t bytes = vqmovn_s16(vcombine_s16(half, half));
    vst1_lane_s32((int32_t*)p, vreinterpret_s32_s8(bytes), 0);
  }
  static SIMD_INLINE void prefetch(const void* p) {
    __builtin_prefetch((const char*)p + 2048);
  }
};

}  // namespace
