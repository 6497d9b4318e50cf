/* What attention is computed of, what it is given, and what it keeps; native.py fills these in.
 *
 * Shapes: A heads, H hidden size, S slots of the query grid; a sentence of L tokens and q queries, R = q A rows of them
 * (query by query, in each head by head), in a group whose longest sentence has `room` tokens.
 */

#ifndef BATCH_H
#define BATCH_H

#include <stdint.h>

struct sentence {
    const void *tokens; /* (L, H), fp32 or bf16 */
    int64_t num_tokens, room, num_queries, first_slot;
    int64_t first_pair; /* of a query and a token, in each head: where its own are in what is given and kept */
};

struct batch {
    int64_t num_sentences, num_heads, hidden_size, num_slots;
    const struct sentence *sentences;
};

/* Of the attention weights, sentence by sentence: (room, R) what is given, (R, room) what is kept for backward. */
struct attention {
    float scale;
    const float *biases, *masks; /* given; or null */
    float *weights, *dropped;    /* kept, before and after dropout; weights null: keep none, dropped null: no dropout */
    float *totals;               /* (S, A) sums of the weights after dropout; backward, their gradients */
};

static inline int64_t rows_of(const struct batch *batch, const struct sentence *s) {
    return s->num_queries * batch->num_heads;
}

#endif
