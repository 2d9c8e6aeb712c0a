// A `live` model's encoder and decoders, and what stands between that encoder and WaveNet decoders: one network step
// per hop, for any size.
//
// Threading model: a part belongs to one thread at a time, and takes no lock. Everything is allocated when it is
// made; live_run and live_reset neither allocate nor call the system. The C interface is called from Python
// through ctypes, which lets go of the interpreter's lock meanwhile.
//
// Legend: P pitch (padded to Pp, a multiple of 16), C channel, H partial, M noise band. Matrices come packed:
//   rows    [outputs / 4][inputs][4]: for products with a row of pitches for every input (product.h)
//   panels  [outputs / 32][inputs][32]: for products with one number for every input
// with outputs filled up by zeros. weights.py packs them.
#pragma once
#include <stdint.h>

#if defined(_WIN32)
#define LIVE_EXPORT extern "C" __declspec(dllexport)
#else
#define LIVE_EXPORT extern "C" __attribute__((visibility("default")))
#endif

struct LiveMatrix {
  int32_t inputs, outputs;
  const float* weights;
  const float* bias;  // [outputs, filled up], or null
};

// A part of the analysis that many bins share: `rank` numbers for the last `span` samples, once a hop.
// The last `blocks` of those that lie a span apart are kept. basis: panels, span -> rank.
struct LiveSource {
  int32_t span, blocks;
  LiveMatrix basis;
};

// 16 neighbouring bins, as 16 real and 16 imaginary parts, read from a source, or with -1 from the audio itself.
struct LiveBins {
  int32_t source;
  LiveMatrix kernel;
};

struct LiveEncoderShape {
  int32_t hop, longest, pitches, semitones, channels, per_pitch, room;
  int32_t sources, fine, quick, harmonics, layers;  // fine, quick: how many LiveBins, fine ones first
  float outside;                                    // what lies beyond the spectrum's ends
  const int32_t *shifts, *dilations;                // [harmonics] bins, [layers] frames
  const LiveSource* source;
  const LiveBins* bins;
};

// Per layer: time (rows, 3 frames oldest first, -> C), depthwise over 25 pitches [C][25] with its bias, two
// products over channels. entry: rows, [2 frames][7 pitches][2 * harmonics] -> C. room: three panels.
struct LiveLayer {
  LiveMatrix time, octave, first, second;
};
struct LiveEncoderWeights {
  LiveMatrix entry, head, room[3];
  const LiveLayer* layers;
};

struct LiveDecoderShape {
  int32_t hop, pitches, per_pitch, room, place, hidden, features, partials, bands, taps, voices, sounding, unison;
  float silent;        // amplitudes below vanish quadratically
  int32_t bend_steps;  // entries of `bends` on each side of 0
};

// Rows: gates (reset, update), candidate of the memory's own past, candidate of the input, shape[2], timbre, keys.
// Panels: room, hiss[3]. place [place][Pp], table [H][Pp] and audible [H][Pp]; per pitch: f0, partials that sound,
// and for each partial and string (string fastest) multiples and offsets [P][n]; strings [U]; bends [2 * steps + 1];
// filters [M][taps padded to 16]; fade [2][hop].
struct LiveDecoderWeights {
  LiveMatrix room, gates, remembered, candidate, shape[2], timbre, keys, hiss[3];
  const float *place, *table, *audible, *strings, *filters, *fade;
  const double *f0, *multiples, *offsets, *bends;
  const int32_t* heard;
};

// Between the encoder of such a model and WaveNet decoders (umtn.model.pitch_encoder); channels = entry.outputs.
struct LiveMouthShape {
  int32_t pitches, per_pitch, room, layers;
  const int32_t* dilations;  // [layers] frames
};

// All panels: entry, leave; for each layer `time` (3 frames, oldest first) and `point`.
struct LiveMouthWeights {
  LiveMatrix entry, leave;
  const LiveMatrix *time, *point;
};

enum LiveIsa { LIVE_PLAIN = 0, LIVE_AVX2 = 1, LIVE_AVX512 = 2, LIVE_NEON = 3 };

LIVE_EXPORT int32_t live_abi(void);
// 1 where this build holds that path and this CPU has its instructions.
LIVE_EXPORT int32_t live_supports(int32_t isa);
// Null, where the path is missing or memory is short. Nothing given is kept.
LIVE_EXPORT void* live_encoder(const LiveEncoderShape*, const LiveEncoderWeights*, int32_t isa);
LIVE_EXPORT void* live_decoder(const LiveDecoderShape*, const LiveDecoderWeights*, int32_t isa);
LIVE_EXPORT void* live_mouth(const LiveMouthShape*, const LiveMouthWeights*, int32_t isa);
LIVE_EXPORT void live_free(void* part);
LIVE_EXPORT void live_reset(void* part);
// Encoder: in audio [frames * hop] -> out latent [D][frames]; noise is not read. Decoder: in latent, noise
// [frames * hop] uniform in [0, 1) -> out audio [frames * hop]. Mouth: in latent, out another; noise is not read.
LIVE_EXPORT void live_run(void* part, int32_t frames, const float* in, const float* noise, float* out);
LIVE_EXPORT int64_t live_bytes(void* part);
// All that the part remembers: may be copied away between runs, and back, also into a part of another process.
LIVE_EXPORT void* live_state(void* part);
LIVE_EXPORT int64_t live_state_bytes(void* part);
