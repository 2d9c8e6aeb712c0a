// Compiled with the flags that kernels.py lists for it; reached only where the CPU has the instructions.
#include "simd_avx2.h"
//
#include "decoder.h"
#include "encoder.h"
#include "mouth.h"

LivePart* live_encoder_avx2(const LiveEncoderShape& n, const LiveEncoderWeights& w, char* memory, int64_t* bytes) {
  return place_part<Encoder<Avx2>>(n, w, memory, bytes);
}
LivePart* live_decoder_avx2(const LiveDecoderShape& n, const LiveDecoderWeights& w, char* memory, int64_t* bytes) {
  return place_part<Decoder<Avx2>>(n, w, memory, bytes);
}
LivePart* live_mouth_avx2(const LiveMouthShape& n, const LiveMouthWeights& w, char* memory, int64_t* bytes) {
  return place_part<Mouth<Avx2>>(n, w, memory, bytes);
}
