// The oscillator bank: see umtn/model/decoders/oscillators.py, whose arithmetic this is, in vectors of partials.
//
// In half a hop a partial is a geometric series of complex numbers, z r^k, and sample k = 8 i + j of it a product
// of two short tables, z r^(8 i) and r^j. Amplitude ramps, so there are two sums: one to fade out, one to fade in.
#pragma once
#include <math.h>

#include "functions.h"
#include "product.h"

namespace {

constexpr int COLUMNS = 8, CHUNK = 128;  // CHUNK: series at once, so that their tables stay in the nearest cache

template <class S>
struct OscillatorBank {
  typedef typename S::F F;
  int hop, pitches, padded, partials, voices, sounding, unison, rows, bend_steps, *turn, series;
  const float *audible, *strings, *fade;
  const double *f0, *multiples, *offsets, *bends;
  const int* heard;
  double* phase;
  float *before, *frequency, *amplitudes[2], *kept, *level;
  float *pair[2], *angle[2], *ratio[2], *row_table, *column_table, *sums;
  int* sounds;

  template <class T>
  static const T* copy(const T* from, int64_t n, Arena& a) {
    T* to = a.take<T>(n);
    if (to) memcpy(to, from, (size_t)n * sizeof(T));
    return to;
  }

  void place(const LiveDecoderShape& n, const LiveDecoderWeights& w, const float* fading, Arena& a, Arena& state) {
    hop = n.hop, pitches = n.pitches, padded = filled(pitches, LANES), partials = n.partials, voices = n.voices;
    sounding = n.sounding, unison = n.unison, rows = hop / 2 / COLUMNS, bend_steps = n.bend_steps, fade = fading;
    const int64_t each = (int64_t)pitches * partials * unison;
    audible = copy(w.audible, (int64_t)partials * padded, a), strings = copy(w.strings, unison, a);
    f0 = copy(w.f0, pitches, a), multiples = copy(w.multiples, each, a), offsets = copy(w.offsets, each, a);
    bends = copy(w.bends, 2 * bend_steps + 1, a), heard = copy(w.heard, pitches, a);
    turn = state.take<int>(1);
    phase = state.take<double>(pitches), before = a.take<float>(pitches), frequency = state.take<float>(pitches);
    for (float*& amplitude : amplitudes) amplitude = state.take<float>((int64_t)filled(partials, AT_ONCE) * padded);
    kept = a.take<float>(padded), level = a.take<float>(padded), sounds = a.take<int>(pitches);
    const int64_t most = filled(sounding * partials * unison, LANES);
    for (int i = 0; i < 2; i++)
      pair[i] = a.take<float>(most), angle[i] = a.take<float>(most), ratio[i] = a.take<float>(most);
    row_table = a.take<float>((int64_t)rows * 4 * CHUNK), column_table = a.take<float>(COLUMNS * 2 * CHUNK);
    sums = a.take<float>((int64_t)hop * 2 * S::W);
  }

  // Where this frame's amplitudes [partials][padded] are to be written before `render`.
  SIMD_INLINE float* amplitude() { return amplitudes[*turn ^ 1]; }

  // steps [pitches]: deviations in 1/64 semitone, whole numbers. -> out [hop]
  SIMD_NOINLINE void render(const float* steps, float* out) {
    *turn ^= 1;
    loudest();
    gather(steps);
    memset(sums, 0, (size_t)hop * 2 * S::W * sizeof(float));
    for (int half = 0; half < 2; half++) {
      for (int first = 0; first < series; first += CHUNK) {
        const int count = series - first < CHUNK ? series - first : CHUNK;
        tables(half, first, count);
        multiply(sums + (int64_t)half * hop * S::W, count);
      }
    }
    for (int i = 0; i < hop; i++) {
      const int half = 2 * i / hop, k = i - half * hop / 2;
      const float* at = sums + ((int64_t)half * hop + 2 * (k / COLUMNS * COLUMNS) + k % COLUMNS) * S::W;
      const F a = S::mul(S::set1(fade[i]), S::load(at));
      out[i] = S::sum(S::fma(S::set1(fade[hop + i]), S::load(at + COLUMNS * S::W), a));
    }
  }

