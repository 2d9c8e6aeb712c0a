// The sample loop.
//
//   past taps of up to 8 samples at once, from the rings           (off the critical path)
//   class -> tables -> gate -> residual -> next layer's ring -> current tap + past tap -> gate -> ...
//                           '-> skip ...................................................-> sum -> head -> draw
#pragma once
#include "draw.h"
#include "pair.h"

namespace {

template <class S, class P>
struct Loop : WnDecoder {
  typedef typename P::Input In;
  typedef typename P::Stored Stored;
  typedef typename S::F F;
  Weights<S, P> w;
  Stream<P>* streams;
  int64_t time, taps_ready;  // samples since the start; the one whose past taps are computed
  float* maxima;

  const Layer<P>& last_layer() const { return w.layers[shape.layers - 1]; }
  int64_t ring_bytes() const {
    return shape.layers == 1 ? 0 : sizeof(In) * (last_layer().ring + (int64_t)last_layer().dilation * w.Rp);
  }
  int64_t taps_bytes() const {
    return shape.layers == 1 ? 0 : sizeof(Stored) * (last_layer().taps + (int64_t)last_layer().batch * 2 * w.Rp);
  }

  void reset(int stream) override {
    for (int i = 0; i < shape.streams; i++) {
      if (stream >= 0 && i != stream) continue;
      Stream<P>& s = streams[i];
      s.last = shape.classes / 2, s.before = s.hint_before = shape.classes;
      memset(s.taps, 0, taps_bytes());
      if (P::QUANTISED) memset(s.ring, S::OFFSET, ring_bytes());
      else memset(s.ring, 0, ring_bytes());
    }
  }

  // move(where, bytes) for each piece of what is remembered between two calls
  template <class Move>
  void remembered(Move move) {
    move(&time, sizeof time), move(&taps_ready, sizeof taps_ready);
    for (int i = 0; i < shape.streams; i++) {
      Stream<P>& s = streams[i];
      move(&s.last, sizeof s.last), move(&s.before, sizeof s.before);
      if (shape.guided) move(&s.hint_before, sizeof s.hint_before);
      move(s.condition, sizeof(float) * w.conditions);
      move(s.taps, taps_bytes()), move(s.ring, ring_bytes());
    }
  }

  int64_t save(char* state) override {
    int64_t at = 0;
    remembered([&](const void* piece, int64_t bytes) {
      if (state) memcpy(state + at, piece, bytes);
      at += bytes;
    });
    return at;
  }

  bool load(const char* state) override {
    remembered([&](void* piece, int64_t bytes) {
      memcpy(piece, state, bytes);
      state += bytes;
    });
    bool sound = true;  // classes are believed from here on: they look up tables
    for (int i = 0; i < shape.streams; i++) {
      const Stream<P>& s = streams[i];
      sound = sound && s.last >= 0 && s.last < shape.classes && s.before >= 0 && s.before <= shape.classes;
      sound = sound && s.hint_before >= 0 && s.hint_before <= shape.classes;
    }
    if (!sound) reset(-1);
    return sound;
  }

  void condition(int stream, const float* latent, int64_t stride) override {
    for (int c = 0; c < shape.latent; c++) {
      float v = latent[c * stride];
      v = v == v ? v : 0.0f;  // what is not a number would stay in the rings for ever
      w.latent[c] = v > 1e6f ? 1e6f : v < -1e6f ? -1e6f : v;
    }
    float* out = streams[stream].condition;
    multiply<S, Fp32<S>>(w.condition, w.latent, w.conditions / S::W, w.Dp, nullptr,
                         [&](int first, auto width, auto& acc) SIMD_LAMBDA {
                           constexpr int V = decltype(width)::value;
                           SIMD_UNROLL for (int v = 0; v < V; v++) {
                             int at = (first + v) * S::W;
                             S::store(out + at, S::add(acc[v], S::load(w.condition_bias + at)));
                           }
                         });
  }

  int known(int32_t c) const { return c < 0 ? 0 : c < shape.classes ? c : shape.classes - 1; }

