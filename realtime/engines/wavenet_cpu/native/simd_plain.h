// Nothing but C++: four floats that a compiler may or may not put into a vector.
#pragma once
#include <math.h>

#include "simd.h"

namespace {

#define WN_EACH for (int i = 0; i < 4; i++)

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
  static WN_INLINE F load(const float* p) { F a; memcpy(&a, p, sizeof a); return a; }
  static WN_INLINE void store(float* p, F a) { memcpy(p, &a, sizeof a); }
  static WN_INLINE F set1(float a) { return {{a, a, a, a}}; }
  static WN_INLINE F zero() { return set1(0.0f); }
  static WN_INLINE F add(F a, F b) { WN_EACH a.v[i] += b.v[i]; return a; }
  static WN_INLINE F sub(F a, F b) { WN_EACH a.v[i] -= b.v[i]; return a; }
  static WN_INLINE F mul(F a, F b) { WN_EACH a.v[i] *= b.v[i]; return a; }
  static WN_INLINE F div(F a, F b) { WN_EACH a.v[i] /= b.v[i]; return a; }
  static WN_INLINE F fma(F a, F b, F c) { WN_EACH a.v[i] = a.v[i] * b.v[i] + c.v[i]; return a; }
  static WN_INLINE F min(F a, F b) { WN_EACH a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i]; return a; }
  static WN_INLINE F max(F a, F b) { WN_EACH a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i]; return a; }
  // adding and taking away 1.5 * 2^23 leaves the nearest whole number
  static WN_INLINE F round(F a) {
    WN_EACH { volatile float big = a.v[i] + 12582912.0f; a.v[i] = big - 12582912.0f; }
    return a;
  }
  static WN_INLINE F power(F a, F e) {
    WN_EACH {
      uint32_t bits = (uint32_t)((int32_t)e.v[i] + 127) << 23;
      float two;
      memcpy(&two, &bits, 4);
      a.v[i] *= two;
    }
    return a;
  }
  static WN_INLINE float sum(F a) { return (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]); }
  static WN_INLINE float most(F a) {
    float most = a.v[0];
    WN_EACH most = a.v[i] > most ? a.v[i] : most;
    return most;
  }
  static WN_INLINE I izero() { return {{0, 0, 0, 0}}; }
  static WN_INLINE I iadd(I a, I b) { WN_EACH a.v[i] += b.v[i]; return a; }
  static WN_INLINE I iload(const int32_t* p) { I a; memcpy(&a, p, sizeof a); return a; }
  static WN_INLINE void istore(int32_t* p, I a) { memcpy(p, &a, sizeof a); }
  static WN_INLINE F to_float(I a) { F b; WN_EACH b.v[i] = (float)a.v[i]; return b; }
  static WN_INLINE X spread8(const int8_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static WN_INLINE I dot8(I a, const int8_t* w, X x) {
    WN_EACH {
      const int8_t* row = w + 4 * i;
      a.v[i] += (row[0] * x.v[0] + row[1] * x.v[1]) + (row[2] * x.v[2] + row[3] * x.v[3]);
    }
    return a;
  }
  static WN_INLINE void quantise(int8_t* p, F v) {
    v = round(max(min(v, set1(127.0f)), set1(-127.0f)));
    WN_EACH p[i] = (int8_t)v.v[i];
  }
  static WN_INLINE void prefetch(const void*) {}
};

#undef WN_EACH

}  // namespace
