// Filtered noise. All bands filter the same noise, so their filters are summed first, each times its gain: one
// filter for the gains at the frame's beginning (the last frame's), one for those at its end, cross-faded.
#pragma once
#include "product.h"

namespace {

template <class S>
struct NoiseBank {
  int hop, bands, taps, row, *turn;
  const float *filters, *fade;
  float *white, *sums[2];

  void place(const LiveDecoderShape& n, const LiveDecoderWeights& w, const float* fading, Arena& a, Arena& state) {
    hop = n.hop, bands = n.bands, taps = n.taps, row = filled(taps, LANES), fade = fading;
    filters = keep(w.filters, (int64_t)bands * row, a);
    turn = state.take<int>(1);
    white = state.take<float>(row + filled(hop, LANES));
    for (float*& sum : sums) sum = state.take<float>(row);
  }

  // gains [bands], noise [hop] uniform in [0, 1); adds to out [hop].
  SIMD_NOINLINE void add(const float* gains, const float* noise, float* out) {
    typedef typename S::F F;
    const int past = taps - 1;
    for (int i = 0; i < hop; i++) white[past + i] = (noise[i] - 0.5f) * 3.46410162f;  // unit variance
    *turn ^= 1;
    const float *start = sums[*turn ^ 1], *end = sums[*turn];
    for (int t = 0; t < row; t += S::W) {
      F sum = S::zero();
      for (int m = 0; m < bands; m++) sum = S::fma(S::set1(gains[m]), S::load(filters + m * row + t), sum);
      S::store(sums[*turn] + t, sum);
    }
    for (int i = 0; i < hop; i += LANES) {
      constexpr int V = LANES / S::W;
      F a[V], b[V];
      for (int v = 0; v < V; v++) a[v] = b[v] = S::zero();
      for (int t = 0; t < taps; t++) {
        const F from = S::set1(start[t]), to = S::set1(end[t]);
        for (int v = 0; v < V; v++) {
          const F x = S::load_anywhere(white + i + t + v * S::W);
          a[v] = S::fma(from, x, a[v]), b[v] = S::fma(to, x, b[v]);
        }
      }
      for (int v = 0; v < V; v++) {
        float* at = out + i + v * S::W;
        const F old = S::fma(S::load(fade + i + v * S::W), a[v], S::load(at));
        S::store(at, S::fma(S::load(fade + hop + i + v * S::W), b[v], old));
      }
    }
    memmove(white, white + hop, (size_t)past * sizeof(float));
  }
};

}  // namespace
