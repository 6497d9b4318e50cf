/* Matrix units of a processor (AMX): products of tiles in bf16, summed in fp32. */

#ifndef TILES_H
#define TILES_H

#include <stdint.h>

#define TILE 16 /* rows of a tile; each is 32 numbers in bf16, or 16 in fp32 or pairs */

#ifdef __AMX_BF16__
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

/* c = a b: a (rows, depth) in bf16, b (depth / 2, columns) in pairs; in whole tiles, depth in multiples of 32. */
static inline void multiply_tiles(const uint16_t *a, int64_t a_stride, const uint32_t *b, int64_t b_stride, float *c,
                                  int64_t c_stride, int64_t rows, int64_t columns, int64_t depth) {
    for (int64_t l = 0; l < columns; l += 2 * TILE) {
        int both = l + TILE < columns;
        for (int64_t r = 0; r < rows; r += TILE) {
            _tile_zero(0);
            _tile_zero(1);
            for (int64_t k = 0; k < depth; k += 2 * TILE) {
                _tile_loadd(2, a + r * a_stride + k, a_stride * sizeof(*a));
                _tile_loadd(3, b + k / 2 * b_stride + l, b_stride * sizeof(*b));
                _tile_dpbf16ps(0, 2, 3);
                if (!both) continue;
                _tile_loadd(4, b + k / 2 * b_stride + l + TILE, b_stride * sizeof(*b));
                _tile_dpbf16ps(1, 2, 4);
            }
            _tile_stored(0, c + r * c_stride + l, c_stride * sizeof(*c));
            if (both) _tile_stored(1, c + r * c_stride + l + TILE, c_stride * sizeof(*c));
        }
    }
}

/* Whether the system lets this process use the units; the calling thread is set up for them. */
static inline int enter_tiles(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes_per_row[16];
        uint8_t rows[16];
    } shapes = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shapes.bytes_per_row[i] = 64;
        shapes.rows[i] = TILE;
    }
    const int request_permission = 0x1023, tile_data = 18;
    if (syscall(SYS_arch_prctl, request_permission, tile_data)) return 0;
    _tile_loadconfig(&shapes);
    return 1;
}

static inline void leave_tiles(void) { _tile_release(); }
#else
static inline void multiply_tiles(const uint16_t *a, int64_t a_stride, const uint32_t *b, int64_t b_stride, float *c,
                                  int64_t c_stride, int64_t rows, int64_t columns, int64_t depth) {
    (void)a, (void)a_stride, (void)b, (void)b_stride, (void)c, (void)c_stride, (void)rows, (void)columns, (void)depth;
}

static inline int enter_tiles(void) { return 0; }

static inline void leave_tiles(void) {}
#endif

#endif
