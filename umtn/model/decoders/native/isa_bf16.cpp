// AVX-512 BF16: eight rows by 32 columns at a time (Zen 4, Cooper Lake and later).
#include "pass.h"

namespace {
struct Vectors {
    static void begin() {}
    static void end() {}
    static inline void block(const Left* left, int chunks, const half_t* right, const float* init, int init_row, float* c,
                             int row) {
        for (int r0 = 0; r0 < BLOCK; r0 += 8) {
            __m512 low[8], high[8];
            for (int r = 0; r < 8; r++) {
                low[r] = _mm512_loadu_ps(init + (size_t)(r0 + r) * init_row);
                high[r] = _mm512_loadu_ps(init + (size_t)(r0 + r) * init_row + 16);
            }
            for (int k = 0; k < chunks; k++) {
                const char* rows = (const char*)left[k].rows + (size_t)r0 * left[k].stride;
                const half_t* b = right + (size_t)k * PACKED;
                for (int pair = 0; pair < 16; pair++) {
                    const __m512bh b0 = (__m512bh)_mm512_loadu_si512(b + pair * 32);
                    const __m512bh b1 = (__m512bh)_mm512_loadu_si512(b + 512 + pair * 32);
                    for (int r = 0; r < 8; r++) {
                        int32_t two;
                        std::memcpy(&two, rows + (size_t)r * left[k].stride + pair * 4, 4);
                        const __m512bh a = (__m512bh)_mm512_set1_epi32(two);
                        low[r] = _mm512_dpbf16_ps(low[r], a, b0);
                        high[r] = _mm512_dpbf16_ps(high[r], a, b1);
                    }
                }
            }
            for (int r = 0; r < 8; r++) {
                _mm512_storeu_ps(c + (size_t)(r0 + r) * row, low[r]);
                _mm512_storeu_ps(c + (size_t)(r0 + r) * row + 16, high[r]);
            }
        }
    }
};
}  // namespace

int bf16::pass(const TeacherPass& p) { return Pass<Vectors>(p).run(); }
