// latent and noise -> audio: a recurrent memory per pitch and a small net play oscillators and bands of noise.
#pragma once
#include <math.h>

#include "encoder.h"
#include "noise.h"
#include "oscillators.h"

namespace {

template <class S>
struct Decoder : LivePart {
  typedef typename S::F F;
  int hop, pitches, padded, per_pitch, room_channels, place_rows, inputs, hidden, features, partials, bands;
  float silent;
  const float *mask, *table, *fade;
  Matrix room, gates, remembered, candidate, shape[2], timbre, keys, hiss[3];
  float *latent, *x, *memory, *gate, *past, *wide, *shaped, *key_rows, *hiss_in, *hiss_out[2], *gains, *steps, *audio;
  Ring hiss_past;
  OscillatorBank<S> oscillators;
  NoiseBank<S> noise_bank;

  void place(const LiveDecoderShape& n, const LiveDecoderWeights& w, Arena& a, Arena& state) {
    hop = n.hop, pitches = n.pitches, padded = filled(pitches, LANES), per_pitch = n.per_pitch;
    room_channels = n.room, place_rows = n.place, hidden = n.hidden, features = n.features;
    partials = n.partials, bands = n.bands, silent = n.silent;
    inputs = per_pitch + n.place + w.room.outputs;
    mask = place_mask(pitches, padded, a);
    fade = keep(w.fade, 2 * hop, a);
    table = keep(w.table, (int64_t)filled(partials, AT_ONCE) * padded, a);
    room = keep(w.room, PANEL, a), gates = keep(w.gates, AT_ONCE, a);
    remembered = keep(w.remembered, AT_ONCE, a), candidate = keep(w.candidate, AT_ONCE, a);
    for (int i = 0; i < 2; i++) shape[i] = keep(w.shape[i], AT_ONCE, a);
    timbre = keep(w.timbre, AT_ONCE, a), keys = keep(w.keys, AT_ONCE, a);
    for (int i = 0; i < 3; i++) hiss[i] = keep(w.hiss[i], PANEL, a);
    const int64_t row = EDGE + padded + EDGE;
    latent = a.take<float>(per_pitch * pitches + room_channels);
    x = a.take<float>(inputs * padded);
    if (x) memcpy(x + per_pitch * padded, w.place, (size_t)n.place * padded * sizeof(float));
    memory = state.take<float>(filled(hidden, AT_ONCE) * padded);
    gate = a.take<float>(filled(2 * hidden, AT_ONCE) * padded);
    past = a.take<float>(filled(hidden, AT_ONCE) * padded);
    wide = a.take<float>(filled(features, AT_ONCE) * row), shaped = a.take<float>(filled(features, AT_ONCE) * padded);
    key_rows = a.take<float>(filled(keys.outputs, AT_ONCE) * padded);
    hiss_in = a.take<float>(filled(w.hiss[0].inputs, PANEL));
    for (int i = 0; i < 2; i++) hiss_out[i] = a.take<float>(filled(w.hiss[i].outputs, PANEL));
    hiss_past.place(3, w.hiss[0].outputs, state);
    gains = a.take<float>(filled(bands, PANEL)), steps = a.take<float>(padded), audio = a.take<float>(filled(hop, LANES));
    oscillators.place(n, w, fade, a, state);
    noise_bank.place(n, w, fade, a, state);
  }


  void run(int frames, const float* in, const float* noise, float* out) override {
    const int channels = per_pitch * pitches + room_channels;
    for (int f = 0; f < frames; f++) {
      for (int c = 0; c < channels; c++) latent[c] = in[(int64_t)c * frames + f];
      read();
      remember();
      play();
      whisper();
      oscillators.render(steps, audio);
      noise_bank.add(gains, noise + (int64_t)f * hop, audio);
      memcpy(out + (int64_t)f * hop, audio, (size_t)hop * sizeof(float));
    }
  }

 private:
  // exp(x), but exp(2 x) below the silent level.
  SIMD_INLINE F amplitude(F x) const {
    const F level = exponential<S>(S::at_most(x, S::set1(0.5f)));
    return S::mul(level, S::div(level, S::add(level, S::set1(silent))));
  }

