// Stands in for primitives.cu, so that a CPU can run wavenet.cu: every CUDA thread is a fiber of one OS thread.
//
// An emulation of the programming model, not of a GPU: which thread runs next is drawn at random, numbers written
// to a neighbour's shared memory arrive after a random while, and a warp's instruction happens when its 32 lanes
// have come to it. Memory is sequentially consistent here. Under ThreadSanitizer (WN_RACES) every fiber is a
// thread of its own to it, with no order but that of barriers, bells and mail, so a missing barrier is a data race.
// Mail words count as release and acquire there: what is sent was computed from what had been read.
#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <functional>
#include <vector>

#if defined(WN_RACES)
#include <sanitizer/tsan_interface.h>
#define ORDER_OUT(p) __tsan_release((void*)(p))
#define ORDER_IN(p) __tsan_acquire((void*)(p))
#else
#define ORDER_OUT(p) (void)(p)
#define ORDER_IN(p) (void)(p)
#endif
#define HIDDEN __attribute__((no_sanitize("thread"), noinline))

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;
#define DEVICE inline
#define KERNEL static
#define RESIDENT(threads)
using std::max;
using std::min;

struct alignas(16) Quad { u32 v[4]; };
struct alignas(16) Floats4 { float v[4]; };
struct alignas(8) Pair { u32 lo, hi; };

