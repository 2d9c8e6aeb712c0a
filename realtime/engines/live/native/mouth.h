// The ear's latent -> what WaveNet decoders are told: silent pitches closed, then dilated convolutions over frames.
#pragma once
#include "functions.h"
#include "product.h"

namespace {

// x + point(relu(time(relu(x)))); what it was given lies in a ring, and three frames of it are read side by side.
template <class S>
struct MouthLayer {
  int channels, dilation;
  Matrix time, point;
  Ring past;
  float *rectified, *taps, *wide;

  void place(const LiveMatrix& over_time, const LiveMatrix& pointwise, int dilated, float* scratch[3], Arena& a,
             Arena& state) {
    channels = over_time.outputs, dilation = dilated;
    time = keep(over_time, PANEL, a), point = keep(pointwise, PANEL, a);
    past.place(2 * dilated + 1, channels, state);
    rectified = scratch[0], taps = scratch[1], wide = scratch[2];
  }

  SIMD_NOINLINE void step(float* x) {
    typedef typename S::F F;
    for (int c = 0; c < filled(channels, PANEL); c += S::W)
      S::store(rectified + c, S::at_least(S::load(x + c), S::zero()));
    past.push(rectified);
    for (int tap = 0; tap < 3; tap++) {
      const int back = (2 - tap) * dilation;
      memcpy(taps + tap * channels, past.last((back + 1) * channels), (size_t)channels * sizeof(float));
    }
    panels<S>(time, taps, [&](int at, F v) SIMD_LAMBDA { S::store(wide + at, S::at_least(v, S::zero())); });
    panels<S>(point, wide, [&](int at, F v) SIMD_LAMBDA { S::store(x + at, S::add(S::load(x + at), v)); });
  }
};

template <class S>
struct Mouth : LivePart {
  typedef typename S::F F;
  int pitches, padded, per_pitch, room_channels, layer_count;
  Matrix entry, leave;
  MouthLayer<S>* layers;
  float *rows, *room, *told, *x, *said;

  void place(const LiveMouthShape& n, const LiveMouthWeights& w, Arena& a, Arena& state) {
    pitches = n.pitches, padded = filled(pitches, LANES), per_pitch = n.per_pitch, room_channels = n.room;
    layer_count = n.layers;
    entry = keep(w.entry, PANEL, a), leave = keep(w.leave, PANEL, a);
    const int channels = filled(w.entry.outputs, PANEL);
    rows = a.take<float>((int64_t)per_pitch * padded), room = a.take<float>(filled(room_channels, LANES));
    told = a.take<float>(per_pitch * pitches + room_channels);
    x = a.take<float>(channels), said = a.take<float>(filled(w.leave.outputs, PANEL));
    float* scratch[3] = {a.take<float>(channels), a.take<float>(3 * channels), a.take<float>(channels)};
    layers = a.take<MouthLayer<S>>(layer_count);
    for (int l = 0; l < layer_count; l++) {
      MouthLayer<S> unused, &layer = layers ? layers[l] : unused;
      layer.place(w.time[l], w.point[l], n.dilations[l], scratch, a, state);
    }
  }

  void run(int frames, const float* in, const float*, float* out) override {
    for (int f = 0; f < frames; f++) {
      open(frames, in + f);
      panels<S>(entry, told, [&](int at, F v) SIMD_LAMBDA { S::store(x + at, v); });
      for (int l = 0; l < layer_count; l++) layers[l].step(x);
      for (int c = 0; c < filled(entry.outputs, PANEL); c += S::W)
        S::store(x + c, S::at_least(S::load(x + c), S::zero()));
      panels<S>(leave, x, [&](int at, F v) SIMD_LAMBDA { S::store(said + at, v); });
      for (int c = 0; c < leave.outputs; c++) out[(int64_t)c * frames + f] = said[c];
    }
  }

 private:
  // Every pitch's channels times its activation, what is free of them a fifth of it; the room between -1 and 1.
  SIMD_NOINLINE void open(int64_t frames, const float* in) {
    for (int k = 0; k < per_pitch; k++)
      for (int p = 0; p < pitches; p++, in += frames) rows[k * padded + p] = *in;
    for (int c = 0; c < room_channels; c++, in += frames) room[c] = *in;
    for (int p = 0; p < padded; p += S::W) {
      const F active = sigmoid<S>(S::load(rows + p));
      S::store(rows + p, active);
      for (int k = 1; k < per_pitch; k++) {
        float* row = rows + k * padded + p;
        S::store(row, S::mul(S::mul(active, S::load(row)), S::set1(k == 1 ? 1.0f : 0.2f)));
      }
    }
    for (int c = 0; c < filled(room_channels, LANES); c += S::W)
      S::store(room + c, hyperbolic_tangent<S>(S::load(room + c)));
    for (int k = 0; k < per_pitch; k++)
      memcpy(told + k * pitches, rows + k * padded, (size_t)pitches * sizeof(float));
    memcpy(told + per_pitch * pitches, room, (size_t)room_channels * sizeof(float));
  }
};

}  // namespace
