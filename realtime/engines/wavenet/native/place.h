// Memory: what is read every sample lies together and in order, tables and rings behind it.
#pragma once
#include <new>

#include "network.h"

namespace {

constexpr int MOST_AT_ONCE = 8;  // samples whose previous tap is computed together

template <class S, class P>
void place_weights(const WnShape& n, Weights<S, P>& to, Arena& a) {
  typedef typename P::Weight W;
  to.Rp = padded(n.residual), to.Sp = padded(n.skip), to.Ap = padded(n.classes), to.Dp = padded(n.latent);
  to.conditions = n.layers * 2 * to.Rp + to.Sp;
  const int64_t R = to.Rp, Sk = to.Sp;
  Layer<P>* layers = to.layers = a.take<Layer<P>>(n.layers);
  Layer<P> unused;
  auto layer = [&](int l) -> Layer<P>& { return layers ? layers[l] : unused; };
  for (int l = 0; l < n.layers; l++) {
    Layer<P>& y = layer(l);
    y.dilated_scale = a.take<float>(P::QUANTISED ? 2 * R : 0);
    y.residual_scale = a.take<float>(P::QUANTISED ? R : 0);
    y.residual_bias = a.take<float>(R);
    y.skip_scale = a.take<float>(P::QUANTISED ? Sk : 0);
    y.input_inverse = a.take<float>(R);
    y.gated_inverse = a.take<float>(R);
    y.start = a.take<typename P::Stored>(P::QUANTISED ? 2 * R : 0);
    if (!P::QUANTISED) y.start = nullptr;
  }
  for (int l = 0; l < n.layers; l++) {
    Layer<P>& y = layer(l);
    y.current = a.take<W>(l ? 2 * R * R : 0);
    y.residual = a.take<W>(l + 1 < n.layers ? R * R : 0);
    y.skip = a.take<W>(Sk * R);
  }
  to.head = a.take<W>(Sk * Sk);
  to.classify = a.take<W>(Sk * to.Ap);
  int64_t ring = 0, taps = 0;
  for (int l = 0; l < n.layers; l++) {
    Layer<P>& y = layer(l);
    y.previous = a.take<W>(l ? 2 * R * R : 0);
    y.dilation = n.dilations[l];
    y.batch = y.dilation < MOST_AT_ONCE ? y.dilation : MOST_AT_ONCE;
    y.phase = l % y.batch;  // not all layers in the same sample
    y.ring = ring, y.taps = taps;
    if (l == 0) continue;
    ring += y.dilation * R;
    taps += y.batch * 2 * R;
  }
  to.skip_bias = a.take<float>(Sk);
  to.head_scale = a.take<float>(Sk), to.head_inverse = a.take<float>(Sk);
  to.classify_scale = a.take<float>(to.Ap), to.classify_bias = a.take<float>(to.Ap);
  to.classify_inverse = a.take<float>(Sk);
  to.audio = a.take<float>(to.Ap);
  to.leaned = a.take<int32_t>(n.guided ? (int64_t)n.classes * n.classes : 0);
  auto tables = [&](Tables& t, int64_t rows) {
    t.embed = a.take<float>(rows * R), t.now = a.take<float>(rows * 2 * R);
    t.past = a.take<float>(rows ? (rows + 1) * 2 * R : 0);
  };
  tables(to.own, to.Ap), tables(to.guide, n.guided ? to.Ap : 0);
  to.condition_bias = a.take<float>(to.conditions);
  to.condition = a.take<float>((int64_t)to.conditions * to.Dp);
  to.latent = a.take<float>(to.Dp);
}

template <class S, class P>
void place_stream(const WnShape& n, const Weights<S, P>& w, Stream<P>& s, Arena& a) {
  int64_t ring = 0, taps = 0;
  for (int l = 1; l < n.layers; l++) {
    ring += (int64_t)n.dilations[l] * w.Rp;
    taps += (int64_t)(n.dilations[l] < MOST_AT_ONCE ? n.dilations[l] : MOST_AT_ONCE) * 2 * w.Rp;
  }
  typedef typename P::Input In;
  s.gated = a.take<In>((int64_t)n.layers * w.Rp), s.head = a.take<In>(w.Sp), s.classify = a.take<In>(w.Sp);
  s.hidden = a.take<float>(w.Rp), s.total = a.take<float>(w.Sp);
  s.logits = a.take<float>(w.Ap), s.sums = a.take<float>(w.Ap);
  s.condition = a.take<float>(w.conditions);
  s.guided = a.take<float>(n.guided ? 2 * w.Rp : 0);
  s.taps = a.take<typename P::Stored>(taps);
  s.ring = a.take<In>(ring);
}

}  // namespace
