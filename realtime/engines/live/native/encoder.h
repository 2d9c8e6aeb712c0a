// audio -> latent: spectrum, harmonics stacked, residual convolutions over pitch and time; what belongs to no pitch.
//
// Every convolution is a product over rows of pitches that lie somewhere already: taps in time are older frames of
// a ring, taps in pitch the same rows read beside their place, in frames with zeros at both ends:
//
//   EDGE zeros | pitches 0 .. P-1 | zeros up to a multiple of 16 | EDGE zeros
#pragma once
#include "spectrum.h"

namespace {

constexpr int EDGE = 16, OCTAVE = 25, ENTRY = 7;  // taps over pitch

// The pitches of a padded row that are real: 1; the others: 0.
SIMD_INLINE float* place_mask(int pitches, int padded, Arena& a) {
  float* mask = a.take<float>(padded);
  for (int p = 0; mask && p < pitches; p++) mask[p] = 1.0f;
  return mask;
}

// x + second(relu(first(octave(relu(time(x)))))); its past frames are a ring of slots.
template <class S>
struct ResidualLayer {
  int channels, pitches, padded, dilation, slots, *now;
  Matrix time, first, second;
  const float *octave, *octave_bias, *mask;
  float *frames, *wide, *field;

  void place(const LiveLayer& w, int dilated, int c, int p, const float* real, float* scratch[2], Arena& a,
             Arena& state) {
    channels = filled(c, AT_ONCE), pitches = p, padded = filled(p, LANES), dilation = dilated;
    slots = 2 * dilated + 1, mask = real;
    wide = scratch[0], field = scratch[1];
    time = keep(w.time, AT_ONCE, a), first = keep(w.first, AT_ONCE, a), second = keep(w.second, AT_ONCE, a);
    octave = keep(w.octave.weights, (int64_t)w.octave.outputs * OCTAVE, a);
    octave_bias = keep(w.octave.bias, w.octave.outputs, a);
    now = state.take<int>(1);
    frames = state.take<float>((int64_t)slots * channels * padded);
  }
  SIMD_INLINE float* frame(int back) {
    const int slot = *now >= back ? *now - back : *now - back + slots;
    return frames + (int64_t)slot * channels * padded;
  }
  // Where the layer before puts this frame's input.
  SIMD_INLINE float* input() { return frame(0); }

  SIMD_NOINLINE void step(float* out) {
    typedef typename S::F F;
    const int c = time.outputs, row = EDGE + padded + EDGE;
    const Rows past[3] = {{frame(2 * dilation), c, padded}, {frame(dilation), c, padded}, {frame(0), c, padded}};
    const Rows here = {field, c, padded};
    const float* x = frame(0);
    product<S>(time, past, 3, padded, [&](int o, int p, F v) SIMD_LAMBDA {
      S::store(wide + (int64_t)o * row + EDGE + p, S::mul(S::at_least(v, S::zero()), S::load(mask + p)));
    });
    for (int o = 0; o < c; o++) {
      for (int p = 0; p < padded; p += LANES) {
        constexpr int V = LANES / S::W;
        const float* from = wide + (int64_t)o * row + EDGE - OCTAVE / 2 + p;
        F acc[V];
        for (int v = 0; v < V; v++) acc[v] = S::set1(octave_bias[o]);
        for (int k = 0; k < OCTAVE; k++) {
          const F tap = S::set1(octave[o * OCTAVE + k]);
          for (int v = 0; v < V; v++) acc[v] = S::fma(tap, S::load_anywhere(from + k + v * S::W), acc[v]);
        }
        for (int v = 0; v < V; v++) S::store(field + (int64_t)o * padded + p + v * S::W, acc[v]);
      }
    }
    float* between = wide + (int64_t)channels * row;
    product<S>(first, &here, 1, padded, [&](int o, int p, F v) SIMD_LAMBDA {
      S::store(between + (int64_t)o * padded + p, S::at_least(v, S::zero()));
    });
    const Rows rectified = {between, c, padded};
    product<S>(second, &rectified, 1, padded, [&](int o, int p, F v) SIMD_LAMBDA {
      const int64_t at = (int64_t)o * padded + p;
      S::store(out + at, S::add(v, S::load(x + at)));
    });
    *now = *now + 1 < slots ? *now + 1 : 0;
  }
};

template <class S>
struct Encoder : LivePart {
  int hop, pitches, padded, semitones, channels, per_pitch, room_channels, harmonics, layer_count, quick_at, *newest;
  int planes_row, planes_edge;
  const int* shifts;
  const float* mask;
  Spectrum<S> spectrum;
  float *power, *planes, *stacks[2], *field, *notes, *hidden, *room_out;
  Matrix entry, head, room[3];
  Ring room_past;
  ResidualLayer<S>* layers;

