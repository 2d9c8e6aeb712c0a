// Compiled with the flags that build.py lists for it; reached only where the CPU has the instructions.
#define SIMD_HAS_AVXVNNI
#include "simd_avx2.h"
//
#include "loop.h"

WnDecoder* wn_place_avxvnni_fp32(const WnShape& n, const WnWeights* w, const WnSteps* s, char* m, int64_t* b) {
  return place<Avx2, Fp32<Avx2>>(n, w, s, m, b);
}
WnDecoder* wn_place_avxvnni_int8(const WnShape& n, const WnWeights* w, const WnSteps* s, char* m, int64_t* b) {
  return place<Avx2, Int8<Avx2>>(n, w, s, m, b);
}
