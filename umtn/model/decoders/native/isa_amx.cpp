// AMX: 32 x 32 by four accumulator tiles (Sapphire Rapids and later).
#include "pass.h"

namespace {
struct Tiles {
    static void begin() {
        alignas(64) struct { uint8_t palette, row; uint8_t none[14]; uint16_t bytes[16]; uint8_t rows[16]; } config = {};
        config.palette = 1;
        for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = 16;
        _tile_loadconfig(&config);
    }
    static void end() { _tile_release(); }
    static inline void block(const Left* left, int chunks, const half_t* right, const float* init, int init_row, float* c,
                             int row) {
        const size_t from = (size_t)init_row * 4, to = (size_t)row * 4;
        _tile_loadd(0, init, from);
        _tile_loadd(1, init + 16, from);
        _tile_loadd(2, init + 16 * (size_t)init_row, from);
        _tile_loadd(3, init + 16 * (size_t)init_row + 16, from);
        for (int k = 0; k < chunks; k++, right += PACKED) {
            _tile_loadd(4, left[k].rows, left[k].stride);
            _tile_loadd(6, right, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, right + 512, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, (const char*)left[k].rows + 16 * (size_t)left[k].stride, left[k].stride);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, c, to);
        _tile_stored(1, c + 16, to);
        _tile_stored(2, c + 16 * (size_t)row, to);
        _tile_stored(3, c + 16 * (size_t)row + 16, to);
    }
};
}  // namespace

int amx::pass(const TeacherPass& p) { return Pass<Tiles>(p).run(); }
