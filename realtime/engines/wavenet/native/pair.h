// How two cores share a sample. The first runs the layers one after the other; the second, a layer behind it,
// sums the skips, computes the past taps of the next sample, and draws. The first waits once a sample, for the
// draw; the second for every layer.
//
// It cannot collapse: the first core takes the second in only once it has said that it is awake, never waits for
// it to wake, and where the draw is late for longer than PATIENCE (another program has that core) it goes on
// alone, for twice as many blocks each time that happens. All waiting gives the core away after SPINS turns.
#pragma once
#include <stdint.h>

#if defined(__GNUC__)
#include <sched.h>
#include <time.h>
#define WN_PAIRS
#endif

struct Task {
  const float *noise, *temperature;
  float* logits;
  int64_t row;
  int sample;
};


#if defined(WN_PAIRS)

#define WN_PAIR_INLINE inline __attribute__((always_inline))

struct Pair {
  static constexpr int SPINS = 4000;
  static constexpr int64_t PATIENCE_NS = 300000;
  static constexpr int MOST_ALONE = 128;

  Task task;
  int64_t sequence, arrived_sequence;  // samples shared so far, as each core counts them
  int alone, penalty;                  // blocks to go alone still, and the next time
  bool present;
  // each word has one writer, and a cache line of its own
  alignas(128) int64_t block;     // first core: the block it is in
  alignas(128) int64_t left;      // first core: the block it has finished
  alignas(128) int64_t awake;     // second core: the block it came for
  alignas(128) int64_t progress;  // first core: layers finished since the beginning
  alignas(128) int64_t drawn;     // second core: samples finished since the beginning
  alignas(128) int64_t stalls;

  WN_PAIR_INLINE static int64_t get(const int64_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }
  WN_PAIR_INLINE static void set(int64_t& word, int64_t v) { __atomic_store_n(&word, v, __ATOMIC_RELEASE); }
  WN_PAIR_INLINE static void breathe(int& spins) {
    if (++spins > SPINS) sched_yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
  }

  // first core
  WN_PAIR_INLINE bool joined() const { return present && get(awake) == block; }
  WN_PAIR_INLINE void begin(int layers) { set(progress, sequence * (layers + 1) + 1); }
  WN_PAIR_INLINE void advance() { set(progress, progress + 1); }
  WN_PAIR_INLINE void wait() {
    sequence++;
    int spins = 0;
    int64_t since = 0;
    while (get(drawn) < sequence) {
      breathe(spins);
      if (spins == SPINS) since = now();
    }
    if (since && now() - since > PATIENCE_NS) {
      present = false;  // the second core is idle now, and stays so until the next block
      alone = penalty = penalty * 2 + 1 < MOST_ALONE ? penalty * 2 + 1 : MOST_ALONE;
      stalls++;
    }
  }
  WN_PAIR_INLINE static int64_t now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
  }

  // around a block; -> whether the second core is wanted
  WN_PAIR_INLINE bool enter() {
    present = alone == 0;
    if (alone > 0) alone--;
    set(block, block + 1);
    return present;
  }
  WN_PAIR_INLINE void leave() {
    if (present) penalty /= 2;
    set(left, block);
  }

  // second core
  WN_PAIR_INLINE int64_t arrive() {
    const int64_t b = get(block);
    set(awake, b);
    return b;
  }
  // false when the first core has finished the block
  WN_PAIR_INLINE bool next_sample(int64_t of) {
    for (int spins = 0; get(left) < of; breathe(spins))
      if (get(progress) > shared_base) return true;
    return false;
  }
  WN_PAIR_INLINE void wait_layer(int l, int) {
    for (int spins = 0; get(progress) < shared_base + l + 2;) breathe(spins);
  }
  WN_PAIR_INLINE void finished() {
    shared_base += step;
    set(drawn, ++arrived_sequence);
  }
  int64_t shared_base, step;  // second core: progress before its next sample; layers + 1
};

#else

struct Pair {
  Task task;
  bool present;
  bool joined() const { return false; }
  void begin(int) {}
  void advance() {}
  void wait() {}
  int64_t arrive() { return 0; }
  bool next_sample(int64_t) { return false; }
  void wait_layer(int, int) {}
  void finished() {}
};

#endif
