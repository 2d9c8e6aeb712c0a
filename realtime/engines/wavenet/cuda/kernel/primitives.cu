// What the kernel asks of the chip, as small functions. tests/ holds the same functions for a CPU, so that
// wavenet.cu can be run and compared without a GPU.
//
// Two ways to hand numbers to another block:
//   link   inside a cluster: st.async writes into the neighbour's shared memory and counts the bytes on its
//          mbarrier (sm_90 and later)
//   mail   through L2: one 8-byte word holds the number and the count of the sample it belongs to. A word is
//          written and read at once, so it is never half old, and neither fence nor flag is needed.
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;
#define DEVICE __device__ __forceinline__
#define KERNEL extern "C" __global__
#define RESIDENT(threads) __launch_bounds__(threads, 1)

struct __align__(16) Quad { u32 v[4]; };
struct __align__(16) Floats4 { float v[4]; };
struct __align__(8) Pair { u32 lo, hi; };

DEVICE int thread() { return threadIdx.x; }
DEVICE int block() { return blockIdx.x; }
DEVICE int grid_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }
DEVICE char* shared_memory() {
  extern __shared__ __align__(128) char wn_shared[];
  return wn_shared;
}

DEVICE void sync_warp() { __syncwarp(); }
DEVICE void sync_block() { __syncthreads(); }
DEVICE bool sync_block_or(bool failed) { return __syncthreads_or(failed); }
DEVICE float broadcast(float v, int lane) { return __shfl_sync(~0u, v, lane); }
DEVICE int broadcast(int v, int lane) { return __shfl_sync(~0u, v, lane); }
DEVICE float from_below(float v, int lanes) { return __shfl_up_sync(~0u, v, lanes); }
DEVICE int warp_max(int v) { return __reduce_max_sync(~0u, v); }
DEVICE int warp_sum(int v) { return (int)__reduce_add_sync(~0u, (u32)v); }
DEVICE bool warp_any(bool v) { return __any_sync(~0u, v); }

// d += a b: 16 rows, 8 columns, 16 deep, fp16 in, fp32 sums.
DEVICE void multiply(float d[4], const u32 a[4], Pair b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.lo), "r"(b.hi));
}
DEVICE u32 pack_halves(float low, float high) {
  u32 out;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}
DEVICE u16 to_half(float v) {
  u16 out;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out) : "f"(v));
  return out;
}
// about as exact as the fp16 number that is made of it
DEVICE float fast_tanh(float v) {
  float out;
  asm("tanh.approx.f32 %0, %1;" : "=f"(out) : "f"(v));
  return out;
}
DEVICE float fast_exp(float v) { return __expf(v); }
DEVICE int as_int(float v) { return __float_as_int(v); }
DEVICE float as_float(u32 v) { return __uint_as_float(v); }
DEVICE float as_float(int v) { return __int_as_float(v); }

DEVICE u64 now_ns() {
  u64 t;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
  return t;
}
DEVICE void rest() { asm volatile("nanosleep.u32 20000;"); }
DEVICE void raise(u32* error, u32 code) { atomicCAS(error, 0u, code); }
DEVICE u32 raised(const u32* error) {
  u32 v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(error) : "memory");
  return v;
}

// ---- mail
DEVICE u64 word(u32 v, u32 count) { return (u64)count << 32 | v; }
DEVICE void post(u64* at, u32 v, u32 count) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(at), "l"(word(v, count)) : "memory");
}
DEVICE void post_two(u64* at, float a, float b, u32 count) {
  asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1, %2};" ::"l"(at), "l"(word(__float_as_uint(a), count)),
               "l"(word(__float_as_uint(b), count))
               : "memory");
}
DEVICE u64 peek(const u64* at) {
  u64 v;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(at) : "memory");
  return v;
}
DEVICE void peek_two(const u64* at, u64& a, u64& b) {
  asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(a), "=l"(b) : "l"(at) : "memory");
}

// ---- links
#if WN_CLUSTER > 1
DEVICE u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
DEVICE void bell_init(u64* bell) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(bell)) : "memory");
}
DEVICE void bells_ready() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEVICE void bell_arm(u64* bell, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(bell)), "r"(bytes)
               : "memory");
}
// waits a short, bounded time for that phase
DEVICE bool bell_rang(u64* bell, u32 phase) {
  u32 done;
  asm volatile(
      "{ .reg .pred p;\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p; }"
      : "=r"(done) : "r"(shared_address(bell)), "r"(phase) : "memory");
  return done != 0;
}
DEVICE u32 peer(const void* mine, int rank) {
  u32 out;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(out) : "r"(shared_address(mine)), "r"(rank));
  return out;
}
DEVICE void link_two(float* mine, u64* bell, int rank, float a, float b) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(
                   peer(mine, rank)), "r"(__float_as_uint(a)), "r"(__float_as_uint(b)), "r"(peer(bell, rank))
               : "memory");
}
DEVICE void sync_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
#else
DEVICE void bell_init(u64*) {}
DEVICE void bells_ready() {}
DEVICE void bell_arm(u64*, u32) {}
DEVICE bool bell_rang(u64*, u32) { return true; }
DEVICE void link_two(float*, u64*, int, float, float) {}
DEVICE void sync_cluster() {}
#endif
