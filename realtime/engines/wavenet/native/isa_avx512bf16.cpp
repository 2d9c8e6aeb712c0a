// Compiled with the flags that build.py lists for it; reached only where the CPU has the instructions.
#define SIMD_HAS_BF16
#include "simd_avx512.h"
//
#include "loop.h"

WnDecoder* wn_place_avx512_bf16(const WnShape& n, const WnWeights* w, const WnSteps* s, char* m, int64_t* b) {
  return place<Avx512, Bf16<Avx512>>(n, w, s, m, b);
}
