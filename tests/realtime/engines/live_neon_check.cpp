// Random weights through NEON and plain C++; prints the largest difference of latent and of audio.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <deque>
#include <vector>

#include "live.h"

typedef std::vector<float> Values;
static std::deque<Values> kept;

static const float* values(int count, float size) {
  kept.emplace_back(count);
  for (float& x : kept.back()) x = (rand() / (float)RAND_MAX * 2 - 1) * size;
  return kept.back().data();
}

// As live.h wants it, outputs filled up to a multiple of `width`; what fills up need not be zero here.
static LiveMatrix matrix(int inputs, int outputs, int width) {
  const int filled = (outputs + width - 1) / width * width;
  return {inputs, outputs, values(inputs * filled, 1.7f / sqrtf(inputs)), values(filled, 0.1f)};
}

// 16 bins, without a bias
static LiveMatrix kernel(int inputs) { return {inputs, 32, values(inputs * 32, 0.1f), nullptr}; }

static double compare(void* const part[2], int hops, int in, int out) {
  double worst = 0;
  for (int i = 0; i < hops; i++) {
    Values a(out), b(out);
    const float *given = values(in, 1.5f), *noise = values(64, 0.5f);
    live_run(part[0], 1, given, noise, a.data());
    live_run(part[1], 1, given, noise, b.data());
    for (int k = 0; k < out; k++) {
      const double error = fabs(a[k] - b[k]);
      if (!(error <= worst)) worst = error;
    }
  }
  return worst;
}

int main() {
  const int HOP = 64, P = 21, C = 6, G = 3, EACH = 3, SEMITONES = 24, D = EACH * P + G;
  const int32_t shifts[] = {-5, 0, 7}, dilations[] = {1, 2};
  const LiveSource source = {128, 3, {128, 9, values(128 * 32, 0.1f), nullptr}};
  std::vector<LiveBins> bins;
  for (int i = 0; i < 7; i++) bins.push_back({i < 3 ? 0 : -1, kernel(i < 3 ? 27 : 100 + i)});
  std::vector<LiveLayer> layers;
  for (int i = 0; i < 2; i++)
    layers.push_back({matrix(3 * C, C, 4), {25, C, values(25 * C, 0.3f), values(C, 0.1f)}, matrix(C, C, 4), matrix(C, C, 4)});
  LiveEncoderShape ears = {HOP, 512, P, SEMITONES, C, EACH, G, 1, 5, 2, 3, 2, -0.84f, shifts, dilations, &source, bins.data()};
  LiveEncoderWeights heard = {matrix(14 * 6, C, 4), matrix(C, EACH, 4),
                              {matrix(7 * 16, 10, 32), matrix(30, 10, 32), matrix(10, G, 32)}, layers.data()};

  const int H = 5, U = 2, M = 6, HIDDEN = 6, PLACE = 8, SAID = 8, IN = EACH + PLACE + SAID, TAPS = 127, BEND = 39;
  LiveDecoderShape hand = {HOP, P, EACH, G, PLACE, HIDDEN, 12, H, M, TAPS, 4, 8, U, 2e-5f, BEND};
  std::vector<double> f0(P), multiples, offsets, bends;
  for (int p = 0; p < P; p++) f0[p] = 0.01 * pow(2, p / 12.0);
  for (int i = 0; i < P * H * U; i++) multiples.push_back(1 + i / U % H), offsets.push_back(0.1 * (i % 9));
  for (int i = -BEND; i <= BEND; i++) bends.push_back(pow(2, i / 768.0));
  Values audible(8 * 32, 1.0f), fade(2 * HOP);
  for (int i = 0; i < HOP; i++) fade[HOP + i] = (i + 1) / (float)HOP, fade[i] = 1 - fade[HOP + i];
  std::vector<int32_t> partials(P, H);
  LiveDecoderWeights told = {matrix(G, SAID, 32), matrix(IN + HIDDEN, 2 * HIDDEN, 4), matrix(HIDDEN, HIDDEN, 4),
                             matrix(IN, HIDDEN, 4), {matrix(HIDDEN + IN, 12, 4), matrix(36, 12, 4)}, matrix(12, H, 4),
                             matrix(12, 4, 4), {matrix(4 * P + G, 8, 32), matrix(24, 8, 32), matrix(8, M, 32)},
                             values(PLACE * 32, 1), values(8 * 32, 1), audible.data(), values(U, 1), values(M * 128, 0.1f),
                             fade.data(), f0.data(), multiples.data(), offsets.data(), bends.data(), partials.data()};
  void *encoder[2], *decoder[2];
  for (int i = 0; i < 2; i++) {
    const int isa = i ? LIVE_NEON : LIVE_PLAIN;
    encoder[i] = live_encoder(&ears, &heard, isa), decoder[i] = live_decoder(&hand, &told, isa);
    if (!encoder[i] || !decoder[i]) return 1;
  }
  printf("latent %g\n", compare(encoder, 60, HOP, D));
  printf("audio %g\n", compare(decoder, 60, D, HOP));
}
