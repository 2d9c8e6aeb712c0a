// The C interface: picks the path, owns the memory, switches denormal numbers off around a run.
#include "cpu.h"
#include "denormals.h"
#include "memory.h"
#include "part.h"

namespace {

struct Path {
  LivePlaceEncoder encoder;
  LivePlaceDecoder decoder;
  LivePlaceMouth mouth;
};

#define LIVE_PATH(isa) {live_encoder_##isa, live_decoder_##isa, live_mouth_##isa}

Path find(int isa) {
  if (isa == LIVE_PLAIN) return LIVE_PATH(plain);
#if defined(CPU_X86) && !defined(WITHOUT_AVX2)
  if (isa == LIVE_AVX2 && cpu_avx2()) return LIVE_PATH(avx2);
#endif
#if defined(CPU_X86) && !defined(WITHOUT_AVX512)
  if (isa == LIVE_AVX512 && cpu_avx512()) return LIVE_PATH(avx512);
#endif
#if defined(CPU_ARM) && !defined(WITHOUT_NEON)
  if (isa == LIVE_NEON) return LIVE_PATH(neon);
#endif
  return {nullptr, nullptr, nullptr};
}

template <class Place, class Shape, class Weights>
void* make(Place place, const Shape& shape, const Weights& weights) {
  if (!place) return nullptr;
  int64_t bytes = 0;
  place(shape, weights, nullptr, &bytes);
  char* memory = (char*)allocate(bytes);
  return memory ? place(shape, weights, memory, &bytes) : nullptr;
}

LivePart* as_part(void* p) { return (LivePart*)p; }

}  // namespace

LIVE_EXPORT int32_t live_abi(void) { return 2; }

LIVE_EXPORT int32_t live_supports(int32_t isa) { return find(isa).encoder != nullptr; }

LIVE_EXPORT void* live_encoder(const LiveEncoderShape* shape, const LiveEncoderWeights* weights, int32_t isa) {
  return make(find(isa).encoder, *shape, *weights);
}

LIVE_EXPORT void* live_decoder(const LiveDecoderShape* shape, const LiveDecoderWeights* weights, int32_t isa) {
  return make(find(isa).decoder, *shape, *weights);
}

LIVE_EXPORT void* live_mouth(const LiveMouthShape* shape, const LiveMouthWeights* weights, int32_t isa) {
  return make(find(isa).mouth, *shape, *weights);
}

// a part lies at the beginning of its memory, and owns nothing else
LIVE_EXPORT void live_free(void* part) { release(part); }

LIVE_EXPORT void live_reset(void* part) {
  memset(as_part(part)->state, 0, (size_t)as_part(part)->state_bytes);
}

LIVE_EXPORT void live_run(void* part, int32_t frames, const float* in, const float* noise, float* out) {
  NoDenormals guard;
  as_part(part)->run(frames, in, noise, out);
}

LIVE_EXPORT int64_t live_bytes(void* part) { return as_part(part)->bytes; }

LIVE_EXPORT void* live_state(void* part) { return as_part(part)->state; }

LIVE_EXPORT int64_t live_state_bytes(void* part) { return as_part(part)->state_bytes; }
