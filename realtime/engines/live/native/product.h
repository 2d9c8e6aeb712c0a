// The two kinds of matrix product, and where their inputs lie.
#pragma once
#include <new>

#include "arena.h"
#include "part.h"
#include "simd.h"

namespace {

constexpr int LANES = 16, PANEL = 32, AT_ONCE = 4;
SIMD_INLINE int filled(int n, int to) { return (n + to - 1) / to * to; }

struct Matrix {
  int inputs, outputs, width;  // outputs filled up to a multiple of `width`
  const float *weights, *bias;
};

SIMD_INLINE const float* keep(const float* from, int64_t n, Arena& a) {
  float* to = a.take<float>(n);
  if (to) memcpy(to, from, (size_t)n * sizeof(float));
  return to;
}

// Copies a packed matrix into the arena; one without bias gets zeros.
SIMD_INLINE Matrix keep(const LiveMatrix& m, int width, Arena& a) {
  const int64_t outputs = filled(m.outputs, width);
  const float* weights = keep(m.weights, outputs * m.inputs, a);
  float* bias = a.take<float>(outputs);
  if (bias && m.bias) memcpy(bias, m.bias, (size_t)outputs * sizeof(float));
  return {m.inputs, m.outputs, width, weights, bias};
}

// `count` rows of pitches, `stride` floats apart.
struct Rows {
  const float* at;
  int count;
  int64_t stride;
};

template <int N> struct Width { static constexpr int value = N; };

template <class S, int V, class Done>
SIMD_INLINE void product_tile(const float* w, const float* bias, const Rows* parts, int n, int vector, Done done) {
  typedef typename S::F F;
  F acc[AT_ONCE][V];
  SIMD_UNROLL for (int r = 0; r < AT_ONCE; r++)
    SIMD_UNROLL for (int v = 0; v < V; v++) acc[r][v] = S::set1(bias[r]);
  for (int part = 0; part < n; part++) {
    const float* x = parts[part].at + vector * S::W;
    for (int i = 0; i < parts[part].count; i++) {
      F row[V];
      SIMD_UNROLL for (int v = 0; v < V; v++) row[v] = S::load_anywhere(x + v * S::W);
      SIMD_UNROLL for (int r = 0; r < AT_ONCE; r++) {
        const F b = S::set1(w[r]);
        SIMD_UNROLL for (int v = 0; v < V; v++) acc[r][v] = S::fma(b, row[v], acc[r][v]);
      }
      w += AT_ONCE;
      x += parts[part].stride;
    }
  }
  SIMD_UNROLL for (int r = 0; r < AT_ONCE; r++)
    SIMD_UNROLL for (int v = 0; v < V; v++) done(r, (vector + v) * S::W, acc[r][v]);
}

// done(output, first pitch, vector) for every output of a matrix of rows; `pitches` is a multiple of LANES.
template <class S, class Done>
SIMD_INLINE void product(const Matrix& m, const Rows* parts, int n, int pitches, Done done) {
  constexpr int MOST = S::ACCUMULATORS >= 16 ? 5 : S::ACCUMULATORS >= 8 ? 2 : 1;
  const int vectors = pitches / S::W;
  for (int first = 0; first < m.outputs; first += AT_ONCE) {
    const float *w = m.weights + (int64_t)first * m.inputs, *bias = m.bias + first;
    auto put = [&](int r, int at, typename S::F v) SIMD_LAMBDA { done(first + r, at, v); };
    for (int v = 0; v < vectors;) {
      const int width = vectors - v < MOST ? vectors - v : MOST;
#define LIVE_TILE(V) \
  case V: \
    if constexpr (V <= MOST) product_tile<S, V>(w, bias, parts, n, v, put); \
    break;
      switch (width) { LIVE_TILE(1) LIVE_TILE(2) LIVE_TILE(3) LIVE_TILE(4) LIVE_TILE(5) }
#undef LIVE_TILE
      v += width;
    }
  }
}

// One panel: 32 sums over x[inputs], in chains enough to keep the unit busy. done(first output, vector).
template <class S, class Done>
SIMD_INLINE void panel(const float* w, const float* bias, const float* x, int inputs, Done done) {
  typedef typename S::F F;
  constexpr int V = PANEL / S::W, CHAINS = V >= 8 ? 1 : 8 / V;
  F acc[CHAINS][V];
  SIMD_UNROLL for (int v = 0; v < V; v++) acc[0][v] = S::load(bias + v * S::W);
  SIMD_UNROLL for (int c = 1; c < CHAINS; c++)
    SIMD_UNROLL for (int v = 0; v < V; v++) acc[c][v] = S::zero();
  int i = 0;
  for (; i + CHAINS <= inputs; i += CHAINS) {
    SIMD_UNROLL for (int c = 0; c < CHAINS; c++) {
      const F b = S::set1(x[i + c]);
      SIMD_UNROLL for (int v = 0; v < V; v++) acc[c][v] = S::fma(b, S::load(w + (c * V + v) * S::W), acc[c][v]);
    }
    w += CHAINS * PANEL;
  }
  for (; i < inputs; i++, w += PANEL) {
    const F b = S::set1(x[i]);
    SIMD_UNROLL for (int v = 0; v < V; v++) acc[0][v] = S::fma(b, S::load(w + v * S::W), acc[0][v]);
  }
  SIMD_UNROLL for (int v = 0; v < V; v++) {
    F sum = acc[0][v];
    SIMD_UNROLL for (int c = 1; c < CHAINS; c++) sum = S::add(sum, acc[c][v]);
    done(v * S::W, sum);
  }
}

// done(first output, vector) for every panel of a matrix of panels.
template <class S, class Done>
SIMD_INLINE void panels(const Matrix& m, const float* x, Done done) {
  for (int first = 0; first < m.outputs; first += PANEL) {
    auto put = [&](int at, typename S::F v) SIMD_LAMBDA { done(first + at, v); };
    panel<S>(m.weights + (int64_t)first * m.inputs, m.bias + first, x, m.inputs, put);
  }
}

// The last `depth` entries of `width` floats, always readable in one piece: each is written twice.
//
//   0 1 2 3 | 0 1 2 3        newest is 1: entries 2 3 0 1 lie here: 0 1 [2 3 | 0 1] 2 3
struct Ring {
  float* data;
  int depth, width, *at;
  SIMD_INLINE void place(int entries, int floats, Arena& state) {
    depth = entries, width = floats;
    at = state.take<int>(1);
    data = state.take<float>((int64_t)2 * entries * floats);
  }
  SIMD_INLINE void push(const float* x) {
    *at = *at + 1 < depth ? *at + 1 : 0;
    memcpy(data + (int64_t)*at * width, x, (size_t)width * sizeof(float));
    memcpy(data + (int64_t)(*at + depth) * width, x, (size_t)width * sizeof(float));
  }
  // The last `floats` numbers, oldest first.
  SIMD_INLINE const float* last(int floats) const { return data + (int64_t)(*at + depth + 1) * width - floats; }
};

// First what never changes and what lasts for one step only, then the state.
template <class Part, class Shape, class Weights>
LivePart* place_part(const Shape& n, const Weights& w, char* memory, int64_t* bytes) {
  Part counted;
  Arena fixed = {nullptr, 0}, state = {nullptr, 0};
  fixed.take<Part>(1);
  counted.place(n, w, fixed, state);
  const int64_t before = (fixed.used + 63) / 64 * 64;
  *bytes = before + state.used;
  if (!memory) return nullptr;
  Arena a = {memory, 0}, s = {memory + before, 0};
  Part* part = new (a.take<Part>(1)) Part();
  part->place(n, w, a, s);
  part->state = s.base, part->bytes = *bytes, part->state_bytes = s.used;
  return part;
}

}  // namespace
