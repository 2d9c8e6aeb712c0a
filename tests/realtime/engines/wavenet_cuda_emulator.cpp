// wavenet.cu on a CPU: a library for the tests, or with WN_RACES a program for ThreadSanitizer.
#include "wavenet_cuda_emulator.h"

#include <random>

#include "wavenet.cu"

#if !defined(WN_RACES)
extern "C" const char* emulate_wn_run(int grid, int shared, u32 seed, int absent, WN_MODEL, const float* condition,
                                      const float* noise, const float* temperature, const int* forced, const int* guide,
                                      float* audio, int* classes, float* logits, u32 start, int count, int hop,
                                      u64 patience_ns) {
  return emulator::launch(grid, T, shared, WN_CLUSTER, seed, absent, [&] {
    wn_run(layers, head_weights, embed, leaned, output_bias, classify_bias, audio_of, dilation, ring_start, ring, last,
           mail, token, error, slots, condition, noise, temperature, forced, guide, audio, classes, logits, start,
           count, hop, patience_ns);
  });
}
extern "C" const char* emulate_wn_condition(int grid, int, u32, int, const float* weight, const float* bias,
                                            const float* latent, float* condition, int latents, int frames) {
  emulator::launch_plain(grid, 128, [&] { wn_condition(weight, bias, latent, condition, latents, frames); });
  return nullptr;
}
extern "C" const char* emulate_wn_reset(int grid, int, u32, int, u16* ring, int* last, long long slots,
                                        int stream, int threads) {
  emulator::launch_plain(grid, 128, [&] { wn_reset(ring, last, slots, stream, threads); });
  return nullptr;
}
#else
// Random weights of the right sizes; only the order of reads and writes is of interest here.
int main(int, char** arguments) {
  const u32 seed = (u32)atoi(arguments[1]);
  const int count = atoi(arguments[2]), hop = 4;
  std::mt19937 random(seed);
  auto floats = [&](size_t n) {
    std::vector<float> v(n);
    for (float& f : v) f = (float)random() / 4294967296.0f - 0.5f;
    return v;
  };
  auto quads = [&](size_t halves) {
    std::vector<Quad> v(halves / 8);
    for (Quad& q : v)
      for (u32& w : q.v) w = pack_halves((float)random() / 4294967296.0f - 0.5f, (float)random() / 4294967296.0f - 0.5f);
    return v;
  };
  std::vector<int> dilation, start, last(B, WN_CLASSES / 2), classes((size_t)B * count);
  int slots = 0;
  for (int l = 0; l < L; l++) dilation.push_back(1 << l % 3), start.push_back(slots), slots += 1 << l % 3;
  auto layers = quads((size_t)L * (4 * R * R + WIDTH * R)), head = quads((size_t)S * S + A * S);
  auto embed = floats((1 + WN_GUIDED) * A * R), output_bias = floats(L * WIDTH);
  auto classify_bias = floats(A), audio_of = floats(A);
  auto condition = floats((size_t)(count / hop + 1) * B * ROWS), noise = floats((size_t)B * count);
  std::vector<float> temperature(B, 1.0f), audio((size_t)B * count);
  for (float& u : noise) u += 0.5f;
  std::vector<int> guide((size_t)B * count);
  for (int& told : guide) told = (int)(random() % WN_CLASSES);
  std::vector<u16> leaned((size_t)WN_CLASSES * A);
  for (u16& kept : leaned) kept = (u16)(random() % WN_CLASSES);
  std::vector<u16> ring((size_t)B * slots * R);
  std::vector<u64> mail((size_t)(L + 1) * 2 * B * WIDTH), token(2 * B);
  u32 error = 0;
  const int grid = (L + WN_CLUSTER) / WN_CLUSTER * WN_CLUSTER;
  for (int launch = 0; launch < 2; launch++) {
    const char* failure = emulator::launch(grid, T, WN_SHARED_BYTES, WN_CLUSTER, seed + launch, -1, [&] {
      wn_run(layers.data(), head.data(), embed.data(), WN_GUIDED ? leaned.data() : nullptr, output_bias.data(),
             classify_bias.data(), audio_of.data(), dilation.data(), start.data(), ring.data(), last.data(),
             mail.data(), token.data(), &error, slots, condition.data(), noise.data(), temperature.data(), nullptr,
             WN_GUIDED ? guide.data() : nullptr, audio.data(), classes.data(), nullptr, (u32)(launch * count), count,
             hop, 1ull << 40);
    });
    if (failure || error) return fprintf(stderr, "%s, error %u\n", failure ? failure : "-", error), 3;
  }
  return puts("finished"), 0;
}
#endif