  void place(const LiveEncoderShape& n, const LiveEncoderWeights& w, Arena& a, Arena& state) {
    hop = n.hop, pitches = n.pitches, padded = filled(pitches, LANES), semitones = n.semitones;
    channels = filled(n.channels, AT_ONCE), per_pitch = n.per_pitch, room_channels = n.room;
    harmonics = n.harmonics, layer_count = n.layers, quick_at = n.fine * LANES;
    spectrum.place(n, a, state);
    power = a.take<float>((n.fine + n.quick) * LANES);
    place_stack(n, a, state);
    mask = place_mask(pitches, padded, a);
    entry = keep(w.entry, AT_ONCE, a);
    const int64_t row = EDGE + padded + EDGE;
    float* scratch[2] = {a.take<float>(channels * (row + padded)), a.take<float>((int64_t)channels * padded)};
    layers = a.take<ResidualLayer<S>>(layer_count);
    for (int l = 0; l < layer_count; l++) {
      ResidualLayer<S> unused, &layer = layers ? layers[l] : unused;
      layer.place(w.layers[l], n.dilations[l], n.channels, pitches, mask, scratch, a, state);
    }
    field = a.take<float>((int64_t)channels * padded);
    head = keep(w.head, AT_ONCE, a);
    notes = a.take<float>((int64_t)filled(per_pitch, AT_ONCE) * padded);
    for (int i = 0; i < 3; i++) room[i] = keep(w.room[i], PANEL, a);
    room_past.place(3, room[0].outputs, state);
    hidden = a.take<float>(filled(room[0].outputs, PANEL) + filled(room[1].outputs, PANEL));
    room_out = a.take<float>(filled(room_channels, PANEL));
  }

  // Three planes of fine bins, one to each third of a semitone, and one of quick bins; their ends are `outside`.
  void place_stack(const LiveEncoderShape& n, Arena& a, Arena& state) {
    int below = 0, above = 0;
    int* kept = a.take<int>(harmonics);
    for (int h = 0; h < harmonics; h++) {
      below = n.shifts[h] < -below ? -n.shifts[h] : below, above = n.shifts[h] > above ? n.shifts[h] : above;
      if (kept) kept[h] = n.shifts[h];
    }
    shifts = kept;
    planes_edge = below / 3 + 1;
    const int reach = pitches + above / 3 + 2;
    planes_row = planes_edge + (reach > semitones ? reach : semitones);
    planes = a.take<float>(4 * planes_row);
    for (int i = 0; planes && i < 4 * planes_row; i++) planes[i] = n.outside;
    newest = state.take<int>(1);
    for (float*& stack : stacks) stack = state.take<float>((int64_t)2 * harmonics * 3 * (EDGE + padded + EDGE));
  }


  void run(int frames, const float* audio, const float*, float* latent) override {
    for (int f = 0; f < frames; f++) {
      spectrum.step(audio + (int64_t)f * hop, power);
      stack();
      body();
      say_room();
      float* out = latent + f;
      for (int c = 0; c < per_pitch; c++)
        for (int p = 0; p < pitches; p++, out += frames) *out = notes[c * padded + p];
      for (int c = 0; c < room_channels; c++, out += frames) *out = room_out[c];
    }
  }

  // Bin 3 p + third + shift of every harmonic -> rows [2 harmonics][3 thirds][EDGE + padded + EDGE].
  SIMD_NOINLINE void stack() {
    for (int i = 0; i < semitones; i++) {
      for (int third = 0; third < 3; third++) planes[third * planes_row + planes_edge + i] = power[3 * i + third];
      planes[3 * planes_row + planes_edge + i] = power[quick_at + i];
    }
    *newest ^= 1;
    float* to = stacks[*newest] + EDGE;
    for (int h = 0; h < harmonics; h++) {
      for (int quick = 0; quick < 2; quick++) {
        for (int third = 0; third < 3; third++, to += EDGE + padded + EDGE) {
          const int bin = third + shifts[h] + 3 * planes_edge;  // never below 0
          const float* plane = planes + (quick ? 3 : bin % 3) * planes_row + bin / 3;
          memcpy(to, plane, (size_t)pitches * sizeof(float));
        }
      }
    }
  }

  SIMD_NOINLINE void body() {
    typedef typename S::F F;
    const int64_t row = EDGE + padded + EDGE;
    Rows taps[2 * ENTRY];
    for (int age = 0; age < 2; age++) {
      for (int k = 0; k < ENTRY; k++) {
        const int bin = k - ENTRY / 2 + 3, plane = bin % 3, pitch = bin / 3 - 1;
        const float* stack = stacks[age ? *newest : *newest ^ 1];
        taps[age * ENTRY + k] = {stack + plane * row + EDGE + pitch, 2 * harmonics, 3 * row};
      }
    }
    float* out = layer_count ? layers[0].input() : field;
    product<S>(entry, taps, 2 * ENTRY, padded, [&](int o, int p, F v) SIMD_LAMBDA {
      S::store(out + (int64_t)o * padded + p, S::at_least(v, S::zero()));
    });
    for (int l = 0; l < layer_count; l++) layers[l].step(l + 1 < layer_count ? layers[l + 1].input() : field);
    const Rows last = {field, head.inputs, padded};
    product<S>(head, &last, 1, padded,
               [&](int o, int p, F v) SIMD_LAMBDA { S::store(notes + (int64_t)o * padded + p, v); });
  }

  SIMD_NOINLINE void say_room() {
    typedef typename S::F F;
    float* second = hidden + filled(room[0].outputs, PANEL);
    panels<S>(room[0], power, [&](int at, F v) SIMD_LAMBDA { S::store(hidden + at, S::at_least(v, S::zero())); });
    room_past.push(hidden);
    panels<S>(room[1], room_past.last(room[1].inputs),
              [&](int at, F v) SIMD_LAMBDA { S::store(second + at, S::at_least(v, S::zero())); });
    panels<S>(room[2], second, [&](int at, F v) SIMD_LAMBDA { S::store(room_out + at, v); });
  }
};

}  // namespace