namespace emulator {

enum { STACK = 128 << 10, IDLE_ROUNDS = 200000 };

struct Barrier {
  int arrived = 0;
  u32 generation = 0;
  bool any[2] = {false, false};
  char order[2];
};
struct Warp {
  Barrier barrier;
  int op = 0;
  u32 slot[32][10];
};
struct Block {
  Barrier barrier;
  std::vector<char> memory;
  std::vector<Warp> warps;
};
struct Cluster { Barrier barrier; };
struct Fiber {
  ucontext_t context;
  jmp_buf place;
  bool begun = false;
  std::vector<char> stack;
  int block, thread;
  bool done = false;
  const u32* waits = nullptr;  // runs again when this is no longer `seen`
  u32 seen = 0;
  void* shadow = nullptr;
};
struct Delivery { float *to; u64* bell; float v[2]; u64 when; };

struct Machine {
  int grid = 0, threads = 0;
  std::vector<Block> blocks;
  std::vector<Cluster> clusters;
  std::vector<Fiber> fibers;
  std::vector<Delivery> under_way;
  Fiber* now = nullptr;
  ucontext_t scheduler;
  jmp_buf place;
  void* shadow = nullptr;
  u64 clock = 0;
  u64 dice = 0;
  std::function<void()> body;
  const char* failure = nullptr;
};
static Machine* machine = nullptr;
#define gpu (*emulator::machine)
// A new one for each launch. Under ThreadSanitizer the old one stays: giving back a fiber's stack would be a race.
HIDDEN static void renew() {
#if !defined(WN_RACES)
  delete machine;
#endif
  machine = new Machine();
}
static char order_start, order_end;

HIDDEN static u32 random() {  // splitmix64
  u64 z = gpu.dice += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return (u32)(z >> 32);
}
// swapcontext asks the system to keep the signal mask, which takes longer than all the rest; ThreadSanitizer
// does not like jumps from stack to stack.
HIDDEN static void give_way() {
  Fiber* me = gpu.now;
#if defined(WN_RACES)
  __tsan_switch_to_fiber(gpu.shadow, __tsan_switch_to_fiber_no_sync);
  swapcontext(&me->context, &gpu.scheduler);
#else
  if (!_setjmp(me->place)) _longjmp(gpu.place, 1);
#endif
}
HIDDEN static void resume(Fiber& f) {
  gpu.now = &f;
#if defined(WN_RACES)
  __tsan_switch_to_fiber(f.shadow, __tsan_switch_to_fiber_no_sync);
  swapcontext(&gpu.scheduler, &f.context);
#else
  if (_setjmp(gpu.place)) return;
  if (f.begun) _longjmp(f.place, 1);
  f.begun = true;
  setcontext(&f.context);
#endif
}
HIDDEN static void fail(const char* why) {
  gpu.failure = why;
  for (;;) give_way();
}
// true for the last of `count` to arrive
HIDDEN static bool arrive(Barrier& b, int count, bool flag, u32& generation) {
  generation = b.generation;
  b.any[generation & 1] |= flag;
  ORDER_OUT(&b.order[generation & 1]);
  return ++b.arrived == count;
}
HIDDEN static void open(Barrier& b) {
  b.arrived = 0;
  b.any[(b.generation + 1) & 1] = false;
  b.generation++;
}
HIDDEN static void wait(Barrier& b, u32 generation) {
  while (b.generation == generation) {
    gpu.now->waits = &b.generation;
    gpu.now->seen = generation;
    give_way();
  }
  gpu.now->waits = nullptr;
}
HIDDEN static bool meet(Barrier& b, int count, bool flag) {
  u32 generation;
  if (arrive(b, count, flag, generation)) open(b);
  wait(b, generation);
  ORDER_IN(&b.order[generation & 1]);
  return b.any[generation & 1];
}

HIDDEN static void ring(u64* bell, int bytes);
HIDDEN static void deliver(const Delivery& d) {
  memcpy(d.to, d.v, 8);
  ring(d.bell, 8);
}

static void entry() {
  ORDER_IN(&order_start);
  gpu.body();
  ORDER_OUT(&order_end);
  gpu.now->done = true;
  give_way();
}

// `absent`: a block that finds no place until all others have left. -> null, or what went wrong
HIDDEN static const char* launch(int grid, int threads, size_t shared, int cluster, u32 seed, int absent,
                                 std::function<void()> body) {
  renew();
  gpu.grid = grid, gpu.threads = threads, gpu.body = body, gpu.dice = seed + 1;
  gpu.blocks.resize(grid);
  gpu.clusters.resize((grid + cluster - 1) / cluster);
  for (Block& b : gpu.blocks) {
    b.memory.assign(shared + 256, (char)0xff);  // not a number, wherever it is read before it is written
    b.warps.resize(threads / 32);
  }
  gpu.fibers.resize((size_t)grid * threads);
#if defined(WN_RACES)
  gpu.shadow = __tsan_get_current_fiber();
#endif
  ORDER_OUT(&order_start);
  for (size_t i = 0; i < gpu.fibers.size(); i++) {
    Fiber& f = gpu.fibers[i];
    f.block = (int)(i / threads), f.thread = (int)(i % threads);
    f.stack.resize(STACK);
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.data();
    f.context.uc_stack.ss_size = STACK;
    makecontext(&f.context, entry, 0);
#if defined(WN_RACES)
    f.shadow = __tsan_create_fiber(0);
#endif
  }
  u64 idle = 0;
  int left = (int)gpu.fibers.size(), absent_left = absent < 0 ? 0 : threads;
  while (left && !gpu.failure) {
    // a block for a while: its threads in random order, so that now one is ahead, now another
    const int block = (int)(random() % grid);
    bool ran = false;
    if (block != absent || left <= absent_left) {
      const u32 first = random() % threads, step = random() & 1 ? 1 : threads - 1;
      for (int i = 0; i < threads && !gpu.failure; i++) {
        Fiber& f = gpu.fibers[(size_t)block * threads + (first + (u32)i * step) % threads];
        if (f.done || (f.waits && *f.waits == f.seen)) continue;
        gpu.clock++;
        resume(f);
        ran = true;
        left -= f.done;
      }
    }
    for (size_t i = 0; i < gpu.under_way.size();)
      if (gpu.under_way[i].when <= gpu.clock || !ran) {
        deliver(gpu.under_way[i]);
        gpu.under_way[i] = gpu.under_way.back();
        gpu.under_way.pop_back();
      } else {
        i++;
      }
    idle = ran ? 0 : idle + 1;
    if (idle > IDLE_ROUNDS) gpu.failure = "dead-lock: every thread waits for another";
  }
  ORDER_IN(&order_end);
#if defined(WN_RACES)
  for (Fiber& f : gpu.fibers) __tsan_destroy_fiber(f.shadow);
#endif
  const char* failure = gpu.failure;
  return failure;
}

// Kernels whose threads need nobody: one after the other.
static void launch_plain(int grid, int threads, std::function<void()> body) {
  renew();
  gpu.threads = threads;
  Fiber one;
  gpu.now = &one;
  for (one.block = 0; one.block < grid; one.block++)
    for (one.thread = 0; one.thread < threads; one.thread++) body();
}

HIDDEN static void copy(void* to, const void* from, int bytes) {  // memcpy would be seen by ThreadSanitizer
  for (int i = 0; i < bytes; i++) ((volatile char*)to)[i] = ((const volatile char*)from)[i];
}
HIDDEN static float half_to_float(u16 h) {
  const int exponent = h >> 10 & 31, mantissa = h & 1023;
  float v = exponent == 31 ? (mantissa ? NAN : INFINITY)
            : exponent     ? ldexpf((float)(mantissa + 1024), exponent - 25)
                           : ldexpf((float)mantissa, -24);
  return h & 0x8000 ? -v : v;
}
HIDDEN static u16 float_to_half(float v) {  // to nearest, ties to even
  const u16 sign = signbit(v) ? 0x8000 : 0;
  float a = fabsf(v);
  if (isnan(v)) return 0x7fff;
  if (a >= 65520.0f) return sign | 0x7c00;
  int exponent = 0;
  if (a > 0) frexpf(a, &exponent);
  const int e = max(exponent - 1, -14);
  const int n = (int)rintf(ldexpf(a, 10 - e));  // 1024 .. 2048 where normal
  return (u16)(sign | (n < 1024 ? n : ((e + 14) << 10) + n));
}

enum Op { MMA = 1, SHUFFLE, UP, MAX, SUM, ANY };

// Row, column and register: PTX ISA, "Matrix Fragments for mma.m16n8k16".
HIDDEN static void mma(Warp& w) {
  static float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; lane++) {
    const int g = lane >> 2, c = lane & 3;
    for (int e = 0; e < 2; e++) {
      float v[6];
      for (int r = 0; r < 6; r++) v[r] = half_to_float((u16)(w.slot[lane][r] >> (16 * e)));
      a[g][2 * c + e] = v[0];
      a[g + 8][2 * c + e] = v[1];
      a[g][2 * c + 8 + e] = v[2];
      a[g + 8][2 * c + 8 + e] = v[3];
      b[2 * c + e][g] = v[4];
      b[2 * c + 8 + e][g] = v[5];
    }
  }
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 4; i++) {
      const int row = (lane >> 2) + 8 * (i >> 1), column = 2 * (lane & 3) + (i & 1);
      float sum;
      copy(&sum, &w.slot[lane][6 + i], 4);
      double exact = sum;
      for (int k = 0; k < 16; k++) exact += (double)a[row][k] * b[k][column];
      sum = (float)exact;
      copy(&w.slot[lane][6 + i], &sum, 4);
    }
}

