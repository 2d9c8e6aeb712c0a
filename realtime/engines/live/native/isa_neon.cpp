// Compiled with the flags that kernels.py lists for it; reached only where the CPU has the instructions.
#include "simd_neon.h"
//
#include "decoder.h"
#include "encoder.h"
#include "mouth.h"

LivePart* live_encoder_neon(const LiveEncoderShape& n, const LiveEncoderWeights& w, char* memory, int64_t* bytes) {
  return place_part<Encoder<Neon>>(n, w, memory, bytes);
}
LivePart* live_decoder_neon(const LiveDecoderShape& n, const LiveDecoderWeights& w, char* memory, int64_t* bytes) {
  return place_part<Decoder<Neon>>(n, w, memory, bytes);
}
LivePart* live_mouth_neon(const LiveMouthShape& n, const LiveMouthWeights& w, char* memory, int64_t* bytes) {
  return place_part<Mouth<Neon>>(n, w, memory, bytes);
}
