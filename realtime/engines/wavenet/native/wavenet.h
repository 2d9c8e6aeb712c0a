// The WaveNet decoder's sample loop: one mu-law sample after the other, for any size.
//
// Threading model: a decoder belongs to one thread at a time, and takes no lock. Everything is allocated by
// wn_create; wn_condition, wn_run, wn_decode, wn_reset, wn_save and wn_load neither allocate nor call the system.
// The C interface is called from Python through ctypes, which lets go of the interpreter's lock meanwhile.
#pragma once
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define WN_EXPORT extern "C" __declspec(dllexport)
#else
#define WN_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// dilations: `layers` powers of two, the first of them 1. guided: the first layer's input is the sum of two
// embeddings, of the class before and of a guide's class at the sample that is drawn.
struct WnShape {
  int32_t layers, residual, skip, classes, latent, hop, streams, guided;
  const int32_t* dilations;
};

// PyTorch's layouts, row-major, one after the other:
// embed [A][R] (guided: [2A][R], the guide's last), condition weight [L*2R+S][D] and bias, per layer dilated
// [2R][R][2] (the past tap first), output weight [S+R or, in the last layer, S][R] and bias (skip rows first),
// head [S][S] and bias, classify [A][S] and bias, the audio value of each class [A], and of a guided decoder the class
// that is kept of each pair [A of the guide][A drawn], which lies in 0 .. A - 1.
struct WnWeights {
  const float *embed, *condition, *condition_bias;
  const float* const* dilated;
  const float* const* output;
  const float* const* output_bias;
  const float *head, *head_bias, *classify, *classify_bias, *audio;
  const int32_t* leaned;
};

// int8 only: what one step of an activation's scale is worth. input, gated: [L][R]; head, classify: [S].
struct WnSteps {
  const float *input, *gated, *head, *classify;
};

enum WnPrecision { WN_FP32 = 0, WN_BF16 = 1, WN_INT8 = 2 };
enum WnIsa { WN_PLAIN = 0, WN_AVX2 = 1, WN_AVXVNNI = 2, WN_AVX512 = 3, WN_NEON = 4 };

WN_EXPORT int32_t wn_abi(void);
// 1 where this build holds that path and this CPU has its instructions.
WN_EXPORT int32_t wn_supports(int32_t isa, int32_t precision);
// Null, where the path is missing or memory is short. Nothing given is kept.
WN_EXPORT void* wn_create(const WnShape*, const WnWeights*, const WnSteps*, int32_t isa, int32_t precision);
WN_EXPORT void wn_free(void* decoder);
// stream < 0: all of them.
WN_EXPORT void wn_reset(void* decoder, int32_t stream);
// One latent frame for one stream: D values, `stride` floats apart. Holds until the next.
WN_EXPORT void wn_condition(void* decoder, int32_t stream, const float* latent, int64_t stride);
// `count` samples of every stream. noise, audio [streams][count]; temperature [streams].
// May be null: forced [streams][count] (the class that is taken for drawn), classes, logits [..][count][A].
// guide [streams][count]: only a guided decoder reads it.
WN_EXPORT void wn_run(void* decoder, int32_t count, const float* noise, const float* temperature,
                      const int32_t* forced, const int32_t* guide, float* audio, int32_t* classes, float* logits);
// latent [streams][D][frames], noise, guide and audio [streams][frames * hop].
WN_EXPORT void wn_decode(void* decoder, int32_t frames, const float* latent, const float* noise,
                         const float* temperature, const int32_t* guide, float* audio);
// Everything that a decoder remembers between two calls, of all streams, without an address: it may go on in
// another decoder of the same shape, instruction set and precision. 0: that is no state; now it is as after a reset.
WN_EXPORT int64_t wn_state_bytes(void* decoder);
WN_EXPORT void wn_save(void* decoder, char* state);
WN_EXPORT int32_t wn_load(void* decoder, const char* state);
// fp32 only: from now on the largest magnitudes are gathered, input and gated [L][R], head and classify [S].
WN_EXPORT void wn_record(void* decoder, float* maxima);
WN_EXPORT int64_t wn_bytes(void* decoder);
// A second core for this decoder, with a thread of its own bound to `cpu` (< 0: anywhere). 0: not to be had.
WN_EXPORT int32_t wn_pair(void* decoder, int32_t cpu);
// How often the second core was late and the first went on alone.
WN_EXPORT int64_t wn_stalls(void* decoder);
// How many samples both cores have made together.
WN_EXPORT int64_t wn_shared(void* decoder);
