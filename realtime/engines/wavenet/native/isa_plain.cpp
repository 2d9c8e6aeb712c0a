// Compiled with the flags that build.py lists for it; reached only where the CPU has the instructions.
#include "simd_plain.h"
//
#include "loop.h"

WnDecoder* wn_place_plain_fp32(const WnShape& n, const WnWeights* w, const WnSteps* s, char* m, int64_t* b) {
  return place<Plain, Fp32<Plain>>(n, w, s, m, b);
}
WnDecoder* wn_place_plain_int8(const WnShape& n, const WnWeights* w, const WnSteps* s, char* m, int64_t* b) {
  return place<Plain, Int8<Plain>>(n, w, s, m, b);
}
