/* Gradients of the weights that fold and unfold (attention_bf16.c), head by head, always in the same order. */

#include <omp.h>
#include <stdlib.h>

#include "panels.h"
#include "tiles.h"
#include "vectors.h"

#define CHUNK_SLOTS 128 /* whose operands stay in the processor's cache */

struct factors {
    int64_t num_slots, num_heads, hidden_size;
    float scale;
    const uint16_t *narrow, *wide; /* (S, A, W) and (S, A, H) */
    const float *totals;           /* (S, A), or null */
    float *of_weight, *of_bias;    /* (A, W, H), and (A, W) if there are totals */
};

/* of_weight = scale narrow^T wide, of_bias = totals narrow, of one head. */
static void differentiate_head(const struct factors *f, int64_t head, int in_tiles, uint16_t *transposed,
                               uint32_t *panels, float *sums) {
    const int64_t width = f->hidden_size, size = width / f->num_heads, narrow_width = filled_up(size, TILE);
    const struct products out = {narrow_width, width, width, sums};
    for (int64_t first = 0; first < f->num_slots; first += CHUNK_SLOTS) {
        const int64_t slots = smaller(f->num_slots - first, CHUNK_SLOTS), depth = filled_up(slots, DEPTH);
        const int64_t row = first * f->num_heads + head;
        transpose_rows(transposed, f->narrow + row * size, slots, size, f->num_heads * size, depth);
        pack_rows(panels, f->wide + row * width, slots, width, f->num_heads * width, depth);
        multiply(in_tiles, first > 0, transposed, depth, panels, depth, &out);
    }
    float *of_weight = f->of_weight + head * size * width;
    for (int64_t i = 0; i < size * width; i += LANES) store(of_weight + i, load(sums + i) * f->scale);
    if (!f->totals) return;
    float *of_bias = f->of_bias + head * size;
    memset(of_bias, 0, size * sizeof(*of_bias));
    for (int64_t row = head; row < f->num_slots * f->num_heads; row += f->num_heads)
        for (int64_t w = 0; w < size; w++) of_bias[w] += f->totals[row] * widened(f->narrow[row * size + w]);
}

/* Return whether there was memory. H is a multiple of 32. */
int rocore_differentiate_weights(const struct factors *f, int64_t num_threads) {
    const int64_t width = f->hidden_size, narrow_width = filled_up(width / f->num_heads, TILE);
    const int64_t of_narrow = narrow_width * CHUNK_SLOTS / 2, of_wide = width * CHUNK_SLOTS / 2;
    const int64_t own = of_narrow + of_wide + narrow_width * width;
    num_threads = smaller(num_threads, f->num_heads);
    uint32_t *memory = aligned_alloc(64, num_threads * own * sizeof(*memory));
    if (!memory) return 0;
#pragma omp parallel num_threads(num_threads)
    {
        uint32_t *narrow = memory + omp_get_thread_num() * own, *wide = narrow + of_narrow;
        struct units before;
        const int in_tiles = enter_tiles(&before);
#pragma omp for schedule(dynamic)
        for (int64_t head = 0; head < f->num_heads; head++)
            differentiate_head(f, head, in_tiles, (uint16_t *)narrow, wide, (float *)(wide + of_wide));
        if (in_tiles) leave_tiles(&before);
    }
    free(memory);
    return 1;
}