  // Latent -> the net's inputs, a row of pitches each: activation and its logit, free channels; (place) ; room.
  SIMD_NOINLINE void read() {
    for (int c = 0; c < per_pitch; c++) {
      if (c != 1) memcpy(x + c * padded, latent + c * pitches, (size_t)pitches * sizeof(float));
    }
    const float* cents = latent + pitches;
    memcpy(steps, cents, (size_t)pitches * sizeof(float));
    for (int p = 0; p < padded; p += S::W) {
      const F logit = S::load(x + p), bend = S::mul(hyperbolic_tangent<S>(S::load(steps + p)), S::set1(0.6f));
      S::store(x + p, sigmoid<S>(logit)), S::store(x + padded + p, S::mul(logit, S::set1(0.1f)));
      S::store(steps + p, S::mul(bend, S::set1(64.0f)));
    }
    for (int p = 0; p < pitches; p++) {
      // where a last bit decides between two steps, the exact tangent does: a step too many stays in the phase
      const bool border = fabsf(fabsf(steps[p] - rintf(steps[p])) - 0.5f) < 1e-4f;
      steps[p] = rintf(border ? 64.0f * (0.6f * (float)tanh((double)cents[p])) : steps[p]);
    }
    float* last = x + (per_pitch + place_rows) * padded;
    panels<S>(room, latent + per_pitch * pitches, [&](int at, F v) SIMD_LAMBDA {
      float said[S::W];
      memcpy(said, &v, sizeof said);
      for (int i = 0; i < S::W && at + i < room.outputs; i++) {
        const F spread = S::set1(said[i]);
        for (int p = 0; p < padded; p += S::W) S::store(last + (at + i) * padded + p, spread);
      }
    });
  }

  // A gated recurrent unit with shared weights for every pitch (Cho et al. 2014, as PyTorch has it).
  SIMD_NOINLINE void remember() {
    const Rows given = {x, inputs, padded}, own = {memory, hidden, padded}, both[2] = {given, own};
    product<S>(gates, both, 2, padded,
               [&](int o, int p, F v) SIMD_LAMBDA { S::store(gate + o * padded + p, sigmoid<S>(v)); });
    product<S>(remembered, &own, 1, padded, [&](int o, int p, F v) SIMD_LAMBDA {
      S::store(past + o * padded + p, S::mul(v, S::load(gate + o * padded + p)));
    });
    const float* update = gate + hidden * padded;
    product<S>(candidate, &given, 1, padded, [&](int o, int p, F v) SIMD_LAMBDA {
      const int at = o * padded + p;
      const F fresh = hyperbolic_tangent<S>(S::add(v, S::load(past + at)));
      if (o < hidden) S::store(memory + at, S::fma(S::load(update + at), S::sub(S::load(memory + at), fresh), fresh));
    });
  }

  // Memory -> features -> amplitude of every partial, and four numbers a pitch for the noise.
  SIMD_NOINLINE void play() {
    const int64_t row = EDGE + padded + EDGE;
    const Rows both[2] = {{memory, hidden, padded}, {x, inputs, padded}};
    product<S>(shape[0], both, 2, padded, [&](int o, int p, F v) SIMD_LAMBDA {
      S::store(wide + o * row + EDGE + p, S::mul(S::at_least(v, S::zero()), S::load(mask + p)));
    });
    const float* centre = wide + EDGE;
    const Rows taps[3] = {{centre - 1, features, row}, {centre, features, row}, {centre + 1, features, row}};
    product<S>(shape[1], taps, 3, padded, [&](int o, int p, F v) SIMD_LAMBDA {
      S::store(shaped + o * padded + p, S::at_least(v, S::zero()));
    });
    const Rows feature = {shaped, features, padded};
    float* to = oscillators.amplitude();
    product<S>(timbre, &feature, 1, padded, [&](int o, int p, F v) SIMD_LAMBDA {
      const int at = o * padded + p;
      S::store(to + at, amplitude(S::add(v, S::load(table + at))));
    });
    product<S>(keys, &feature, 1, padded,
               [&](int o, int p, F v) SIMD_LAMBDA { S::store(key_rows + o * padded + p, v); });
  }

  // -> gain of every band of noise.
  SIMD_NOINLINE void whisper() {
    for (int k = 0; k < keys.outputs; k++)
      memcpy(hiss_in + k * pitches, key_rows + k * padded, (size_t)pitches * sizeof(float));
    memcpy(hiss_in + keys.outputs * pitches, latent + per_pitch * pitches, (size_t)room_channels * sizeof(float));
    panels<S>(hiss[0], hiss_in, [&](int at, F v) SIMD_LAMBDA { S::store(hiss_out[0] + at, S::at_least(v, S::zero())); });
    hiss_past.push(hiss_out[0]);
    panels<S>(hiss[1], hiss_past.last(hiss[1].inputs),
              [&](int at, F v) SIMD_LAMBDA { S::store(hiss_out[1] + at, S::at_least(v, S::zero())); });
    panels<S>(hiss[2], hiss_out[1],
              [&](int at, F v) SIMD_LAMBDA { S::store(gains + at, amplitude(S::sub(v, S::set1(8.0f)))); });
  }
};

}  // namespace