  void run(int count, int64_t row, const float* noise, const float* temperature, const int32_t* forced,
           const int32_t* guide, float* audio, int32_t* classes, float* logits) override {
    for (int i = 0; i < count; i++) {
      const bool together = pair.joined();
      pair.task = {noise, temperature, logits, row, i};
      if (taps_ready != time) previous_taps(time);
      if (together) pair.begin(shape.layers);
      for (int b = 0; b < shape.streams; b++) {
        if (shape.guided) streams[b].hint = known(guide[b * row + i]);
        first_layer(streams[b]);
      }
      if (together) pair.advance();
      else skip_all(0);
      for (int l = 1; l < shape.layers; l++) {
        for (int b = 0; b < shape.streams; b++) layer(streams[b], l);
        if (together) pair.advance();
        else skip_all(l);
      }
      if (together) {
        pair.wait();
        taps_ready = time + 1;
      } else {
        finish(pair.task);
      }
      for (int b = 0; b < shape.streams; b++) {
        Stream<P>& s = streams[b];
        const int64_t at = b * row + i;
        if (classes) classes[at] = s.drawn;
        if (audio) audio[at] = w.audio[s.drawn];
        s.before = s.last;
        s.last = s.drawn;
        if (forced) s.last = known(forced[at]);
        if (shape.guided) s.last = w.leaned[s.hint * shape.classes + s.last];
        s.hint_before = s.hint;
      }
      time++;
    }
  }

  // The second core: skips, the past taps of the next sample, head and draw, a layer behind the first core.
  void assist() override {
    const int64_t block = pair.arrive();
    while (pair.next_sample(block)) {
      for (int l = 0; l < shape.layers; l++) {
        pair.wait_layer(l, shape.layers);
        skip_all(l);
        if (l > 0) previous_tap(l, time + 1);
      }
      finish(pair.task);
      pair.finished();
    }
  }

  SIMD_INLINE void finish(const Task& task) {
    for (int b = 0; b < shape.streams; b++) {
      Stream<P>& s = streams[b];
      const int64_t at = b * task.row + task.sample;
      head(s);
      if (task.logits) memcpy(task.logits + at * shape.classes, s.logits, sizeof(float) * shape.classes);
      s.drawn = draw(w, s, shape.classes, task.noise[at], task.temperature[b]);
    }
  }

  void record(float* to) override { maxima = to; }

  SIMD_INLINE void previous_taps(int64_t at) {
    for (int l = 1; l < shape.layers; l++) previous_tap(l, at);
  }

  // What layer l's past gives to the samples from `at` on, where it is due.
  SIMD_INLINE void previous_tap(int l, int64_t at) {
    const int vectors = 2 * w.Rp / S::W, groups = w.Rp / P::G, row = 2 * w.Rp;
    const Layer<P>& y = w.layers[l];
    const int64_t t = at + y.phase;
    if (t & (y.batch - 1)) return;
    for (int b = 0; b < shape.streams; b++) {
      const In* x = streams[b].ring + y.ring + (t & (y.dilation - 1)) * w.Rp;
      Stored* out = streams[b].taps + y.taps;
      switch (y.batch) {
        case 1: multiply_columns<S, P, 1>(y.previous, x, w.Rp, vectors, groups, y.start, out, row); break;
        case 2: multiply_columns<S, P, 2>(y.previous, x, w.Rp, vectors, groups, y.start, out, row); break;
        case 4: multiply_columns<S, P, 4>(y.previous, x, w.Rp, vectors, groups, y.start, out, row); break;
        default: multiply_columns<S, P, 8>(y.previous, x, w.Rp, vectors, groups, y.start, out, row);
      }
    }
  }

  SIMD_INLINE In* slot(Stream<P>& s, int l) {
    const Layer<P>& y = w.layers[l];
    return s.ring + y.ring + ((time + y.phase) & (y.dilation - 1)) * w.Rp;
  }

