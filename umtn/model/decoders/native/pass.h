// The pass itself, over a `Products` that multiplies blocks of 32 x 32. Included by one unit per instruction set.
//
// Forward goes tile by tile through all layers, so that a tile stays in the cache; the loss' gradient at the output
// is found on the way. Backward goes layer by layer, the latest chunk first: a sample's gradient needs those of
// samples `dilation` later. The pre-activations' columns are kept as 16 gates, 16 values, 16 gates, ...
#pragma once
#include <immintrin.h>
#include <cstdlib>
#include <cstring>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#include "teacher.h"

namespace {

using half_t = uint16_t;  // a bfloat16
constexpr int BLOCK = 32, TILE = 128, CHUNK = 256, PACKED = BLOCK * BLOCK;

inline __m512 widen(const half_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
inline void narrow(half_t* p, __m512 x) { _mm256_storeu_si256((__m256i*)p, (__m256i)_mm512_cvtneps_pbh(x)); }
// 16 of one and 16 of another side by side: a cache line
inline __m512i narrow(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
inline __m512 low_of(__m512i both) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(both)), 16));
}
inline __m512 high_of(__m512i both) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(both, 1)), 16));
}
inline half_t narrow1(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    return (half_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

inline __m512 exp_of(__m512 x) {
    x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(80.f)), _mm512_set1_ps(-80.f));
    const __m512 y = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
    const __m512 whole = _mm512_roundscale_ps(y, 0);
    const __m512 f = _mm512_sub_ps(y, whole);  // -.5 .. .5
    __m512 p = _mm512_set1_ps(1.33336e-3f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.61812e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.550411e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022651e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.f));
    return _mm512_scalef_ps(p, whole);
}
inline __m512 sigmoid_of(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.f);
    return _mm512_rcp14_ps(_mm512_add_ps(one, exp_of(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}
inline __m512 tanh_of(__m512 x) {
    return _mm512_fmsub_ps(_mm512_set1_ps(2.f), sigmoid_of(_mm512_add_ps(x, x)), _mm512_set1_ps(1.f));
}

// 32 rows of a left factor's 32 columns
struct Left {
    const half_t* rows;
    int stride;  // bytes
};

// Two rows at a time side by side, [2 column tiles][16 pairs][16 columns][2]: the right factor's layout
inline void pack_right(const half_t* rows, int stride, half_t* out) {
    alignas(64) static const uint16_t low[32] = {0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39,
                                                 8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i first = _mm512_load_si512(low), second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    for (int k = 0; k < 16; k++) {
        const __m512i a = _mm512_loadu_si512(rows + (2 * k) * stride), b = _mm512_loadu_si512(rows + (2 * k + 1) * stride);
        _mm512_storeu_si512(out + k * 32, _mm512_permutex2var_epi16(a, first, b));
        _mm512_storeu_si512(out + 512 + k * 32, _mm512_permutex2var_epi16(a, second, b));
    }
}

inline void transpose16(const half_t* in, half_t* out) {  // 16 x 16 of 32 bits
    __m512i r[16], s[16];
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(in + i * 32);
    for (int i = 0; i < 8; i++) {
        s[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        s[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_unpacklo_epi64(s[4 * i], s[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(s[4 * i], s[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(s[4 * i + 1], s[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(s[4 * i + 1], s[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        s[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
        s[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
        s[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        s[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        _mm512_storeu_si512(out + i * 32, _mm512_shuffle_i32x4(s[i], s[8 + i], 0x88));
        _mm512_storeu_si512(out + (4 + i) * 32, _mm512_shuffle_i32x4(s[4 + i], s[12 + i], 0x88));
        _mm512_storeu_si512(out + (8 + i) * 32, _mm512_shuffle_i32x4(s[i], s[8 + i], 0xdd));
        _mm512_storeu_si512(out + (12 + i) * 32, _mm512_shuffle_i32x4(s[4 + i], s[12 + i], 0xdd));
    }
}

// 32 samples x 32 channels -> 32 channels x 32 samples: a left factor whose products sum over samples
inline void pack_turned(const half_t* rows, int stride, half_t* out) {
    alignas(64) half_t pairs[PACKED];
    pack_right(rows, stride, pairs);
    transpose16(pairs, out);
    transpose16(pairs + 512, out + 512);
}

// Aligned to a cache line, as the tiles' rows are read
template <class X> struct Aligned {
    std::vector<X> room;
    void assign(size_t count) { room.assign(count + 64 / sizeof(X), X{}); }
    X* data() { return (X*)(((uintptr_t)room.data() + 63) & ~(uintptr_t)63); }
    const X* data() const { return const_cast<Aligned*>(this)->data(); }
};

// A weight as a right factor: [in / 32] chunks for each 32 columns of `out`
struct Weight {
    Aligned<half_t> packed;
    int chunks = 0;
    template <class Get> void pack(int in, int out, Get get) {
        chunks = in / BLOCK;
        packed.assign((size_t)in * out);
        half_t* p = packed.data();
        for (int nb = 0; nb < out; nb += BLOCK)
            for (int kb = 0; kb < in; kb += BLOCK)
                for (int side = 0; side < 32; side += 16)
                    for (int k = 0; k < 32; k += 2)
                        for (int n = 0; n < 16; n++)
                            for (int odd = 0; odd < 2; odd++) *p++ = narrow1(get(kb + k + odd, nb + side + n));
    }
    const half_t* columns(int nb) const { return packed.data() + (size_t)nb * chunks * PACKED; }
};

struct Layer {
    Weight taps, skip, after, taps_back, out_back;
};

// Memory that stays from one pass to the next
struct Arena {
    char* base = nullptr;
    size_t size = 0, used = 0;
    bool reserve(size_t bytes) {
        used = 0;
        if (bytes <= size) return true;
        std::free(base);
        base = (char*)std::aligned_alloc(1 << 21, (bytes + (1 << 21) - 1) >> 21 << 21);
        size = base ? bytes : 0;
#if defined(__linux__)
        if (base) madvise(base, size >> 21 << 21, MADV_HUGEPAGE);  // hundreds of small pages would be looked up otherwise
#endif
        return base != nullptr;
    }
    template <class X> X* take(size_t count) {
        X* p = (X*)(base + used);
        used += (count * sizeof(X) + 127) / 128 * 128;
        return p;
    }
    ~Arena() { std::free(base); }
};
template <class X> size_t room(size_t count) { return (count * sizeof(X) + 127) / 128 * 128; }

template <class Products> class Pass {
    const TeacherPass& p;
    const int N, L, R, S, A, hop, G;  // G: width of the pre-activations
    int pad = 0;                      // the widest dilation
    std::vector<Layer> layers;
    Weight head, classify, head_back, class_back;
    Aligned<float> d_taps, d_out, d_head, d_class;  // [L][2R][G], [L][R][S + R], [S][S], [S][A]
    half_t *h, *gv, *dskip, *dy, *dh, *z, *x_turned, *z_turned, *y_packed, *o_packed;
    float *skipped, *logits;
    double loss = 0;

    // column c of the kept order is this column of PyTorch's
    int ordered(int c) const { return c / 32 * 16 + c % 16 + (c % 32 < 16 ? 0 : R); }
    half_t* input(int layer) const { return h + ((size_t)layer * (pad + N) + pad) * R; }

  public:
    explicit Pass(const TeacherPass& pass)
        : p(pass), N(pass.samples), L(pass.layers), R(pass.residual), S(pass.skip), A(pass.classes), hop(pass.hop),
          G(2 * pass.residual), layers(pass.layers) {
        for (int i = 0; i < L; i++) pad = p.dilations[i] > pad ? p.dilations[i] : pad;
    }

    int run() {
        static thread_local Arena arena;
        const size_t wide = R > S ? R : S;
        const size_t bytes = room<half_t>((size_t)L * (pad + N) * R) + room<half_t>((size_t)L * N * G) +
                             room<half_t>((size_t)N * S) + room<half_t>((size_t)(N + pad) * G) +
                             room<half_t>((size_t)N * R) + room<half_t>((size_t)CHUNK * wide) +
                             room<half_t>((size_t)CHUNK * G) + room<half_t>((size_t)CHUNK * wide) +
                             room<half_t>((size_t)CHUNK * G) + room<half_t>((size_t)CHUNK * (S + R)) +
                             room<float>((size_t)TILE * S) + room<float>((size_t)BLOCK * A);
        if (!arena.reserve(bytes)) return 1;
        h = arena.take<half_t>((size_t)L * (pad + N) * R);
        gv = arena.take<half_t>((size_t)L * N * G);
        dskip = arena.take<half_t>((size_t)N * S);
        dy = arena.take<half_t>((size_t)(N + pad) * G);
        dh = arena.take<half_t>((size_t)N * R);
        z = arena.take<half_t>((size_t)CHUNK * wide);
        x_turned = arena.take<half_t>((size_t)CHUNK * G);
        z_turned = arena.take<half_t>((size_t)CHUNK * wide);
        y_packed = arena.take<half_t>((size_t)CHUNK * G);
        o_packed = arena.take<half_t>((size_t)CHUNK * (S + R));
        skipped = arena.take<float>((size_t)TILE * S);
        logits = arena.take<float>((size_t)BLOCK * A);
        pack();
        Products::begin();
        for (int clip = 0; clip < p.clips; clip++) {
            for (int i = 0; i < L; i++) std::memset(input(i) - (size_t)pad * R, 0, (size_t)pad * R * 2);
            std::memset(dy + (size_t)N * G, 0, (size_t)pad * G * 2);
            for (int start = 0; start < N; start += TILE) forward(clip, start, start + TILE < N ? start + TILE : N);
            std::memset(dh, 0, (size_t)N * R * 2);
            for (int i = L - 1; i >= 0; i--) backward(clip, i);
            embedded(clip);
        }
        Products::end();
        give();
        return 0;
    }

  private:
    void pack() {
        d_taps.assign((size_t)L * 2 * R * G);
        d_out.assign((size_t)L * R * (S + R));
        d_head.assign((size_t)S * S);
        d_class.assign((size_t)S * A);
        for (int i = 0; i < L; i++) {
            const float *before = p.before + (size_t)i * G * R, *now = p.now + (size_t)i * G * R;
            const float *skip = p.skip_w + (size_t)i * S * R, *after = p.after_w + (size_t)i * R * R;
            const bool last = i == L - 1;
            layers[i].taps.pack(2 * R, G, [&](int k, int n) {
                return (k < R ? before : now)[(size_t)ordered(n) * R + k % R];
            });
            layers[i].taps_back.pack(2 * G, R, [&](int k, int n) {
                return (k < G ? before : now)[(size_t)ordered(k % G) * R + n];
            });
            layers[i].skip.pack(R, S, [&](int k, int n) { return skip[(size_t)n * R + k]; });
            if (!last) layers[i].after.pack(R, R, [&](int k, int n) { return after[(size_t)n * R + k]; });
            layers[i].out_back.pack(S + R, R, [&](int k, int n) {
                return k < S ? skip[(size_t)k * R + n] : last ? 0.f : after[(size_t)(k - S) * R + n];
            });
        }
        head.pack(S, S, [&](int k, int n) { return p.head_w[(size_t)n * S + k]; });
        head_back.pack(S, S, [&](int k, int n) { return p.head_w[(size_t)k * S + n]; });
        classify.pack(S, A, [&](int k, int n) { return p.class_w[(size_t)n * S + k]; });
        class_back.pack(A, S, [&](int k, int n) { return p.class_w[(size_t)k * S + n]; });
    }

    const float* conditioned(int clip, int t, int column) const {
        const size_t width = (size_t)L * G + S;
        return p.condition + ((size_t)clip * (N / hop) + t / hop) * width + column;
    }

    void forward(int clip, int start, int end) {
        alignas(64) float c[PACKED], init[BLOCK];
        for (int t = start; t < end; t++) {
            const size_t own = row(clip, t), other = p.guide ? guide_row(clip, t) : 0;
            for (int r = 0; r < R; r += 16) {
                __m512 h = _mm512_loadu_ps(p.embed + own + r);
                if (p.guide) h = _mm512_add_ps(h, _mm512_loadu_ps(p.embed + other + r));
                narrow(input(0) + (size_t)t * R + r, h);
            }
        }
        const bool heard = end > p.first;
        if (heard)
            for (int t = 0; t < end - start; t++) std::memcpy(skipped + (size_t)t * S, p.skip_b, S * 4);
        Left left[64];
        for (int i = 0; i < L; i++) {
            const half_t *now = input(i), *before = now - (size_t)p.dilations[i] * R;
            for (int nb = 0; nb < G / BLOCK; nb++)
                for (int t = start; t < end; t += BLOCK) {
                    for (int k = 0; k < R / BLOCK; k++) {
                        left[k] = {before + (size_t)t * R + k * BLOCK, R * 2};
                        left[R / BLOCK + k] = {now + (size_t)t * R + k * BLOCK, R * 2};
                    }
                    const float* cond = conditioned(clip, t, i * G);
                    std::memcpy(init, cond + nb * 16, 64);
                    std::memcpy(init + 16, cond + R + nb * 16, 64);
                    Products::block(left, 2 * R / BLOCK, layers[i].taps.columns(nb), init, 0, c, BLOCK);
                    half_t* kept = gv + ((size_t)i * N + t) * G + nb * BLOCK;
                    half_t* gated = z + (size_t)(t - start) * R + nb * 16;
                    for (int r = 0; r < BLOCK; r++) {
                        const __m512 gate = sigmoid_of(_mm512_load_ps(c + r * BLOCK));
                        const __m512 value = tanh_of(_mm512_load_ps(c + r * BLOCK + 16));
                        // not read again before the way back: past the cache
                        _mm512_stream_si512((__m512i*)(kept + (size_t)r * G), narrow(gate, value));
                        narrow(gated + (size_t)r * R, _mm512_mul_ps(gate, value));
                    }
                }
            if (heard)
                for (int nb = 0; nb < S / BLOCK; nb++)
                    for (int t = 0; t < end - start; t += BLOCK) {
                        for (int k = 0; k < R / BLOCK; k++) left[k] = {z + (size_t)t * R + k * BLOCK, R * 2};
                        float* sum = skipped + (size_t)t * S + nb * BLOCK;
                        Products::block(left, R / BLOCK, layers[i].skip.columns(nb), sum, S, sum, S);
                    }
            if (i + 1 < L)
                for (int nb = 0; nb < R / BLOCK; nb++)
                    for (int t = start; t < end; t += BLOCK) {
                        for (int k = 0; k < R / BLOCK; k++) left[k] = {z + (size_t)(t - start) * R + k * BLOCK, R * 2};
                        const float* bias = p.after_b + (size_t)i * R + nb * BLOCK;
                        Products::block(left, R / BLOCK, layers[i].after.columns(nb), bias, 0, c, BLOCK);
                        const half_t* in = now + (size_t)t * R + nb * BLOCK;
                        half_t* out = input(i + 1) + (size_t)t * R + nb * BLOCK;
                        for (int r = 0; r < BLOCK; r++)
                            for (int s = 0; s < BLOCK; s += 16)
                                narrow(out + (size_t)r * R + s,
                                       _mm512_add_ps(widen(in + (size_t)r * R + s), _mm512_load_ps(c + r * BLOCK + s)));
                    }
        }
        if (heard)
            for (int t = start; t < end; t += BLOCK) answered(clip, t, skipped + (size_t)(t - start) * S);
    }

    // From the sum of all skips to the loss and back, for 32 samples
    void answered(int clip, int t, const float* sum) {
        alignas(64) float c[PACKED], init[BLOCK];
        half_t *a1 = y_packed, *a2 = o_packed, *dl = x_turned;  // free until the way back begins
        half_t* d2 = z_turned;
        half_t* d1 = dskip + (size_t)t * S;
        Left left[64];
        const __m512 zero = _mm512_setzero_ps();
        for (int r = 0; r < BLOCK; r++)
            for (int s = 0; s < S; s += 16) narrow(a1 + r * S + s, _mm512_max_ps(zero, _mm512_loadu_ps(sum + r * S + s)));
        for (int k = 0; k < S / BLOCK; k++) left[k] = {a1 + k * BLOCK, S * 2};
        const float* cond = conditioned(clip, t, L * G);
        for (int nb = 0; nb < S / BLOCK; nb++) {
            for (int s = 0; s < BLOCK; s++) init[s] = cond[nb * BLOCK + s] + p.head_b[nb * BLOCK + s];
            Products::block(left, S / BLOCK, head.columns(nb), init, 0, c, BLOCK);
            for (int r = 0; r < BLOCK; r++)
                for (int s = 0; s < BLOCK; s += 16)
                    narrow(a2 + r * S + nb * BLOCK + s, _mm512_max_ps(zero, _mm512_load_ps(c + r * BLOCK + s)));
        }
        for (int k = 0; k < S / BLOCK; k++) left[k] = {a2 + k * BLOCK, S * 2};
        for (int nb = 0; nb < A / BLOCK; nb++)
            Products::block(left, S / BLOCK, classify.columns(nb), p.class_b + nb * BLOCK, 0, logits + nb * BLOCK, A);
        const float weight = t < p.first ? 0.f : p.weight[(size_t)clip * (N / hop) + t / hop];
        const __m512 scale = _mm512_set1_ps(weight);
        for (int r = 0; r < BLOCK; r++) {
            float* x = logits + (size_t)r * A;
            const int target = p.target[(size_t)clip * N + t + r];
            __m512 top = _mm512_loadu_ps(x), total = zero;
            for (int a = 16; a < A; a += 16) top = _mm512_max_ps(top, _mm512_loadu_ps(x + a));
            const float most = _mm512_reduce_max_ps(top), wanted = x[target];
            for (int a = 0; a < A; a += 16) {
                const __m512 e = exp_of(_mm512_sub_ps(_mm512_loadu_ps(x + a), _mm512_set1_ps(most)));
                total = _mm512_add_ps(total, e);
                _mm512_storeu_ps(x + a, e);
            }
            const float sum_e = _mm512_reduce_add_ps(total);
            if (weight != 0.f) loss += (double)weight * (__builtin_logf(sum_e) + most - wanted);
            const __m512 share = _mm512_mul_ps(scale, _mm512_set1_ps(1.f / sum_e));
            for (int a = 0; a < A; a += 16) _mm512_storeu_ps(x + a, _mm512_mul_ps(share, _mm512_loadu_ps(x + a)));
            x[target] -= weight;
            for (int a = 0; a < A; a += 16) {
                const __m512 d = _mm512_loadu_ps(x + a);
                narrow(dl + (size_t)r * A + a, d);
                add(p.d_class_b + a, d);
            }
        }
        for (int k = 0; k < A / BLOCK; k++) left[k] = {dl + k * BLOCK, A * 2};
        float* d_cond = p.d_condition + (conditioned(clip, t, L * G) - p.condition);
        for (int nb = 0; nb < S / BLOCK; nb++) {
            std::memset(init, 0, sizeof init);
            Products::block(left, A / BLOCK, class_back.columns(nb), init, 0, c, BLOCK);
            opened(c, a2 + nb * BLOCK, d2 + nb * BLOCK, p.d_head_b + nb * BLOCK, d_cond + nb * BLOCK);
        }
        for (int k = 0; k < S / BLOCK; k++) left[k] = {d2 + k * BLOCK, S * 2};
        for (int nb = 0; nb < S / BLOCK; nb++) {
            std::memset(init, 0, sizeof init);
            Products::block(left, S / BLOCK, head_back.columns(nb), init, 0, c, BLOCK);
            opened(c, a1 + nb * BLOCK, d1 + nb * BLOCK, p.d_skip_b + nb * BLOCK, nullptr);
        }
        outer(a2, S, dl, A, d_class.data());
        outer(a1, S, d2, S, d_head.data());
    }

    static void add(float* to, __m512 x) { _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), x)); }

    // Through a ReLU: 32 x 32 gradients pass where `active` is above zero, and are summed for biases
    void opened(const float* c, const half_t* active, half_t* out, float* sum, float* other) {
        for (int s = 0; s < BLOCK; s += 16) {
            __m512 total = _mm512_setzero_ps();
            for (int r = 0; r < BLOCK; r++) {
                const __mmask16 on = _mm512_cmp_ps_mask(widen(active + (size_t)r * S + s), _mm512_setzero_ps(), _CMP_GT_OQ);
                const __m512 d = _mm512_maskz_mov_ps(on, _mm512_load_ps(c + r * BLOCK + s));
                narrow(out + (size_t)r * S + s, d);
                total = _mm512_add_ps(total, d);
            }
            add(sum + s, total);
            if (other) add(other + s, total);
        }
    }

    // d[in][out] += x^T y over 32 samples
    void outer(const half_t* x, int in, const half_t* y, int out, float* d) {
        alignas(64) half_t turned[PACKED], packed[PACKED];
        const Left left = {turned, BLOCK * 2};
        for (int nb = 0; nb < out; nb += BLOCK) {
            pack_right(y + nb, out, packed);
            for (int kb = 0; kb < in; kb += BLOCK) {
                pack_turned(x + kb, in, turned);
                float* at = d + (size_t)kb * out + nb;
                Products::block(&left, 1, packed, at, out, at, out);
            }
        }
    }

    void backward(int clip, int i) {
        for (int end = N; end > 0;) {
            const int start = end > CHUNK ? end - CHUNK : 0;
            gates_back(clip, i, start, end);
            weights_back(i, start, end);
            inputs_back(i, start, end);
            end = start;
        }
    }

    bool silent(int t) const { return t + BLOCK <= p.first / TILE * TILE; }  // no skip was asked for there

    void gates_back(int clip, int i, int start, int end) {
        alignas(64) float c[PACKED], none[BLOCK] = {};
        Left left[64];
        for (int t = start; t < end; t += BLOCK) {
            const int skips = silent(t) ? 0 : S / BLOCK, rest = i == L - 1 ? 0 : R / BLOCK;
            for (int k = 0; k < skips; k++) left[k] = {dskip + (size_t)t * S + k * BLOCK, S * 2};
            for (int k = 0; k < rest; k++) left[skips + k] = {dh + (size_t)t * R + k * BLOCK, R * 2};
            float* d_cond = p.d_condition + (conditioned(clip, t, i * G) - p.condition);
            for (int nb = 0; nb < R / BLOCK; nb++) {
                const half_t* right = layers[i].out_back.columns(nb) + (skips ? 0 : S / BLOCK * PACKED);
                Products::block(left, skips + rest, right, none, 0, c, BLOCK);
                for (int s = 0; s < 2; s++) {
                    const int group = (2 * nb + s) * 32;
                    __m512 gates = _mm512_setzero_ps(), values = gates;
                    for (int r = 0; r < BLOCK; r++) {
                        const half_t* kept = gv + ((size_t)i * N + t + r) * G + group;
                        const __m512i both = _mm512_load_si512(kept);
                        const __m512 g = low_of(both), v = high_of(both), d = _mm512_load_ps(c + r * BLOCK + s * 16);
                        const __m512 dg = _mm512_mul_ps(d, g), through = _mm512_mul_ps(dg, v);
                        const __m512 to_gate = _mm512_fnmadd_ps(through, g, through);
                        const __m512 to_value = _mm512_fnmadd_ps(_mm512_mul_ps(dg, v), v, dg);
                        _mm512_store_si512(dy + (size_t)(t + r) * G + group, narrow(to_gate, to_value));
                        narrow(z + (size_t)(t - start + r) * R + (2 * nb + s) * 16, _mm512_mul_ps(g, v));
                        gates = _mm512_add_ps(gates, to_gate);
                        values = _mm512_add_ps(values, to_value);
                    }
                    add(d_cond + (2 * nb + s) * 16, gates);
                    add(d_cond + R + (2 * nb + s) * 16, values);
                }
            }
        }
    }

    void weights_back(int i, int start, int end) {
        const int steps = (end - start) / BLOCK;
        const half_t *now = input(i), *before = now - (size_t)p.dilations[i] * R;
        int audible = 0;  // the first step whose skips count
        while (audible < steps && silent(start + audible * BLOCK)) audible++;
        for (int s = 0; s < steps; s++) {
            const int t = start + s * BLOCK;
            for (int kb = 0; kb < R / BLOCK; kb++) {
                pack_turned(before + (size_t)t * R + kb * BLOCK, R, x_turned + ((size_t)kb * steps + s) * PACKED);
                pack_turned(now + (size_t)t * R + kb * BLOCK, R,
                            x_turned + ((size_t)(R / BLOCK + kb) * steps + s) * PACKED);
                pack_turned(z + (size_t)s * BLOCK * R + kb * BLOCK, R, z_turned + ((size_t)kb * steps + s) * PACKED);
                if (i + 1 < L)
                    pack_right(dh + (size_t)t * R + kb * BLOCK, R,
                               o_packed + ((size_t)(S / BLOCK + kb) * steps + s) * PACKED);
            }
            for (int nb = 0; nb < G / BLOCK; nb++)
                pack_right(dy + (size_t)t * G + nb * BLOCK, G, y_packed + ((size_t)nb * steps + s) * PACKED);
            if (s >= audible)
                for (int nb = 0; nb < S / BLOCK; nb++)
                    pack_right(dskip + (size_t)t * S + nb * BLOCK, S, o_packed + ((size_t)nb * steps + s) * PACKED);
        }
        summed(x_turned, 2 * R, y_packed, G, 0, G, 0, steps, d_taps.data() + (size_t)i * 2 * R * G);
        float* out = d_out.data() + (size_t)i * R * (S + R);
        summed(z_turned, R, o_packed, S + R, 0, S, audible, steps, out);
        if (i + 1 < L) summed(z_turned, R, o_packed, S + R, S, S + R, 0, steps, out);
    }

    // d[in][width], columns from .. to, += sums over the steps from `first` on
    void summed(const half_t* x, int in, const half_t* y, int width, int from, int to, int first, int steps, float* d) {
        if (first == steps) return;
        Left left[CHUNK / BLOCK];
        for (int kb = 0; kb < in / BLOCK; kb++) {
            for (int s = first; s < steps; s++) left[s - first] = {x + ((size_t)kb * steps + s) * PACKED, BLOCK * 2};
            for (int nb = from / BLOCK; nb < to / BLOCK; nb++) {
                float* at = d + (size_t)kb * BLOCK * width + nb * BLOCK;
                Products::block(left, steps - first, y + ((size_t)nb * steps + first) * PACKED, at, width, at, width);
            }
        }
    }

    void inputs_back(int i, int start, int end) {
        alignas(64) float c[PACKED], none[BLOCK] = {};
        Left left[64];
        const int d = p.dilations[i], k_each = G / BLOCK;
        for (int t = start; t < end; t += BLOCK) {
            for (int k = 0; k < k_each; k++) {
                left[k] = {dy + (size_t)(t + d) * G + k * BLOCK, G * 2};
                left[k_each + k] = {dy + (size_t)t * G + k * BLOCK, G * 2};
            }
            for (int nb = 0; nb < R / BLOCK; nb++) {
                Products::block(left, 2 * k_each, layers[i].taps_back.columns(nb), none, 0, c, BLOCK);
                for (int s = 0; s < BLOCK; s += 16) {
                    __m512 total = _mm512_setzero_ps();
                    half_t* at = dh + (size_t)t * R + nb * BLOCK + s;
                    for (int r = 0; r < BLOCK; r++) {
                        const __m512 later = widen(at + (size_t)r * R);
                        total = _mm512_add_ps(total, later);
                        narrow(at + (size_t)r * R, _mm512_add_ps(later, _mm512_load_ps(c + r * BLOCK + s)));
                    }
                    if (i + 1 < L) add(p.d_after_b + (size_t)i * R + nb * BLOCK + s, total);
                }
            }
        }
    }

    // Where an embedding begins: of the class before sample t, and of the guide's class at it
    size_t row(int clip, int t) const { return (size_t)p.past[(size_t)clip * N + t] * R; }
    size_t guide_row(int clip, int t) const { return (size_t)(p.guide[(size_t)clip * N + t] + A) * R; }

    void embedded(int clip) {
        for (int t = 0; t < N; t++)
            for (int r = 0; r < R; r += 16) {
                const __m512 d = widen(dh + (size_t)t * R + r);
                add(p.d_embed + row(clip, t) + r, d);
                if (p.guide) add(p.d_embed + guide_row(clip, t) + r, d);
            }
    }

    // Gradients as PyTorch keeps the weights
    void give() {
        *p.loss += loss;
        for (int i = 0; i < L; i++) {
            const float* taps = d_taps.data() + (size_t)i * 2 * R * G;
            for (int k = 0; k < 2 * R; k++)
                for (int n = 0; n < G; n++)
                    (k < R ? p.d_before : p.d_now)[((size_t)i * G + ordered(n)) * R + k % R] += taps[(size_t)k * G + n];
            const float* out = d_out.data() + (size_t)i * R * (S + R);
            for (int k = 0; k < R; k++) {
                for (int n = 0; n < S; n++) p.d_skip_w[((size_t)i * S + n) * R + k] += out[(size_t)k * (S + R) + n];
                if (i + 1 < L)
                    for (int n = 0; n < R; n++)
                        p.d_after_w[((size_t)i * R + n) * R + k] += out[(size_t)k * (S + R) + S + n];
            }
        }
        for (int k = 0; k < S; k++) {
            for (int n = 0; n < S; n++) p.d_head_w[(size_t)n * S + k] += d_head.data()[(size_t)k * S + n];
            for (int n = 0; n < A; n++) p.d_class_w[(size_t)n * S + k] += d_class.data()[(size_t)k * A + n];
        }
    }
};

}  // namespace
