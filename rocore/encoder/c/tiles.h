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

/* out = rows (16, depth) x up to four panels: (16, 16 num_panels), fp32; added to what is there, if it is to be. */
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

#define VECTOR_ROWS (LANES / 2)
#define MOST_VECTORS 2

/* Add rows x panels to sums, for VECTOR_ROWS rows and `num_vectors` vectors of columns, the first from `column` on. All
 * loops over sums are unrolled, or they wouldn't stay in registers. */
static inline __attribute__((always_inline)) void add_products(vec block[VECTOR_ROWS][MOST_VECTORS],
                                                               const uint16_t *rows, int64_t row_stride,
                                                               const uint32_t *panels, int64_t column,
                                                               const int num_vectors, int64_t depth) {
    const float *columns[MOST_VECTORS]; /* pairs, as numbers of 32 bits */
#pragma GCC unroll 2
    for (int j = 0; j < num_vectors; j++) {
        const int64_t first = column + j * LANES;
        columns[j] = (const float *)panels + first / TILE * (depth / 2) * TILE + first % TILE;
    }
    for (int64_t k = 0; k < depth / 2; k++) {
#pragma GCC unroll 8
        for (int i = 0; i < VECTOR_ROWS; i++) {
            const uint32_t pair = *(const word *)(rows + i * row_stride + 2 * k);
#pragma GCC unroll 2
            for (int j = 0; j < num_vectors; j++)
                block[i][j] = add_pairs(block[i][j], (ints)load(columns[j] + k * TILE), pair);
        }
    }
}

/* What becomes of products: fp32, or, if there is `rounded`, bf16. */
struct products {
    int64_t num_rows, num_columns, stride;
    float *sums;
    uint16_t *rounded;
};

/* Products of some rows with some columns; what is there is added to, if it is to be, which is fp32. */
static inline __attribute__((always_inline)) void multiply_vectors(int add, const uint16_t *rows, int64_t row_stride,
                                                                   const uint32_t *panels, int64_t column,
                                                                   const int num_vectors, int64_t depth,
                                                                   const struct products *out, int64_t first_row) {
    vec block[VECTOR_ROWS][MOST_VECTORS] = {0};
    const int64_t num_rows = out->num_rows - first_row, first = first_row * out->stride + column;
    if (add)
#pragma GCC unroll 8
        for (int i = 0; i < VECTOR_ROWS; i++)
#pragma GCC unroll 2
            for (int j = 0; j < num_vectors; j++)
                if (i < num_rows) block[i][j] = load(out->sums + first + i * out->stride + j * LANES);
    add_products(block, rows + first_row * row_stride, row_stride, panels, column, num_vectors, depth);
#pragma GCC unroll 8
    for (int i = 0; i < VECTOR_ROWS; i++) {
#pragma GCC unroll 2
        for (int j = 0; j < num_vectors; j++) {
            const int64_t to = first + i * out->stride + j * LANES;
            if (i >= num_rows)
                continue;
            else if (out->rounded)
                store_rounded(out->rounded + to, block[i][j]);
            else
                store(out->sums + to, block[i][j]);
        }
    }
}

/* By vector units: whole blocks of VECTOR_ROWS rows are read. */
static inline void multiply_in_vectors(int add, const uint16_t *rows, int64_t row_stride, const uint32_t *panels,
                                       int64_t depth, const struct products *out) {
    for (int64_t r = 0; r < out->num_rows; r += VECTOR_ROWS) {
        int64_t column = 0;
        for (; column + MOST_VECTORS * LANES <= out->num_columns; column += MOST_VECTORS * LANES)
            multiply_vectors(add, rows, row_stride, panels, column, MOST_VECTORS, depth, out, r);
        if (column < out->num_columns) multiply_vectors(add, rows, row_stride, panels, column, 1, depth, out, r);
    }
}

/* By matrix units, to fp32: whole tiles of rows are read and written. */
static inline void multiply_in_tiles(int add, const uint16_t *rows, int64_t row_stride, const uint32_t *panels,
                                     int64_t depth, const struct products *out) {
    for (int64_t r = 0; r < out->num_rows; r += TILE)
        for (int64_t column = 0; column < out->num_columns; column += MOST_PANELS * TILE)
            multiply_tiles(add, rows + r * row_stride, row_stride, panels + column * (depth / 2),
                           smaller((out->num_columns - column) / TILE, MOST_PANELS), depth,
                           out->sums + r * out->stride + column, out->stride);
}

/* Fill a depth up to what can be multiplied. */
static inline int64_t whole_depth(int in_tiles, int64_t depth) { return filled_up(depth, in_tiles ? DEPTH : 2); }

/* out = rows (num_rows, depth) x panels (num_columns / 16, depth / 2, 16), fp32; added to what is there, if it is to
 * be. There must be room for rows and what comes out in whole tiles of 16 rows. */
static inline void multiply(int in_tiles, int add, const uint16_t *rows, int64_t row_stride, const uint32_t *panels,
                            int64_t depth, const struct products *out) {
    (in_tiles ? multiply_in_tiles : multiply_in_vectors)(add, rows, row_stride, panels, depth, out);
}

/* The same in bf16, just num_rows; `sums` has room for 16 rows in fp32. */
static inline void multiply_rounded(int in_tiles, const uint16_t *rows, int64_t row_stride, const uint32_t *panels,
                                    int64_t depth, const struct products *out) {
    if (!in_tiles) {
        multiply_in_vectors(0, rows, row_stride, panels, depth, out);
        return;
    }
    for (int64_t r = 0; r < out->num_rows; r += TILE) {
        const struct products some = {smaller(out->num_rows - r, TILE), out->num_columns, out->num_columns, out->sums};
        multiply_in_tiles(0, rows + r * row_stride, row_stride, panels, depth, &some);
        for (int64_t i = 0; i < some.num_rows; i++) /* when all are there: tiles reach memory late */
            round_vector(out->rounded + (r + i) * out->stride, out->sums + i * some.stride, out->num_columns);
    }
}

#endif
