/* From scores to attention weights, and back: softmax and dropout, row by row, in fp32. */

#ifndef WEIGHTS_H
#define WEIGHTS_H

#include <string.h>

#include "batch.h"
#include "vectors.h"

#define NO_SCORE -1e30f

/* Replace a row's scores by e^score, but for a factor, and return the factor that makes their sum 1. */
static inline float exponentials(float *scores, int64_t size, float scale, const float *biases, int64_t bias_stride) {
    vec most = {0}, total = {0};
    for (int64_t l = 0; l < size; l += LANES) {
        vec scaled = load_some(scores + l, size - l) * scale;
        if (biases) {
            float added[LANES] = {0};
            for (int i = 0; i < LANES && l + i < size; i++) added[i] = biases[(l + i) * bias_stride];
            scaled += load(added);
        }
        scaled = first_of(scaled, size - l, NO_SCORE);
        most = l ? larger(scaled, most) : scaled;
        store(scores + l, scaled);
    }
    const float of_all = largest(most);
    for (int64_t l = 0; l < size; l += LANES) {
        vec weights = exponential(load(scores + l) - of_all);
        total += weights;
        store(scores + l, weights);
    }
    return 1 / sum(total);
}

/* Columns of a (tokens, rows) matrix; both may end before a vector does, and what is beyond means nothing. */
static inline void read_columns(vec columns[LANES], const float *matrix, int64_t tokens, int64_t rows, int64_t stride) {
    for (int i = 0; i < LANES; i++) columns[i] = load_some(matrix + smaller(i, tokens - 1) * stride, rows);
    transpose(columns);
}

/* Replace a sentence's scores, (R, stride), by its weights after dropout. */
static inline void weigh(const struct batch *batch, const struct attention *attention, const struct sentence *s,
                         float *of_rows, int64_t stride) {
    const int64_t num_rows = rows_of(batch, s), first = s->first_pair * batch->num_heads;
    float *totals = attention->totals + s->first_slot * batch->num_heads;
    for (int64_t r = 0; r < num_rows; r += LANES) {
        const int64_t size = num_rows - r < LANES ? num_rows - r : LANES;
        const float *biases = attention->biases ? attention->biases + first + r : NULL;
        float shares[LANES];
        vec masks[LANES], sums[LANES] = {0};
        for (int i = 0; i < size; i++)
            shares[i] = exponentials(of_rows + (r + i) * stride, s->num_tokens, attention->scale,
                                     biases ? biases + i : NULL, num_rows);
        for (int64_t l = 0; l < s->num_tokens; l += LANES) {
            const int64_t left = s->num_tokens - l;
            if (attention->masks)
                read_columns(masks, attention->masks + first + l * num_rows + r, left, size, num_rows);
            for (int i = 0; i < size; i++) {
                float *weights = of_rows + (r + i) * stride + l;
                const int64_t kept = first + (r + i) * s->room + l;
                vec values = load(weights) * shares[i];
                if (attention->weights) store_some(attention->weights + kept, values, left);
                if (attention->masks) sums[i] += values *= masks[i];
                if (attention->dropped) store_some(attention->dropped + kept, values, left);
                store(weights, values);
            }
        }
        for (int i = 0; i < size; i++) totals[r + i] = attention->masks ? sum(sums[i]) : 1;
    }
}

/* Replace the gradients of a sentence's weights, (R, stride), by those of its scores, but for the scale. */
static inline void unweigh(const struct batch *batch, const struct attention *attention, const struct sentence *s,
                           float *of_rows, int64_t stride) {
    const int64_t first = s->first_pair * batch->num_heads;
    const float *of_totals = attention->totals + s->first_slot * batch->num_heads;
    for (int64_t r = 0; r < rows_of(batch, s); r++) {
        float *of_scores = of_rows + r * stride;
        const float *weights = attention->weights + first + r * s->room;
        const float *dropped = attention->dropped ? attention->dropped + first + r * s->room : weights;
        vec products = {0};
        for (int64_t l = 0; l < s->num_tokens; l += LANES) {
            const int64_t left = s->num_tokens - l;
            vec values = (load_some(of_scores + l, left) + of_totals[r]) * load_some(dropped + l, left);
            products += values;
            store(of_scores + l, values);
        }
        const float total = sum(products);
        for (int64_t l = 0; l < s->num_tokens; l += LANES)
            store(of_scores + l, load(of_scores + l) - load_some(weights + l, s->num_tokens - l) * total);
    }
}

#endif
