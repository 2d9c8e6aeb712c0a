// Nothing but C++: four floats that a compiler may or may not put into a vector.
#pragma once
#include <math.h>

#include "simd.h"

namespace {

#define SIMD_EACH for (int i = 0; i < 4; i++)

struct Plain {
  struct F {
    float v[4];
  };
  struct I {
    int32_t v[4];
  };
  struct X {
    int16_t v[4];
  };
  static constexpr int W = 4, ACCUMULATORS = 4;
  static constexpr bool ODD_TILES = false;
  static constexpr int OFFSET = 0;
  static SIMD_INLINE F load(const float* p) { F a; memcpy(&a, p, sizeof a); return a; }
  static SIMD_INLINE void store(float* p, F a) { memcpy(p, &a, sizeof a); }
  static SIMD_INLINE F load_anywhere(const float* p) { return load(p); }
  static SIMD_INLINE F set1(float a) { return {{a, a, a, a}}; }
  static SIMD_INLINE F zero() { return set1(0.0f); }
  static SIMD_INLINE F add(F a, F b) { SIMD_EACH a.v[i] += b.v[i]; return a; }
  static SIMD_INLINE F sub(F a, F b) { SIMD_EACH a.v[i] -= b.v[i]; return a; }
  static SIMD_INLINE F mul(F a, F b) { SIMD_EACH a.v[i] *= b.v[i]; return a; }
  static SIMD_INLINE F div(F a, F b) { SIMD_EACH a.v[i] /= b.v[i]; return a; }
  static SIMD_INLINE F fma(F a, F b, F c) { SIMD_EACH a.v[i] = a.v[i] * b.v[i] + c.v[i]; return a; }
  static SIMD_INLINE F min(F a, F b) { SIMD_EACH a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i]; return a; }
  static SIMD_INLINE F max(F a, F b) { SIMD_EACH a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i]; return a; }
  static SIMD_INLINE F at_most(F a, F high) { return min(high, a); }  // not a number stays
  static SIMD_INLINE F at_least(F a, F low) { return max(low, a); }
  // adding and taking away 1.5 * 2^23 leaves the nearest whole number
  static SIMD_INLINE F round(F a) {
    SIMD_EACH { volatile float big = a.v[i] + 12582912.0f; a.v[i] = big - 12582912.0f; }
    return a;
  }
  static SIMD_INLINE F power(F a, F e) {
    SIMD_EACH {
      uint32_t bits = (uint32_t)((int32_t)e.v[i] + 127) << 23;
      float two;
      memcpy(&two, &bits, 4);
      a.v[i] *= two;
    }
    return a;
  }
  static SIMD_INLINE F exponent(F a) {  // a = mantissa * 2^exponent, a > 0
    SIMD_EACH {
      uint32_t bits;
      memcpy(&bits, &a.v[i], 4);
      a.v[i] = (float)((int32_t)(bits >> 23) - 127);
    }
    return a;
  }
  static SIMD_INLINE F mantissa(F a) {
    SIMD_EACH {
      uint32_t bits;
      memcpy(&bits, &a.v[i], 4);
      bits = (bits & 0x007fffff) | 0x3f800000;
      memcpy(&a.v[i], &bits, 4);
    }
    return a;
  }
  static SIMD_INLINE float sum(F a) { return (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]); }
  static SIMD_INLINE float most(F a) {
    float most = a.v[0];
    SIMD_EACH most = a.v[i] > most ? a.v[i] : most;
    return most;
  }
  static SIMD_INLINE I izero() { return {{0, 0, 0, 0}}; }
  static SIMD_INLINE I iadd(I a, I b) { SIMD_EACH a.v[i] += b.v[i]; return a; }
  static SIMD_INLINE I iload(const int32_t* p) { I a; memcpy(&a, p, sizeof a); return a; }
  static SIMD_INLINE void istore(int32_t* p, I a) { memcpy(p, &a, sizeof a); }
  static SIMD_INLINE F to_float(I a) { F b; SIMD_EACH b.v[i] = (float)a.v[i]; return b; }
  static SIMD_INLINE X spread8(const int8_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static SIMD_INLINE I dot8(I a, const int8_t* w, X x) {
    SIMD_EACH {
      const int8_t* row = w + 4 * i;
      a.v[i] += (row[0] * x.v[0] + row[1] * x.v[1]) + (row[2] * x.v[2] + row[3] * x.v[3]);
    }
    return a;
  }
  static SIMD_INLINE void quantise(int8_t* p, F v) {
    v = round(max(min(v, set1(127.0f)), set1(-127.0f)));
    SIMD_EACH p[i] = (int8_t)v.v[i];
  }
  static SIMD_INLINE void prefetch(const void*) {}
};

#undef SIMD_EACH

}  // namespace
