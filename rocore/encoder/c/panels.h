/* Matrices in bf16 as second factors of `multiply`: panels of 16 columns, each (depth / 2, 16) pairs. */

#ifndef PANELS_H
#define PANELS_H

#include "tiles.h"

/* (rows, columns), a row every `stride` -> (columns / 16, depth / 2, 16), with zeros from `rows` to `depth`. */
static inline void pack_rows(uint32_t *panels, const uint16_t *matrix, int64_t rows, int64_t columns, int64_t stride,
                             int64_t depth) {
    for (int64_t r = 0; r < depth; r += 2) {
        const uint16_t *upper = matrix + r * stride, *lower = upper + stride;
        for (int64_t c = 0; c < columns; c += TILE) {
            uint32_t *restrict pairs = panels + c * (depth / 2) + r / 2 * TILE;
            if (r + 1 < rows)
                for (int i = 0; i < TILE; i++) pairs[i] = upper[c + i] | (uint32_t)lower[c + i] << 16;
            else if (r < rows)
                for (int i = 0; i < TILE; i++) pairs[i] = upper[c + i];
            else
                memset(pairs, 0, TILE * sizeof(*pairs));
        }
    }
}

/* The same of its transpose, (columns, rows): (rows / 16, depth / 2, 16); nothing is written from `columns` to `depth`,
 * and nothing that means anything beyond `rows`. */
static inline void pack_columns(uint32_t *panels, const uint16_t *matrix, int64_t rows, int64_t columns,
                                int64_t depth) {
    const float *pairs = (const float *)matrix; /* as numbers of 32 bits */
    const int64_t num_pairs = columns / 2;
    for (int64_t r = 0; r < rows; r += LANES) {
        float *panel = (float *)panels + r / TILE * (depth / 2) * TILE + r % TILE;
        for (int64_t c = 0; c < num_pairs; c += LANES) {
            vec block[LANES];
            for (int i = 0; i < LANES; i++) block[i] = load(pairs + smaller(r + i, rows - 1) * num_pairs + c);
            transpose(block);
            for (int i = 0; i < LANES; i++) store(panel + (c + i) * TILE, block[i]);
        }
    }
}

/* (rows, columns), a row every `stride` -> (columns, depth) in bf16, with zeros from `rows` to `depth`. */
static inline void transpose_rows(uint16_t *to, const uint16_t *matrix, int64_t rows, int64_t columns, int64_t stride,
                                  int64_t depth) {
    for (int64_t r = 0; r < depth; r += LANES) {
        int64_t c = 0;
        for (; c + 2 * LANES <= columns; c += 2 * LANES) {
            vec block[LANES] = {0};
            for (int i = 0; i < LANES && r + i < rows; i++)
                block[i] = load((const float *)(matrix + (r + i) * stride + c));
            transpose(block);
            for (int i = 0; i < LANES; i++) {
                store_halves(to + (c + 2 * i) * depth + r, (ints)block[i]);
                store_halves(to + (c + 2 * i + 1) * depth + r, (ints)block[i] >> 16);
            }
        }
        for (; c < columns; c++)
            for (int i = 0; i < LANES; i++) to[c * depth + r + i] = r + i < rows ? matrix[(r + i) * stride + c] : 0;
    }
}

#endif
