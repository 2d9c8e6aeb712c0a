// Compiled with the flags that build.py lists for it; reached only where the CPU has the instructions.
#include "simd_neon.h"
//
#include "loop.h"

WnDecoder* wn_place_neon_fp32(const WnShape& n, const WnWeights* w, const WnSteps* s, char* m, int64_t* b) {
  return place<Neon, Fp32<Neon>>(n, w, s, m, b);
}
WnDecoder* wn_place_neon_int8(const WnShape& n, const WnWeights* w, const WnSteps* s, char* m, int64_t* b) {
  return place<Neon, Int8<Neon>>(n, w, s, m, b);
}