HIDDEN static void perform(Warp& w, int op) {
  u32 out[32];
  for (int lane = 0; lane < 32; lane++) {
    out[lane] = w.slot[lane][0];
    if (op == SHUFFLE) out[lane] = w.slot[w.slot[lane][1] & 31][0];
    if (op == UP && lane >= (int)w.slot[lane][1]) out[lane] = w.slot[lane - w.slot[lane][1]][0];
    for (int i = 0; i < 32; i++) {
      const u32 v = w.slot[i][0];
      if (op == MAX) out[lane] = (u32)max((int)out[lane], (int)v);
      if (op == SUM) out[lane] = i ? out[lane] + v : v;
      if (op == ANY) out[lane] |= v;
    }
  }
  for (int lane = 0; lane < 32; lane++) w.slot[lane][0] = out[lane];
}

// All 32 lanes of a warp, the same instruction. Orders no memory.
HIDDEN static void together(int op, u32* v, int count) {
  Warp& w = gpu.blocks[gpu.now->block].warps[gpu.now->thread / 32];
  const int lane = gpu.now->thread % 32;
  if (w.barrier.arrived && w.op != op) fail("the lanes of a warp are at different instructions");
  w.op = op;
  copy(w.slot[lane], v, 4 * count);
  const u32 generation = w.barrier.generation;
  if (++w.barrier.arrived == 32) {
    if (op == MMA)
      mma(w);
    else
      perform(w, op);
    open(w.barrier);
  }
  wait(w.barrier, generation);
  copy(v, w.slot[lane], 4 * count);
}

}  // namespace emulator

DEVICE HIDDEN int thread() { return gpu.now->thread; }
DEVICE HIDDEN int block() { return gpu.now->block; }
DEVICE HIDDEN int grid_thread() { return block() * gpu.threads + thread(); }
DEVICE HIDDEN char* shared_memory() {
  char* p = gpu.blocks[block()].memory.data();
  return p + (128 - (uintptr_t)p % 128) % 128;
}
DEVICE HIDDEN bool sync_block_or(bool failed) {
  return emulator::meet(gpu.blocks[block()].barrier, gpu.threads, failed);
}
DEVICE void sync_block() { sync_block_or(false); }
DEVICE HIDDEN void sync_cluster() {
  emulator::meet(gpu.clusters[block() / WN_CLUSTER].barrier, WN_CLUSTER * gpu.threads, false);
}