  SIMD_INLINE void first_layer(Stream<P>& s) {
    const float *embed = w.own.embed + (int64_t)s.last * w.Rp, *now = w.own.now + (int64_t)s.last * 2 * w.Rp;
    const float *past = w.own.past + (int64_t)s.before * 2 * w.Rp, *c = shape.guided ? guided(s) : s.condition;
    for (int at = 0; at < w.Rp; at += S::W) {
      const int g = 2 * at, o = 2 * at + S::W;
      F gates = S::add(S::add(S::load(now + g), S::load(past + g)), S::load(c + g));
      F values = S::add(S::add(S::load(now + o), S::load(past + o)), S::load(c + o));
      P::put(s.gated + at, gate<S>(gates, values), w.layers[0].gated_inverse + at, 0.0f);
    }
    memcpy(s.hidden, embed, sizeof(float) * w.Rp);
    if (shape.guided) add(s.hidden, w.guide.embed + (int64_t)s.hint * w.Rp, w.Rp);
    residual(s, 0);
  }

  SIMD_INLINE void add(float* to, const float* from, int count) {
    for (int at = 0; at < count; at += S::W) S::store(to + at, S::add(S::load(to + at), S::load(from + at)));
  }

  // the first layer's condition, and the guide's share of its products
  SIMD_INLINE const float* guided(Stream<P>& s) {
    memcpy(s.guided, s.condition, sizeof(float) * 2 * w.Rp);
    add(s.guided, w.guide.now + (int64_t)s.hint * 2 * w.Rp, 2 * w.Rp);
    add(s.guided, w.guide.past + (int64_t)s.hint_before * 2 * w.Rp, 2 * w.Rp);
    return s.guided;
  }

  SIMD_INLINE void layer(Stream<P>& s, int l) {
    const Layer<P>& y = w.layers[l];
    const float* c = s.condition + (int64_t)l * 2 * w.Rp;
    const Stored* tap = s.taps + y.taps + ((time + y.phase) & (y.batch - 1)) * 2 * w.Rp;
    In* z = s.gated + (int64_t)l * w.Rp;
    multiply<S, P>(y.current, slot(s, l), 2 * w.Rp / S::W, w.Rp / P::G, tap,
                   [&](int first, auto width, auto& acc) SIMD_LAMBDA {
                     constexpr int V = decltype(width)::value;
                     if constexpr (V % 2 == 0) {
                       SIMD_UNROLL for (int v = 0; v < V; v += 2) {
                         const int g = (first + v) * S::W, o = g + S::W, at = (first + v) / 2 * S::W;
                         F gates = P::finish(acc[v], y.dilated_scale + g, c + g);
                         F values = P::finish(acc[v + 1], y.dilated_scale + o, c + o);
                         P::put(z + at, gate<S>(gates, values), y.gated_inverse + at, 0.0f);
                       }
                     }
                   });
    residual(s, l);
  }

  SIMD_INLINE void residual(Stream<P>& s, int l) {
    const Layer<P>& y = w.layers[l];
    if (maxima) note(s, l);
    if (l + 1 < shape.layers) {
      In* next = slot(s, l + 1);
      const float* inverse = w.layers[l + 1].input_inverse;
      multiply<S, P>(y.residual, s.gated + (int64_t)l * w.Rp, w.Rp / S::W, w.Rp / P::G, (const Stored*)nullptr,
                     [&](int first, auto width, auto& acc) SIMD_LAMBDA {
                       constexpr int V = decltype(width)::value;
                       SIMD_UNROLL for (int v = 0; v < V; v++) {
                         const int at = (first + v) * S::W;
                         F h = P::finish(acc[v], y.residual_scale + at, y.residual_bias + at);
                         h = S::add(h, S::load(s.hidden + at));
                         S::store(s.hidden + at, h);
                         P::put(next + at, h, inverse + at, 0.0f);
                       }
                     });
    }
  }

  SIMD_INLINE void skip_all(int l) {
    for (int b = 0; b < shape.streams; b++) skip(streams[b], l);
  }

