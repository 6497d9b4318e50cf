/* Products of tiles in bf16, summed in fp32: by matrix units (AMX), by vector units for bf16, or widened to fp32.
 *
 * The second factor is in panels of 16 columns, each (depth / 2, 16) pairs of what lies one above another.
 */

#ifndef TILES_H
#define TILES_H

#include <stdint.h>
#include <string.h>

#include "vectors.h"

#define TILE 16          /* rows of a tile; each is 32 numbers in bf16, or 16 in fp32 or pairs */
#define DEPTH (2 * TILE) /* what is multiplied is filled up to multiples of it */
#define MOST_PANELS 4

/* How a thread's matrix units are set up. */
struct units {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t rows[16];
};

#ifdef __AMX_BF16__
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As multiply. */
static inline void multiply_tiles(int add, const uint16_t *rows, int64_t row_stride, const uint32_t *panels,
                                  int64_t num_panels, int64_t depth, float *out, int64_t out_stride) {
    const int64_t panel = depth / 2 * TILE, bytes = out_stride * sizeof(*out);
    if (add) {
        _tile_loadd(0, out, bytes);
        if (num_panels > 1) _tile_loadd(1, out + TILE, bytes);
        if (num_panels > 2) _tile_loadd(2, out + 2 * TILE, bytes);
        if (num_panels > 3) _tile_loadd(3, out + 3 * TILE, bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < depth; k += DEPTH) {
        const uint32_t *first = panels + k / 2 * TILE;
        _tile_loadd(4, rows + k, row_stride * sizeof(*rows));
        _tile_loadd(5, first, TILE * sizeof(*panels));
        _tile_dpbf16ps(0, 4, 5);
        if (num_panels > 1) {
            _tile_loadd(6, first + panel, TILE * sizeof(*panels));
            _tile_dpbf16ps(1, 4, 6);
        }
        if (num_panels > 2) {
            _tile_loadd(7, first + 2 * panel, TILE * sizeof(*panels));
            _tile_dpbf16ps(2, 4, 7);
        }
        if (num_panels > 3) {
            _tile_loadd(5, first + 3 * panel, TILE * sizeof(*panels));
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    _tile_stored(0, out, bytes);
    if (num_panels > 1) _tile_stored(1, out + TILE, bytes);
    if (num_panels > 2) _tile_stored(2, out + 2 * TILE, bytes);
    if (num_panels > 3) _tile_stored(3, out + 3 * TILE, bytes);
}

/* Whether the system lets this process use the units; the calling thread is set up for them until leave_tiles. */
static inline int enter_tiles(struct units *before) {
    struct units units = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        units.bytes_per_row[i] = 64;
        units.rows[i] = TILE;
    }
    const int request_permission = 0x1023, tile_data = 18;
    if (syscall(SYS_arch_prctl, request_permission, tile_data)) return 0;
    _tile_storeconfig(before);
    _tile_loadconfig(&units);
    return 1;
}

/* Set the units up as they were: other libraries use them, too. */
static inline void leave_tiles(const struct units *before) { _tile_loadconfig(before); }
#else
static inline void multiply_tiles(int add, const uint16_t *rows, int64_t row_stride, const uint32_t *panels,
                                  int64_t num_panels, int64_t depth, float *out, int64_t out_stride) {
    (void)add, (void)rows, (void)row_stride, (void)panels, (void)num_panels, (void)depth, (void)out, (void)out_stride;
}

static inline int enter_tiles(struct units *before) {
    (void)before;
    return 0;
}

static inline void leave_tiles(const struct units *before) { (void)before; }
#endif

/* sums + the products of a pair in each lane with one pair. */
static inline vec add_pairs(vec sums, ints pairs, uint32_t pair) {
#if defined(__AVX512BF16__)
    return (vec)_mm512_dpbf16_ps((__m512)sums, (__m512bh)pairs, (__m512bh)_mm512_set1_epi32((int)pair));
#else
    word low = pair << 16, high = pair & 0xffff0000;
    return sums + (vec)(pairs << 16) * *(float *)&low + (vec)(pairs & (int)0xffff0000) * *(float *)&high;
#endif
}

#define VECTOR_ROWS 8

/* As multiply, for as many rows and one panel. */
static inline void multiply_vectors(int add, const uint16_t *rows, int64_t row_stride, const uint32_t *panel,
                                    int64_t depth, float *out, int64_t out_stride) {
    vec block[VECTOR_ROWS][TILE / LANES] = {0};
    if (add)
        for (int i = 0; i < VECTOR_ROWS; i++)
            for (int j = 0; j < TILE / LANES; j++) block[i][j] = load(out + i * out_stride + j * LANES);
    for (int64_t k = 0; k < depth / 2; k++) {
        ints pairs[TILE / LANES];
        for (int j = 0; j < TILE / LANES; j++) pairs[j] = (ints)load((const float *)panel + k * TILE + j * LANES);
        for (int i = 0; i < VECTOR_ROWS; i++) {
            uint32_t pair = *(const word *)(rows + i * row_stride + 2 * k);
            for (int j = 0; j < TILE / LANES; j++) block[i][j] = add_pairs(block[i][j], pairs[j], pair);
        }
    }
    for (int i = 0; i < VECTOR_ROWS; i++)
        for (int j = 0; j < TILE / LANES; j++) store(out + i * out_stride + j * LANES, block[i][j]);
}

/* out = rows (16, depth) x up to four panels: (16, 16 num_panels), fp32; added to what is there, if it is to be. */
static inline void multiply(int in_tiles, int add, const uint16_t *rows, int64_t row_stride, const uint32_t *panels,
                            int64_t num_panels, int64_t depth, float *out, int64_t out_stride) {
    if (in_tiles) {
        multiply_tiles(add, rows, row_stride, panels, num_panels, depth, out, out_stride);
        return;
    }
    for (int64_t panel = 0; panel < num_panels; panel++)
        for (int64_t r = 0; r < TILE; r += VECTOR_ROWS)
            multiply_vectors(add, rows + r * row_stride, row_stride, panels + panel * depth / 2 * TILE, depth,
                             out + r * out_stride + panel * TILE, out_stride);
}

#endif