DEVICE int as_int(float v) { int i; memcpy(&i, &v, 4); return i; }
DEVICE float as_float(u32 v) { float f; memcpy(&f, &v, 4); return f; }
DEVICE float as_float(int v) { return as_float((u32)v); }
DEVICE u32 together2(int op, u32 a, u32 b = 0) {
  u32 v[2] = {a, b};
  emulator::together(op, v, 2);
  return v[0];
}
DEVICE float broadcast(float v, int lane) { return as_float(together2(emulator::SHUFFLE, (u32)as_int(v), lane)); }
DEVICE int broadcast(int v, int lane) { return (int)together2(emulator::SHUFFLE, (u32)v, lane); }
DEVICE float from_below(float v, int lanes) { return as_float(together2(emulator::UP, (u32)as_int(v), lanes)); }
DEVICE int warp_max(int v) { return (int)together2(emulator::MAX, (u32)v); }
DEVICE int warp_sum(int v) { return (int)together2(emulator::SUM, (u32)v); }
DEVICE bool warp_any(bool v) { return together2(emulator::ANY, v) != 0; }
DEVICE void sync_warp() { warp_any(false); }  // weaker than the real one: it orders no memory
DEVICE void multiply(float d[4], const u32 a[4], Pair b) {
  u32 v[10] = {a[0], a[1], a[2], a[3], b.lo, b.hi};
  memcpy(v + 6, d, 16);
  emulator::together(emulator::MMA, v, 10);
  memcpy(d, v + 6, 16);
}
DEVICE u16 to_half(float v) { return emulator::float_to_half(v); }
DEVICE u32 pack_halves(float low, float high) { return to_half(low) | (u32)to_half(high) << 16; }
DEVICE float fast_tanh(float v) { return tanhf(v); }
DEVICE float fast_exp(float v) { return expf(v); }

DEVICE HIDDEN u64 now_ns() { return gpu.clock; }
DEVICE void rest() {}
DEVICE void raise(u32* error, u32 code) {
  u32 none = 0;
  __atomic_compare_exchange_n(error, &none, code, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
DEVICE u32 raised(const u32* error) { return __atomic_load_n(error, __ATOMIC_RELAXED); }

DEVICE void post(u64* at, u32 v, u32 count) { __atomic_store_n(at, (u64)count << 32 | v, __ATOMIC_RELEASE); }
DEVICE void post_two(u64* at, float a, float b, u32 count) {
  post(at, (u32)as_int(a), count);
  if (emulator::random() & 1) emulator::give_way();  // each word arrives whole, but not both at once
  post(at + 1, (u32)as_int(b), count);
}
DEVICE u64 peek(const u64* at) {
  emulator::give_way();
  return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
DEVICE void peek_two(const u64* at, u64& a, u64& b) {
  a = peek(at);
  b = __atomic_load_n(at + 1, __ATOMIC_ACQUIRE);
}

namespace emulator {
struct Bell { int bytes; short armed, phase; };  // an mbarrier for one arrival
static_assert(sizeof(Bell) == sizeof(u64), "a bell lies where an mbarrier does");
HIDDEN static void settle(Bell& b) {
  if (b.armed > 1) fail("a bell was armed twice");
  if (b.armed && b.bytes == 0) b.armed = 0, b.phase ^= 1;
}
HIDDEN static void ring(u64* at, int bytes) {
  Bell& b = *(Bell*)at;
  ORDER_OUT(at);
  b.bytes -= bytes;
  settle(b);
}
}  // namespace emulator
DEVICE HIDDEN void bell_init(u64* at) { *(emulator::Bell*)at = {0, 0, 0}; }
DEVICE void bells_ready() {}
DEVICE HIDDEN void bell_arm(u64* at, u32 bytes) {
  if (WN_CLUSTER == 1) return;
  emulator::Bell& b = *(emulator::Bell*)at;
  b.bytes += (int)bytes;
  b.armed++;
  emulator::settle(b);
}
DEVICE HIDDEN bool bell_rang(u64* at, u32 phase) {
  if ((u32)((emulator::Bell*)at)->phase == phase) {
    emulator::give_way();
    return false;
  }
  ORDER_IN(at);
  return true;
}
template <class P>
static P* peer(P* mine, int rank) {
  emulator::Machine& m = gpu;
  const int other = block() / WN_CLUSTER * WN_CLUSTER + rank;
  const ptrdiff_t offset = (char*)mine - shared_memory();
  char* p = m.blocks[other].memory.data();
  return (P*)(p + (128 - (uintptr_t)p % 128) % 128 + offset);
}
DEVICE void link_two(float* mine, u64* bell, int rank, float a, float b) {
  float* to = peer(mine, rank);
#if defined(WN_RACES)
  to[0] = a, to[1] = b;
  emulator::ring(peer(bell, rank), 8);
#else
  gpu.under_way.push_back(
      {to, peer(bell, rank), {a, b}, gpu.clock + emulator::random() % (u32)(2 * gpu.threads)});
#endif
}