  SIMD_INLINE void skip(Stream<P>& s, int l) {
    const Layer<P>& y = w.layers[l];
    if (l == 0) memcpy(s.total, w.skip_bias, sizeof(float) * w.Sp);
    multiply<S, P>(y.skip, s.gated + (int64_t)l * w.Rp, w.Sp / S::W, w.Rp / P::G, (const Stored*)nullptr,
                   [&](int first, auto width, auto& acc) SIMD_LAMBDA {
                     constexpr int V = decltype(width)::value;
                     SIMD_UNROLL for (int v = 0; v < V; v++) {
                       const int at = (first + v) * S::W;
                       S::store(s.total + at, P::finish(acc[v], y.skip_scale + at, s.total + at));
                     }
                   });
  }

  SIMD_INLINE void head(Stream<P>& s) {
    const float* c = s.condition + (int64_t)shape.layers * 2 * w.Rp;
    for (int at = 0; at < w.Sp; at += S::W)
      P::put(s.head + at, S::max(S::load(s.total + at), S::zero()), w.head_inverse + at, -127.0f);
    multiply<S, P>(w.head, s.head, w.Sp / S::W, w.Sp / P::G, (const Stored*)nullptr,
                   [&](int first, auto width, auto& acc) SIMD_LAMBDA {
                     constexpr int V = decltype(width)::value;
                     SIMD_UNROLL for (int v = 0; v < V; v++) {
                       const int at = (first + v) * S::W;
                       F y = S::max(P::finish(acc[v], w.head_scale + at, c + at), S::zero());
                       P::put(s.classify + at, y, w.classify_inverse + at, -127.0f);
                     }
                   });
    if (maxima) note_head(s);
    multiply<S, P>(w.classify, s.classify, w.Ap / S::W, w.Sp / P::G, (const Stored*)nullptr,
                   [&](int first, auto width, auto& acc) SIMD_LAMBDA {
                     constexpr int V = decltype(width)::value;
                     SIMD_UNROLL for (int v = 0; v < V; v++) {
                       const int at = (first + v) * S::W;
                       S::store(s.logits + at, P::finish(acc[v], w.classify_scale + at, w.classify_bias + at));
                     }
                   });
  }

  static void widen(float* most, float v) { *most = fabsf(v) > *most ? fabsf(v) : *most; }
  SIMD_NOINLINE void note(const Stream<P>& s, int l) {
    if constexpr (sizeof(In) == 4) {
      float* gated = maxima + (int64_t)shape.layers * shape.residual;
      for (int c = 0; c < shape.residual; c++) {
        widen(maxima + l * shape.residual + c, s.hidden[c]);
        widen(gated + l * shape.residual + c, s.gated[(int64_t)l * w.Rp + c]);
      }
    }
  }
  SIMD_NOINLINE void note_head(const Stream<P>& s) {
    if constexpr (sizeof(In) == 4) {
      float* to = maxima + (int64_t)2 * shape.layers * shape.residual;
      for (int c = 0; c < shape.skip; c++) {
        widen(to + c, s.head[c]);
        widen(to + shape.skip + c, s.classify[c]);
      }
    }
  }
};

template <class S, class P>
WnDecoder* place(const WnShape& shape, const WnWeights* weights, const WnSteps* steps, char* memory,
                 int64_t* bytes) {
  typedef Loop<S, P> L;
  Arena arena = {memory, 0};
  L* loop = arena.take<L>(1);
  Weights<S, P> w;
  place_weights<S, P>(shape, w, arena);
  int64_t weight_bytes = arena.used;
  int* dilations = arena.take<int>(shape.layers);
  Stream<P>* streams = arena.take<Stream<P>>(shape.streams);
  Stream<P> unused;
  for (int b = 0; b < shape.streams; b++) place_stream(shape, w, streams ? streams[b] : unused, arena);
  *bytes = arena.used;
  if (!memory) return nullptr;
  loop = new (loop) L();
  loop->w = w, loop->streams = streams, loop->time = 0, loop->taps_ready = -1, loop->maxima = nullptr;
  memcpy(dilations, shape.dilations, sizeof(int) * shape.layers);
  loop->shape = shape, loop->shape.dilations = dilations, loop->bytes = weight_bytes;
  Packer<S, P>{loop->shape, weights, steps, loop->w, arena}.fill();
  loop->helper = nullptr;
  loop->reset(-1);
  return loop;
}

}  // namespace