 private:
  // Sum over partials of max(|a|, |b|)^2.
  SIMD_INLINE void levels(const float* a, const float* b) {
    for (int p = 0; p < padded; p += S::W) {
      F sum = S::zero();
      for (int h = 0; h < partials; h++) {
        const F x = S::load(a + h * padded + p), y = S::load(b + h * padded + p);
        const F louder = S::at_least(x, y);
        sum = S::add(S::fma(louder, louder, sum), S::sub(y, y));  // y - y: what is not a number stays, in either
      }
      S::store(level + p, sum);
    }
    for (int p = 0; p < pitches; p++) level[p] = level[p] == level[p] ? level[p] : INFINITY;
  }

  // The least level of the `n` loudest pitches.
  SIMD_INLINE float rank(int n) {
    float most[256];
    int held = 0;
    for (int p = 0; p < pitches; p++) {
      if (held == n && level[p] <= most[n - 1]) continue;
      int i = held < n ? held++ : n - 1;
      for (; i > 0 && most[i - 1] < level[p]; i--) most[i] = most[i - 1];
      most[i] = level[p];
    }
    return most[n - 1];
  }

  // Silences what is above Nyquist, and all but the loudest voices.
  SIMD_INLINE void loudest() {
    float* a = amplitudes[*turn];
    for (int i = 0; i < partials * padded; i += S::W) S::store(a + i, S::mul(S::load(a + i), S::load(audible + i)));
    levels(a, a);
    const float least = rank(voices);
    for (int p = 0; p < padded; p++) kept[p] = p < pitches && level[p] >= least ? 1.0f : 0.0f;
    for (int h = 0; h < partials; h++)
      for (int p = 0; p < padded; p += S::W) {
        float* at = a + h * padded + p;
        S::store(at, S::mul(S::load(at), S::load(kept + p)));
      }
  }

  // Every partial and string of what sounds or fades: amplitudes at both ends, first angle and ratio of both halves.
  SIMD_INLINE void gather(const float* steps) {
    const float *old = amplitudes[*turn ^ 1], *now = amplitudes[*turn];
    levels(old, now);
    const float least = rank(sounding);
    int count = 0;
    for (int p = 0; p < pitches; p++)
      if (level[p] > 0.0f && level[p] >= least && count < sounding) sounds[count++] = p;
    memcpy(before, frequency, (size_t)pitches * sizeof(float));
    for (int p = 0; p < pitches; p++)
      frequency[p] = steps[p] == steps[p] ? (float)(f0[p] * bends[(int)steps[p] + bend_steps]) : NAN;
    series = 0;
    for (int i = 0; i < count; i++) {
      const int p = sounds[i], n = heard[p] * unison;
      const double from = before[p], change = (double)frequency[p] - from;
      const double halves[2] = {from + 0.25 * change, from + 0.75 * change};
      const double first[2] = {phase[p] + halves[0], phase[p] + halves[0] * (hop / 2) + halves[1]};
      const double* m = multiples + (int64_t)p * partials * unison;
      const double* offset = offsets + (int64_t)p * partials * unison;
      for (int h = 0, k = series; h < heard[p]; h++) {
        const float a = old[h * padded + p], b = now[h * padded + p];
        for (int u = 0; u < unison; u++, k++) pair[0][k] = a * strings[u], pair[1][k] = b * strings[u];
      }
      for (int half = 0; half < 2; half++) {
        const double start = first[half], speed = halves[half];
        float *to = angle[half] + series, *turns = ratio[half] + series;
        for (int k = 0; k < n; k++) {
          const double cycles = start * m[k] + offset[k];
          to[k] = 6.2831855f * (float)(cycles - floor(cycles));
          turns[k] = 6.2831855f * (float)(speed * m[k]);
        }
      }
      series += n;
    }
    for (int k = series; k < filled(series, LANES); k++)
      for (int i = 0; i < 2; i++) pair[i][k] = angle[i][k] = ratio[i][k] = 0.0f;
    series = filled(series, LANES);
    for (int p = 0; p < pitches; p++) phase[p] += ((double)before[p] + (double)frequency[p]) * (hop * 0.5);
  }

