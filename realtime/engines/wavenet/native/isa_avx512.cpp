// Compiled with the flags that build.py lists for it; reached only where the CPU has the instructions.
#include "simd_avx512.h"
//
#include "loop.h"

WnDecoder* wn_place_avx512_fp32(const WnShape& n, const WnWeights* w, const WnSteps* s, char* m, int64_t* b) {
  return place<Avx512, Fp32<Avx512>>(n, w, s, m, b);
}
WnDecoder* wn_place_avx512_int8(const WnShape& n, const WnWeights* w, const WnSteps* s, char* m, int64_t* b) {
  return place<Avx512, Int8<Avx512>>(n, w, s, m, b);
}
