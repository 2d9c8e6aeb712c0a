// Random weights of a guided decoder through NEON and plain C++; prints the largest difference of the logits in fp32 and in int8.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <vector>

#include "wavenet.h"

typedef std::vector<float> Values;

static Values values(int count, float size) {
  Values v(count);
  for (float& x : v) x = (rand() / (float)RAND_MAX * 2 - 1) * size;
  return v;
}

int main() {
  const int L = 10, R = 24, S = 40, A = 64, D = 7, B = 2, N = 192;
  int32_t dilations[L];
  std::vector<Values> dilated, output, bias;
  const float *dilated_at[L], *output_at[L], *bias_at[L];
  for (int i = 0; i < L; i++) {
    const int rows = S + (i < L - 1 ? R : 0);
    dilations[i] = 1 << (i % 5);
    dilated.push_back(values(2 * R * R * 2, 0.3f));
    output.push_back(values(rows * R, 0.3f));
    bias.push_back(values(rows, 0.1f));
  }
  for (int i = 0; i < L; i++) dilated_at[i] = dilated[i].data(), output_at[i] = output[i].data(), bias_at[i] = bias[i].data();
  Values embed = values(2 * A * R, 1), condition = values((L * 2 * R + S) * D, 0.4f), shift = values(L * 2 * R + S, 0.2f);
  Values head = values(S * S, 0.3f), head_bias = values(S, 0.2f), classify = values(A * S, 0.5f);
  Values classify_bias = values(A, 0.3f), audio = values(A, 1), latent = values(B * D, 1), noise = values(B * N, 0.5f);
  std::vector<int32_t> forced(B * N);
  std::vector<int32_t> guide(B * N), leaned(A * A);
  for (int32_t& x : forced) x = 1 + rand() % (A - 1);
  for (int32_t& x : guide) x = rand() % (A + 2) - 1;
  for (int32_t& x : leaned) x = rand() % A;
  for (float& x : noise) x += 0.5f;
  WnShape shape = {L, R, S, A, D, 32, B, 1, dilations};
  WnWeights weights = {embed.data(), condition.data(), shift.data(), dilated_at, output_at, bias_at,
                       head.data(), head_bias.data(), classify.data(), classify_bias.data(), audio.data(),
                       leaned.data()};
  Values input(L * R, 4.0f / 127), gated(L * R, 1.0f / 127), sum(S, 8.0f / 254), last(S, 4.0f / 254);
  WnSteps steps = {input.data(), gated.data(), sum.data(), last.data()};
  const float temperature[B] = {1, 1};
  for (int precision : {WN_FP32, WN_INT8}) {
    Values logits[2];
    for (int i = 0; i < 2; i++) {
      const int isa = i ? WN_NEON : WN_PLAIN;
      void* d = wn_create(&shape, &weights, precision == WN_INT8 ? &steps : nullptr, isa, precision);
      if (!d) return 1;
      logits[i].assign(B * N * A, NAN);
      Values out(B * N);
      for (int b = 0; b < B; b++) wn_condition(d, b, latent.data() + b * D, 1);
      wn_run(d, N, noise.data(), temperature, forced.data(), guide.data(), out.data(), nullptr, logits[i].data());
      wn_free(d);
    }
    double worst = 0;
    for (int i = 0; i < B * N * A; i++) {
      const double error = fabs(logits[0][i] - logits[1][i]);
      if (!(error <= worst)) worst = error;
    }
    printf("%s %g\n", precision == WN_INT8 ? "int8" : "fp32", worst);
  }
}