  struct Complex {
    F re, im;
  };
  static SIMD_INLINE Complex times(Complex a, Complex b) {
    return {S::sub(S::mul(a.re, b.re), S::mul(a.im, b.im)), S::fma(a.re, b.im, S::mul(a.im, b.re))};
  }

  // By doubling, as many terms as a table has: x, x r, x r^2, ... ; -> r to the power of `terms`
  template <class Put>
  static SIMD_INLINE Complex doubled(Complex* x, Complex r, int terms, Put put) {
    put(0, x[0]);
    for (int done = 1; done < terms; done *= 2) {
      for (int k = 0; k < done; k++) put(done + k, x[done + k] = times(x[k], r));
      r = times(r, r);
    }
    return r;
  }

  SIMD_INLINE void tables(int half, int first, int count) {
    for (int s = 0; s < count; s += S::W) {
      const Turn<S> z = turn_of(angle[half] + first + s), r = turn_of(ratio[half] + first + s);
      const F amplitude[2] = {S::load(pair[0] + first + s), S::load(pair[1] + first + s)};
      Complex x[COLUMNS], y[MOST_ROWS];
      x[0] = {S::set1(1.0f), S::zero()};
      const Complex step = doubled(x, {r.cosine, r.sine}, COLUMNS, [&](int j, Complex v) SIMD_LAMBDA {
        S::store(column_table + (2 * j) * CHUNK + s, v.re);
        S::store(column_table + (2 * j + 1) * CHUNK + s, v.im);
      });
      y[0] = {z.cosine, z.sine};
      doubled(y, step, rows, [&](int i, Complex v) SIMD_LAMBDA {
        float* at = row_table + i * 4 * CHUNK + s;
        SIMD_UNROLL for (int end = 0; end < 2; end++) {
          S::store(at + end * CHUNK, S::mul(v.re, amplitude[end]));
          S::store(at + (2 + end) * CHUNK, S::mul(S::sub(S::zero(), v.im), amplitude[end]));
        }
      });
    }
  }
  static SIMD_INLINE Turn<S> turn_of(const float* angles) { return ::turn<S>(S::load(angles)); }

  // sums [rows][2 ends][COLUMNS] vectors += over the chunk's series
  SIMD_INLINE void multiply(float* into, int count) {
    constexpr int AT_A_TIME = S::ACCUMULATORS >= 16 ? 8 : S::ACCUMULATORS >= 8 ? 4 : 2;
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < COLUMNS; j += AT_A_TIME) {
        float* at = into + (int64_t)i * 2 * COLUMNS * S::W + j * S::W;
        F acc[2][AT_A_TIME];
        SIMD_UNROLL for (int end = 0; end < 2; end++)
          SIMD_UNROLL for (int k = 0; k < AT_A_TIME; k++) acc[end][k] = S::load(at + (end * COLUMNS + k) * S::W);
        for (int part = 0; part < 2; part++) {  // real, imaginary
          const float *row = row_table + (i * 4 + 2 * part) * CHUNK, *column = column_table + (2 * j + part) * CHUNK;
          for (int s = 0; s < count; s += S::W) {
            const F a = S::load(row + s), b = S::load(row + CHUNK + s);
            SIMD_UNROLL for (int k = 0; k < AT_A_TIME; k++) {
              const F c = S::load(column + 2 * k * CHUNK + s);
              acc[0][k] = S::fma(a, c, acc[0][k]), acc[1][k] = S::fma(b, c, acc[1][k]);
            }
          }
        }
        SIMD_UNROLL for (int end = 0; end < 2; end++)
          SIMD_UNROLL for (int k = 0; k < AT_A_TIME; k++) S::store(at + (end * COLUMNS + k) * S::W, acc[end][k]);
      }
    }
  }

  static constexpr int MOST_ROWS = 256;
};

}  // namespace
