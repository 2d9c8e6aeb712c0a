// From logits to a class.
#pragma once
#include "place.h"

namespace {

// Inverse-CDF: the first class whose running sum passes the uniform number's share, by a table of partial sums.
template <class S, class P>
SIMD_INLINE int draw(const Weights<S, P>& w, Stream<P>& s, int classes, float uniform, float temperature) {
  typedef typename S::F F;
  const int vectors = w.Ap / S::W;
  const float sharp = 1.0f / (temperature >= 1e-3f ? temperature : 1e-3f);
  F most = S::load(s.logits);
  for (int v = 1; v < vectors; v++) most = S::max(S::load(s.logits + v * S::W), most);
  const F top = S::set1(S::most(most)), least = S::set1(-80.0f), scale = S::set1(sharp);
  float total = 0.0f;
  for (int v = 0; v < vectors; v++) {
    F e = exponential<S>(S::max(S::mul(S::sub(S::load(s.logits + v * S::W), top), scale), least));
    S::store(s.logits + v * S::W, e);
    total += s.sums[v] = S::sum(e);
  }
  const float wanted = uniform * total;
  float passed = 0.0f;
  int v = 0;
  while (v + 1 < vectors && passed + s.sums[v] <= wanted) passed += s.sums[v++];
  int drawn = v * S::W, end = drawn + S::W;
  for (; drawn < end; drawn++) {
    passed += s.logits[drawn];
    if (passed > wanted) break;
  }
  // class 0 is never used by the encoder, so it is never drawn
  return drawn < 1 ? 1 : drawn < classes ? drawn : classes - 1;
}

}  // namespace
