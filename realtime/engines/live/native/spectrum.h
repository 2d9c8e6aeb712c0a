// The causal spectrum: log power of every bin, once a hop.
//
// A bin's kernel is hundreds to thousands of samples long, but the pieces of neighbouring bins' kernels within a few
// hundred samples are nearly multiples of a few shapes. So those are applied to the newest samples only, once for
// all bins (a source), and a bin combines what they gave now and in the past. The export finds the shapes.
#pragma once
#include "functions.h"
#include "product.h"

namespace {

struct Source {
  int steps, blocks;  // a span is `steps` hops long; as many rings take turns
  Matrix basis;
  Ring* rings;
  float* now;
};

template <class S>
struct Spectrum {
  int hop, sources, count, *turn;
  Ring audio;
  Source* source;
  Matrix* kernels;
  int* from;

  void place(const LiveEncoderShape& n, Arena& a, Arena& state) {
    hop = n.hop, sources = n.sources, count = n.fine + n.quick;
    turn = state.take<int>(1);
    audio.place(n.longest / n.hop, n.hop, state);
    source = a.take<Source>(sources);
    kernels = a.take<Matrix>(count);
    from = a.take<int>(count);
    for (int i = 0; i < sources; i++) {
      const LiveSource& given = n.source[i];
      Source unused, &s = source ? source[i] : unused;
      s.steps = given.span / hop, s.blocks = given.blocks;
      s.basis = keep(given.basis, PANEL, a);
      s.now = a.take<float>(filled(given.basis.outputs, PANEL));
      s.rings = a.take<Ring>(s.steps);
      for (int r = 0; r < s.steps; r++) {
        Ring counted, &ring = s.rings ? s.rings[r] : counted;
        ring.place(given.blocks, given.basis.outputs, state);
      }
    }
    for (int i = 0; i < count; i++) {
      const Matrix kernel = keep(n.bins[i].kernel, PANEL, a);
      if (kernels) kernels[i] = kernel, from[i] = n.bins[i].source;
    }
  }


  // audio [hop] -> power [16 * count]: 0.1 ln(re^2 + im^2 + 1e-8) + 1
  SIMD_INLINE void step(const float* x, float* power) {
    typedef typename S::F F;
    audio.push(x);
    for (int i = 0; i < sources; i++) {
      Source& s = source[i];
      panels<S>(s.basis, audio.last(s.basis.inputs), [&](int at, F v) SIMD_LAMBDA { S::store(s.now + at, v); });
      s.rings[*turn % s.steps].push(s.now);
    }
    for (int i = 0; i < count; i++) {
      const int depth = kernels[i].inputs;
      const float* from_here = audio.last(depth);
      if (from[i] >= 0) from_here = source[from[i]].rings[*turn % source[from[i]].steps].last(depth);
      F parts[PANEL / S::W];
      panels<S>(kernels[i], from_here, [&](int at, F v) SIMD_LAMBDA { parts[at / S::W] = v; });
      for (int v = 0; v < LANES / S::W; v++) {
        const F re = parts[v], im = parts[v + LANES / S::W];
        const F sum = S::fma(re, re, S::fma(im, im, S::set1(1e-8f)));
        S::store(power + i * LANES + v * S::W, S::fma(logarithm<S>(sum), S::set1(0.1f), S::set1(1.0f)));
      }
    }
    *turn = *turn + 1 < 1 << 20 ? *turn + 1 : 0;  // spans are 2^n hops
  }
};

}  // namespace
