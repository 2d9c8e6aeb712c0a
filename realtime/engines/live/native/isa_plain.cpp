// Compiled with the flags that kernels.py lists for it; reached only where the CPU has the instructions.
#include "simd_plain.h"
//
#include "decoder.h"
#include "encoder.h"
#include "mouth.h"

LivePart* live_encoder_plain(const LiveEncoderShape& n, const LiveEncoderWeights& w, char* memory, int64_t* bytes) {
  return place_part<Encoder<Plain>>(n, w, memory, bytes);
}
LivePart* live_decoder_plain(const LiveDecoderShape& n, const LiveDecoderWeights& w, char* memory, int64_t* bytes) {
  return place_part<Decoder<Plain>>(n, w, memory, bytes);
}
LivePart* live_mouth_plain(const LiveMouthShape& n, const LiveMouthWeights& w, char* memory, int64_t* bytes) {
  return place_part<Mouth<Plain>>(n, w, memory, bytes);
}
