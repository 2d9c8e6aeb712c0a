// Matrix times vector, and matrix times a few vectors, for weights that are read once a sample.
//
// A matrix [rows][columns] lies in tiles of V vectors of rows, in the order in which it is read:
//
//   tile 0: columns 0..G-1 of row 0, of row 1, ... of row V*W-1;  columns G..2G-1 of row 0, ...;  ...  tile 1: ...
//
// W floats to a vector, G columns to one product (fp32 1, bf16 2, int8 4). Rows and columns are multiples of 16.
#pragma once
#include "simd.h"

namespace {

constexpr int PAD = 16;
SIMD_INLINE int padded(int n) { return (n + PAD - 1) / PAD * PAD; }

// How many vectors the next tile takes, of `left`, when `columns` vectors are multiplied at once.
template <class S>
SIMD_INLINE int tile_width(int left, int columns) {
  int most = S::ACCUMULATORS / columns;
  if (S::ODD_TILES && columns == 1 && left < 16 && left >= 12) return left & ~1;
  if (S::ODD_TILES && columns == 1 && left < 8 && left >= 6) return 6;
  int width = 1;
  while (width * 2 <= most && width * 2 <= left) width *= 2;
  return width;
}

template <class S>
struct Fp32 {
  typedef float Weight;
  typedef float Input;
  typedef float Stored;
  typedef typename S::F Acc;
  typedef typename S::F Broadcast;
  static constexpr int G = 1;
  static constexpr bool QUANTISED = false;
  static SIMD_INLINE Acc zero() { return S::zero(); }
  static SIMD_INLINE Acc add(Acc a, Acc b) { return S::add(a, b); }
  static SIMD_INLINE Acc load(const Stored* p) { return S::load(p); }
  static SIMD_INLINE void store(Stored* p, Acc a) { S::store(p, a); }
  static SIMD_INLINE Broadcast spread(const Input* x) { return S::set1(*x); }
  static SIMD_INLINE Acc mac(Acc a, const Weight* w, Broadcast x) { return S::fma(S::load(w), x, a); }
  static SIMD_INLINE typename S::F finish(Acc a, const float*, const float* bias) {
    return S::add(a, S::load(bias));
  }
  static SIMD_INLINE void put(Input* x, typename S::F v, const float*, float) { S::store(x, v); }
};

#if defined(SIMD_HAS_BF16)
template <class S>
struct Bf16 : Fp32<S> {
  typedef uint16_t Weight;
  typedef uint16_t Input;
  typedef typename S::I Broadcast;
  typedef typename S::F Acc;
  static constexpr int G = 2;
  static SIMD_INLINE Broadcast spread(const Input* x) { return S::spread32(x); }
  static SIMD_INLINE Acc mac(Acc a, const Weight* w, Broadcast x) { return S::dot_bf16(a, w, x); }
  static SIMD_INLINE void put(Input* x, typename S::F v, const float*, float) { S::store_bf16(x, v); }
};
#endif

// value = step * q, q in [-127, 127]; what comes out of a rectifier is shifted to use both halves.
template <class S>
struct Int8 {
  typedef int8_t Weight;
  typedef int8_t Input;
  typedef int32_t Stored;
  typedef typename S::I Acc;
  typedef typename S::X Broadcast;
  static constexpr int G = 4;
  static constexpr bool QUANTISED = true;
  static SIMD_INLINE Acc zero() { return S::izero(); }
  static SIMD_INLINE Acc add(Acc a, Acc b) { return S::iadd(a, b); }
  static SIMD_INLINE Acc load(const Stored* p) { return S::iload(p); }
  static SIMD_INLINE void store(Stored* p, Acc a) { S::istore(p, a); }
  static SIMD_INLINE Broadcast spread(const Input* x) { return S::spread8(x); }
  static SIMD_INLINE Acc mac(Acc a, const Weight* w, Broadcast x) { return S::dot8(a, w, x); }
  static SIMD_INLINE typename S::F finish(Acc a, const float* scale, const float* bias) {
    return S::fma(S::to_float(a), S::load(scale), S::load(bias));
  }
  static SIMD_INLINE void put(Input* x, typename S::F v, const float* inverse, float shift) {
    S::quantise(x, S::fma(v, S::load(inverse), S::set1(shift)));
  }
};

// One tile; `done(acc)` gets its V accumulators while they are still in registers.
template <class S, class P, int V, class Done>
SIMD_INLINE const typename P::Weight* tile(const typename P::Weight* w, const typename P::Input* x, int groups,
                                         const typename P::Stored* start, Done done) {
  // two chains of additions at least as long as the unit is deep, or it waits for itself
  constexpr int SPLIT = V * 2 > S::ACCUMULATORS ? 1 : V >= 8 ? 1 : V >= 4 ? 2 : 4;
  typename P::Acc acc[SPLIT][V];
  SIMD_UNROLL for (int v = 0; v < V; v++) acc[0][v] = start ? P::load(start + v * S::W) : P::zero();
  SIMD_UNROLL for (int s = 1; s < SPLIT; s++)
    SIMD_UNROLL for (int v = 0; v < V; v++) acc[s][v] = P::zero();
  for (int g = 0; g < groups; g += SPLIT) {
    SIMD_UNROLL for (int s = 0; s < SPLIT; s++) {
      typename P::Broadcast b = P::spread(x + (g + s) * P::G);
      SIMD_UNROLL for (int v = 0; v < V; v++) {
        acc[s][v] = P::mac(acc[s][v], w, b);
        S::prefetch(w);
        w += S::W * P::G;
      }
    }
  }
  SIMD_UNROLL for (int s = 1; s < SPLIT; s++)
    SIMD_UNROLL for (int v = 0; v < V; v++) acc[0][v] = P::add(acc[0][v], acc[s][v]);
  done(acc[0]);
  return w;
}

// All rows of a matrix. done(first vector, integral constant V, acc).
template <int N> struct Width { static constexpr int value = N; };

template <class S, class P, class Done>
SIMD_INLINE void multiply(const typename P::Weight* w, const typename P::Input* x, int vectors, int groups,
                        const typename P::Stored* start, Done done) {
  for (int first = 0; first < vectors;) {
    const typename P::Stored* at = start ? start + first * S::W : nullptr;
    int width = tile_width<S>(vectors - first, 1);
#define WN_TILE(V) \
  case V: \
    if constexpr (V <= S::ACCUMULATORS) \
      w = tile<S, P, V>(w, x, groups, at, [&](auto& acc) SIMD_LAMBDA { done(first, Width<V>(), acc); }); \
    break;
    switch (width) {
      WN_TILE(16) WN_TILE(8) WN_TILE(4) WN_TILE(2) WN_TILE(1)
      default:
        if constexpr (S::ODD_TILES) {
          switch (width) { WN_TILE(14) WN_TILE(12) WN_TILE(6) }
        }
    }
#undef WN_TILE
    first += width;
  }
}

// N vectors `stride` apart at once: each weight is read once for all of them. out [N][vectors * W].
template <class S, class P, int V, int N>
SIMD_INLINE const typename P::Weight* columns_tile(const typename P::Weight* w, const typename P::Input* x,
                                                 int stride, int groups, const typename P::Stored* start,
                                                 typename P::Stored* out, int row) {
  typename P::Acc acc[N][V];
  SIMD_UNROLL for (int n = 0; n < N; n++)
    SIMD_UNROLL for (int v = 0; v < V; v++) acc[n][v] = start ? P::load(start + v * S::W) : P::zero();
  for (int g = 0; g < groups; g++) {
    SIMD_UNROLL for (int n = 0; n < N; n++) {
      typename P::Broadcast b = P::spread(x + n * stride + g * P::G);
      SIMD_UNROLL for (int v = 0; v < V; v++) acc[n][v] = P::mac(acc[n][v], w + v * S::W * P::G, b);
    }
    w += V * S::W * P::G;
  }
  SIMD_UNROLL for (int n = 0; n < N; n++)
    SIMD_UNROLL for (int v = 0; v < V; v++) P::store(out + n * row + v * S::W, acc[n][v]);
  return w;
}

template <class S, class P, int N>
SIMD_NOINLINE void multiply_columns(const typename P::Weight* w, const typename P::Input* x, int stride, int vectors,
                                  int groups, const typename P::Stored* start, typename P::Stored* out, int row) {
  for (int first = 0; first < vectors;) {
    int width = tile_width<S>(vectors - first, N), at = first * S::W;
    const typename P::Stored* s = start ? start + at : nullptr;
#define WN_TILE(V) \
  case V: \
    if constexpr (V == 1 || V * N <= S::ACCUMULATORS) w = columns_tile<S, P, V, N>(w, x, stride, groups, s, out + at, row); \
    break;
    switch (width) {
      WN_TILE(16) WN_TILE(8) WN_TILE(4) WN_TILE(2) WN_TILE(1)
      default:
        if constexpr (S::ODD_TILES && N == 1) {
          switch (width) { WN_TILE(14) WN_TILE(12) WN_TILE(6) }
        }
    }
#undef WN_TILE
    first += width;
  }
}

// e to the x for |x| <= 80, relative error below 3e-7: 2^whole times the power series of 2^fraction.
template <class S>
SIMD_INLINE typename S::F exponential(typename S::F x) {
  typename S::F t = S::mul(x, S::set1(1.44269504f)), whole = S::round(t), f = S::sub(t, whole);
  typename S::F p = S::fma(f, S::set1(1.5403530e-4f), S::set1(1.3333558e-3f));
  p = S::fma(f, p, S::set1(9.6181291e-3f));
  p = S::fma(f, p, S::set1(5.5504109e-2f));
  p = S::fma(f, p, S::set1(2.4022651e-1f));
  p = S::fma(f, p, S::set1(6.9314718e-1f));
  return S::power(S::fma(f, p, S::set1(1.0f)), whole);
}

// sigmoid(g) * tanh(o) = (E - 1) / ((E + 1) (1 + G)), E = exp(2 o), G = exp(-g). Not a number counts as 30.
template <class S>
SIMD_INLINE typename S::F gate(typename S::F g, typename S::F o) {
  typename S::F most = S::set1(30.0f), least = S::set1(-30.0f), one = S::set1(1.0f);
  typename S::F E = exponential<S>(S::max(S::min(S::add(o, o), most), least));
  typename S::F G = exponential<S>(S::max(S::min(S::sub(S::zero(), g), most), least));
  return S::div(S::sub(E, one), S::mul(S::add(E, one), S::add(one, G)));
}

}  // namespace
