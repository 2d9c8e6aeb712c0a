// The C interface: picks the path, owns the memory, switches denormal numbers off around the loop.
#include "cpu.h"
#include "decoder.h"
#include "denormals.h"
#include "helper.h"
#include "memory.h"

namespace {

WnPlace find(int isa, int precision) {
  const bool quantised = precision == WN_INT8;
  if (precision < WN_FP32 || precision > WN_INT8) return nullptr;
#if defined(CPU_X86) && !defined(WITHOUT_AVX512BF16)
  if (isa == WN_AVX512 && precision == WN_BF16 && cpu_avx512bf16()) return wn_place_avx512_bf16;
#endif
  if (precision == WN_BF16) return nullptr;
  if (isa == WN_PLAIN) return quantised ? wn_place_plain_int8 : wn_place_plain_fp32;
#if defined(CPU_X86) && !defined(WITHOUT_AVX2)
  if (isa == WN_AVX2 && cpu_avx2()) return quantised ? wn_place_avx2_int8 : wn_place_avx2_fp32;
#endif
#if defined(CPU_X86) && !defined(WITHOUT_AVXVNNI)
  if (isa == WN_AVXVNNI && cpu_avxvnni()) return quantised ? wn_place_avxvnni_int8 : wn_place_avxvnni_fp32;
#endif
#if defined(CPU_X86) && !defined(WITHOUT_AVX512)
  if (isa == WN_AVX512 && cpu_avx512vnni()) return quantised ? wn_place_avx512_int8 : wn_place_avx512_fp32;
#endif
#if defined(CPU_ARM) && !defined(WITHOUT_NEON)
  if (isa == WN_NEON && cpu_neon_dot()) return quantised ? wn_place_neon_int8 : wn_place_neon_fp32;
#endif
  return nullptr;
}

WnDecoder* as_decoder(void* p) { return (WnDecoder*)p; }

// Denormal numbers off, the second core called, for as long as it lives.
struct Block {
  NoDenormals guard;
  WnDecoder* decoder;
  explicit Block(WnDecoder* d) : decoder(d) { wn_helper_enter(d); }
  ~Block() { wn_helper_leave(decoder); }
};

}  // namespace

WN_EXPORT int32_t wn_abi(void) { return 4; }

WN_EXPORT int32_t wn_supports(int32_t isa, int32_t precision) { return find(isa, precision) != nullptr; }

WN_EXPORT void* wn_create(const WnShape* shape, const WnWeights* weights, const WnSteps* steps, int32_t isa,
                          int32_t precision) {
  WnPlace place = find(isa, precision);
  if (!place) return nullptr;
  int64_t bytes = 0;
  place(*shape, weights, steps, nullptr, &bytes);
  char* memory = (char*)allocate(bytes);
  return memory ? place(*shape, weights, steps, memory, &bytes) : nullptr;
}

// the decoder lies at the beginning of its memory, and owns nothing else
WN_EXPORT void wn_free(void* decoder) {
  wn_helper_stop(as_decoder(decoder));
  release(decoder);
}

WN_EXPORT int32_t wn_pair(void* decoder, int32_t cpu) { return wn_helper_start(as_decoder(decoder), cpu); }

#if defined(WN_PAIRS)
WN_EXPORT int64_t wn_stalls(void* decoder) { return as_decoder(decoder)->pair.stalls; }
WN_EXPORT int64_t wn_shared(void* decoder) { return as_decoder(decoder)->pair.sequence; }
#else
WN_EXPORT int64_t wn_stalls(void*) { return 0; }
WN_EXPORT int64_t wn_shared(void*) { return 0; }
#endif

WN_EXPORT void wn_reset(void* decoder, int32_t stream) { as_decoder(decoder)->reset(stream); }

WN_EXPORT void wn_condition(void* decoder, int32_t stream, const float* latent, int64_t stride) {
  NoDenormals guard;
  as_decoder(decoder)->condition(stream, latent, stride);
}

WN_EXPORT void wn_run(void* decoder, int32_t count, const float* noise, const float* temperature,
                      const int32_t* forced, const int32_t* guide, float* audio, int32_t* classes, float* logits) {
  Block block(as_decoder(decoder));
  as_decoder(decoder)->run(count, count, noise, temperature, forced, guide, audio, classes, logits);
}

WN_EXPORT void wn_decode(void* decoder, int32_t frames, const float* latent, const float* noise,
                         const float* temperature, const int32_t* guide, float* audio) {
  WnDecoder* d = as_decoder(decoder);
  Block block(d);
  const int64_t hop = d->shape.hop, row = frames * hop;
  for (int f = 0; f < frames; f++) {
    for (int b = 0; b < d->shape.streams; b++)
      d->condition(b, latent + (int64_t)b * d->shape.latent * frames + f, frames);
    const int32_t* hints = guide ? guide + f * hop : nullptr;
    d->run((int)hop, row, noise + f * hop, temperature, nullptr, hints, audio + f * hop, nullptr, nullptr);
  }
}

WN_EXPORT int64_t wn_state_bytes(void* decoder) { return as_decoder(decoder)->save(nullptr); }

WN_EXPORT void wn_save(void* decoder, char* state) { as_decoder(decoder)->save(state); }

WN_EXPORT int32_t wn_load(void* decoder, const char* state) { return as_decoder(decoder)->load(state); }

WN_EXPORT void wn_record(void* decoder, float* maxima) { as_decoder(decoder)->record(maxima); }

WN_EXPORT int64_t wn_bytes(void* decoder) { return as_decoder(decoder)->bytes; }
