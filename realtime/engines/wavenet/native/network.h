// The decoder's weights and state in one piece of memory, packed in the order in which they are read.
//
// Rows of the dilated layers lie as the gate wants them: a vector of gates, the vector of values it opens, ...
// The first layer's input is one of `classes` embeddings, so both its products are tables, looked up per sample;
// so are those of the embedding that a guide adds.
#pragma once
#include <math.h>

#include "arena.h"
#include "decoder.h"
#include "linear.h"

namespace {

SIMD_INLINE void put_weight(float* w, float v) { *w = v; }
SIMD_INLINE void put_weight(int8_t* w, float v) { *w = (int8_t)lrintf(v); }
SIMD_INLINE void put_weight(uint16_t* w, float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  *w = (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // to nearest, ties to even
}

// value(row, column) of a padded matrix -> tiles as linear.h wants them; scale[row]: what one step is worth.
template <class S, class P, class Value>
SIMD_NOINLINE void pack(typename P::Weight* out, int vectors, int columns, int at_once, const float* scale,
                      Value value) {
  for (int first = 0; first < vectors;) {
    int rows = tile_width<S>(vectors - first, at_once) * S::W;
    for (int c = 0; c < columns; c++) {
      for (int r = 0; r < rows; r++) {
        int row = first * S::W + r;
        float v = value(row, c) / (P::QUANTISED ? scale[row] : 1.0f);
        put_weight(out + ((int64_t)(c / P::G) * rows + r) * P::G + c % P::G, v);
      }
    }
    out += (int64_t)rows * columns;
    first += rows / S::W;
  }
}

// The scale that lets int8 hold the row's largest weight, and the sum of its rounded weights.
template <class Value>
SIMD_INLINE float row_scale(int columns, Value value) {
  float most = 1e-20f;
  for (int c = 0; c < columns; c++) most = fmaxf(most, fabsf(value(c)));
  return most / 127.0f;
}
template <class Value>
SIMD_INLINE float row_sum(int columns, float scale, Value value) {
  float sum = 0.0f;
  for (int c = 0; c < columns; c++) sum += rintf(value(c) / scale);
  return sum;
}

template <class P>
struct Layer {
  typename P::Weight *previous, *current, *residual, *skip;
  typename P::Stored* start;  // what takes the activations' offset out of the previous tap
  float *dilated_scale, *residual_scale, *residual_bias, *skip_scale, *input_inverse, *gated_inverse;
  int64_t ring, taps;  // where this layer's part of a stream's rings and taps begins
  int dilation, batch, phase;
};

template <class P>
struct Stream {
  typename P::Input *ring, *gated, *head, *classify;
  typename P::Stored* taps;
  float *hidden, *total, *condition, *logits, *sums, *guided;
  int drawn, last, before;  // classes; `before` = classes: none yet
  int hint, hint_before;    // the guide's, likewise
};

// What one of `classes` embeddings gives the first layer: embed [A][Rp], now [A][2Rp], past [A + 1][2Rp], its last
// row zero.
struct Tables {
  float *embed, *now, *past;
};

template <class S, class P>
struct Weights {
  Layer<P>* layers;
  typename P::Weight *head, *classify;
  Tables own, guide;  // of the class before, and of the guide's
  float *skip_bias, *head_scale, *classify_scale, *classify_bias, *head_inverse, *classify_inverse, *audio;
  float *condition, *condition_bias, *latent;
  int32_t* leaned;  // [classes of the guide][classes drawn]
  int Rp, Sp, Ap, Dp, conditions;
};

// Fills `Weights` from PyTorch's arrays.
template <class S, class P>
struct Packer {
  const WnShape& n;
  const WnWeights* from;
  const WnSteps* steps;
  Weights<S, P>& to;
  Arena& arena;

  // padded row -> PyTorch's row of a dilated layer, or -1
  int dilated_row(int row) const {
    int vector = row / S::W, channel = vector / 2 * S::W + row % S::W;
    return channel < n.residual ? channel + vector % 2 * n.residual : -1;
  }
  float step(const float* table, int layer, int channel) const {
    return P::QUANTISED && channel < n.residual ? table[layer * n.residual + channel] : 1.0f;
  }
  float dilated(int layer, int row, int channel, int tap) const {
    int r = dilated_row(row);
    if (r < 0 || channel >= n.residual) return 0.0f;
    return from->dilated[layer][((int64_t)r * n.residual + channel) * 2 + tap];
  }
  float output(int layer, int row, int channel, bool skip) const {
    if (channel >= n.residual || row >= (skip ? n.skip : n.residual)) return 0.0f;
    return from->output[layer][(int64_t)(skip ? row : row + n.skip) * n.residual + channel];
  }
  void inverse(float* out, const float* table, int count, int width) {
    for (int c = 0; c < width; c++) out[c] = P::QUANTISED && c < count ? 1.0f / table[c] : 0.0f;
  }

  void tables(const Tables& out, const float* embed) {
    int rows = 2 * to.Rp;
    for (int a = 0; a < n.classes; a++)
      for (int c = 0; c < to.Rp; c++)
        out.embed[a * to.Rp + c] = c < n.residual ? embed[a * n.residual + c] : 0.0f;
    for (int a = 0; a <= n.classes; a++)
      for (int row = 0; row < rows; row++) {
        double past = 0.0, now = 0.0;
        for (int c = 0; a < n.classes && c < n.residual; c++) {
          past += (double)dilated(0, row, c, 0) * embed[a * n.residual + c];
          now += (double)dilated(0, row, c, 1) * embed[a * n.residual + c];
        }
        out.past[(int64_t)a * rows + row] = (float)past;
        if (a < n.classes) out.now[(int64_t)a * rows + row] = (float)now;
      }
  }

  void dilated_layer(int l) {
    Layer<P>& y = to.layers[l];
    const int rows = 2 * to.Rp, groups = to.Rp;
    float* bias = to.condition_bias + (int64_t)l * rows;
    auto tap = [&](int row, int c, int t) { return dilated(l, row, c, t) * step(steps ? steps->input : 0, l, c); };
    for (int row = 0; P::QUANTISED && row < rows; row++) {
      float past = row_scale(groups, [&](int c) { return tap(row, c, 0); });
      float now = row_scale(groups, [&](int c) { return tap(row, c, 1); });
      float scale = y.dilated_scale[row] = fmaxf(past, now);
      float sum_past = row_sum(groups, scale, [&](int c) { return tap(row, c, 0); });
      float sum_now = row_sum(groups, scale, [&](int c) { return tap(row, c, 1); });
      y.start[row] = (typename P::Stored)(-S::OFFSET * sum_past);
      bias[row] -= S::OFFSET * sum_now * scale;
    }
    pack<S, P>(y.previous, rows / S::W, groups, y.batch, y.dilated_scale,
               [&](int row, int c) { return tap(row, c, 0); });
    pack<S, P>(y.current, rows / S::W, groups, 1, y.dilated_scale, [&](int row, int c) { return tap(row, c, 1); });
  }

  void output_layer(int l) {
    Layer<P>& y = to.layers[l];
    auto value = [&](int row, int c, bool skip) {
      return output(l, row, c, skip) * step(steps ? steps->gated : 0, l, c);
    };
    const float* bias = from->output_bias[l];
    for (int half = l + 1 < n.layers ? 0 : 1; half < 2; half++) {
      const bool skip = half;
      const int rows = skip ? to.Sp : to.Rp, count = skip ? n.skip : n.residual;
      float* scale = skip ? y.skip_scale : y.residual_scale;
      float* sum = skip ? to.skip_bias : y.residual_bias;
      for (int row = 0; row < rows; row++) {
        if (row < count) sum[row] += bias[skip ? row : row + n.skip];
        if (!P::QUANTISED) continue;
        scale[row] = row_scale(to.Rp, [&](int c) { return value(row, c, skip); });
        float weights = row_sum(to.Rp, scale[row], [&](int c) { return value(row, c, skip); });
        sum[row] -= S::OFFSET * weights * scale[row];
      }
      pack<S, P>(skip ? y.skip : y.residual, rows / S::W, to.Rp, 1, scale,
                 [&](int row, int c) { return value(row, c, skip); });
    }
  }

  // head and classify: their input was shifted by 127 steps to use both halves of int8
  void square(typename P::Weight* out, int rows, int count, const float* weight, const float* step_of, float* scale,
              float* bias) {
    auto value = [&](int row, int c) {
      if (row >= count || c >= n.skip) return 0.0f;
      return weight[(int64_t)row * n.skip + c] * (P::QUANTISED ? step_of[c] : 1.0f);
    };
    for (int row = 0; P::QUANTISED && row < rows; row++) {
      scale[row] = row_scale(to.Sp, [&](int c) { return value(row, c); });
      float sum = row_sum(to.Sp, scale[row], [&](int c) { return value(row, c); });
      bias[row] += (127 - S::OFFSET) * sum * scale[row];
    }
    pack<S, P>(out, rows / S::W, to.Sp, 1, scale, value);
  }

  // PyTorch's row of the condition for a padded one, or -1
  int condition_row(int row) const {
    int layer = row / (2 * to.Rp);
    if (layer < n.layers) {
      int r = dilated_row(row % (2 * to.Rp));
      return r < 0 ? -1 : layer * 2 * n.residual + r;
    }
    int s = row - n.layers * 2 * to.Rp;
    return s < n.skip ? n.layers * 2 * n.residual + s : -1;
  }

  void fill() {
    for (int row = 0; row < to.conditions; row++) {
      int r = condition_row(row);
      to.condition_bias[row] = r < 0 ? 0.0f : from->condition_bias[r];
    }
    pack<S, Fp32<S>>(to.condition, to.conditions / S::W, to.Dp, 1, nullptr, [&](int row, int c) {
      int r = condition_row(row);
      return r < 0 || c >= n.latent ? 0.0f : from->condition[(int64_t)r * n.latent + c];
    });
    tables(to.own, from->embed);
    if (n.guided) tables(to.guide, from->embed + (int64_t)n.classes * n.residual);
    for (int l = 0; l < n.layers; l++) {
      inverse(to.layers[l].input_inverse, steps ? steps->input + l * n.residual : nullptr, n.residual, to.Rp);
      inverse(to.layers[l].gated_inverse, steps ? steps->gated + l * n.residual : nullptr, n.residual, to.Rp);
      if (l > 0) dilated_layer(l);
      output_layer(l);
    }
    inverse(to.head_inverse, steps ? steps->head : nullptr, n.skip, to.Sp);
    inverse(to.classify_inverse, steps ? steps->classify : nullptr, n.skip, to.Sp);
    float* head_bias = to.condition_bias + n.layers * 2 * to.Rp;
    for (int row = 0; row < n.skip; row++) head_bias[row] += from->head_bias[row];
    for (int row = 0; row < to.Ap; row++)
      to.classify_bias[row] = row < n.classes ? from->classify_bias[row] : -1e30f;
    square(to.head, to.Sp, n.skip, from->head, steps ? steps->head : nullptr, to.head_scale, head_bias);
    square(to.classify, to.Ap, n.classes, from->classify, steps ? steps->classify : nullptr, to.classify_scale,
           to.classify_bias);
    memcpy(to.audio, from->audio, sizeof(float) * n.classes);
    if (n.guided) memcpy(to.leaned, from->leaned, sizeof(int32_t) * n.classes * n.classes);
  }
};

}  // namespace
