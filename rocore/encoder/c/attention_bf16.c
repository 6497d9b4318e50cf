/* Attention of span tokens to the tokens of their sentence, in bf16, on processors, forward and backward: queries are
 * folded, scored, mixed and unfolded (attention.py) block by block of sentences, so that what is wide, (A, S, H), is in
 * the processor's cache meanwhile. Products are of tiles; sums, softmax and its gradient are in fp32. Built and called
 * by native.py.
 *
 * Shapes: as in batch.h, W = H / A. Rows of a block: slot by slot, in each head by head.
 */

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "panels.h"
#include "tiles.h"
#include "vectors.h"
#include "weights.h"

#define BLOCK_SLOTS 32 /* of sentences that are computed together; one with more is a block of its own */

/* Forward: queries, W_k, W_v, context. Backward: the context's gradients, W_v, W_k, the queries' gradients. */
struct heads {
    const uint16_t *narrow;              /* (S, A, W) */
    const uint16_t *folding, *unfolding; /* (A, W, H) */
    const float *bias;                   /* (A, W) of the values */
    uint16_t *out;                       /* (S, A, W) */
    uint16_t *mixed;                     /* (S + 16, A, H) what is unfolded, if it is to be kept; or null */
    int64_t backward;
};

struct block {
    int64_t first, end, first_slot, num_slots; /* sentences and slots */
};

/* Of a thread's memory, in numbers of 32 bits; and from one row's scores to the next. */
struct sizes {
    int64_t narrow, rows, tokens, scores, sums, stride;
};

struct job {
    const struct batch *batch;
    const struct attention *attention;
    const struct heads *heads;
    struct block *blocks;
    struct sizes sizes;
    int64_t num_threads, num_blocks, most_slots, most_rows, most_tokens;
    int64_t head_size;           /* W */
    int64_t width, narrow_width; /* H, and W filled up */
    uint32_t *folding;           /* in panels, (A, width / 16, narrow_width / 2, 16) */
    uint32_t *unfolding;         /* (A, narrow_width / 16, width / 2, 16) */
};

/* A thread's own. */
struct scratch {
    int in_tiles;
    int64_t stride;     /* from one row's scores to the next */
    uint16_t *narrow;   /* (slots, A, narrow_width) */
    uint16_t *rows;     /* (slots, A, H), unless they are kept */
    uint32_t *columns;  /* tokens as columns, in panels: (stride / 16, width / 2, 16) */
    uint32_t *vertical; /* and as rows: (width / 16, depth / 2, 16), depth that of the sentence */
    float *scores;      /* (R, stride) */
    uint16_t *rounded;  /* the same in bf16 */
    float *sums;        /* (16, width), or (16, A, narrow_width): of products, before they are rounded */
};

/* The threads' team share the heads, and go on when all are packed. */
static void pack_heads(const struct job *job) {
    const int64_t weights = job->head_size * job->width, packed = job->width * job->narrow_width / 2;
#pragma omp for schedule(dynamic)
    for (int64_t head = 0; head < job->batch->num_heads; head++) {
        pack_rows(job->folding + head * packed, job->heads->folding + head * weights, job->head_size, job->width,
                  job->width, job->narrow_width);
        pack_columns(job->unfolding + head * packed, job->heads->unfolding + head * weights, job->head_size, job->width,
                     job->width);
    }
}

/* Rows of a block = its narrow ones times the weights of their head. */
static void fold(const struct job *job, const struct scratch *own, const struct block *block) {
    const int64_t num_heads = job->batch->num_heads, size = job->head_size, narrow = job->narrow_width;
    const uint16_t *from = job->heads->narrow + block->first_slot * num_heads * size;
    for (int64_t row = 0; row < block->num_slots * num_heads; row++)
        memcpy(own->narrow + row * narrow, from + row * size, size * sizeof(*from));
    for (int64_t head = 0; head < num_heads; head++) {
        const struct products out = {block->num_slots, job->width, num_heads * job->width, own->sums,
                                     own->rows + head * job->width};
        multiply_rounded(own->in_tiles, own->narrow + head * narrow, num_heads * narrow,
                         job->folding + head * job->width * narrow / 2, narrow, &out);
    }
}

/* Score a sentence's rows and replace them by their mixtures of tokens. */
static void mix(const struct job *job, const struct scratch *own, const struct sentence *s, uint16_t *rows) {
    const int64_t width = job->width, stride = own->stride, num_rows = rows_of(job->batch, s);
    const int64_t depth = whole_depth(own->in_tiles, s->num_tokens);
    const struct products scores = {num_rows, filled_up(s->num_tokens, TILE), stride, own->scores};
    const struct products mixtures = {num_rows, width, width, own->sums, rows};
    pack_columns(own->columns, s->tokens, s->num_tokens, width, width);
    pack_rows(own->vertical, s->tokens, s->num_tokens, width, width, depth);
    multiply(own->in_tiles, 0, rows, width, own->columns, width, &scores);
    (job->heads->backward ? unweigh : weigh)(job->batch, job->attention, s, own->scores, stride);
    for (int64_t r = 0; r < num_rows; r++) {
        uint16_t *rounded = own->rounded + r * depth;
        round_vector(rounded, own->scores + r * stride, s->num_tokens);
        memset(rounded + s->num_tokens, 0, (depth - s->num_tokens) * sizeof(*rounded));
    }
    multiply_rounded(own->in_tiles, own->rounded, depth, own->vertical, depth, &mixtures);
}

/* Narrow rows out = rows of a block times the weights of their head; forward plus the values' bias, backward scaled. */
static void unfold(const struct job *job, const struct scratch *own, const struct block *block) {
    const int64_t num_heads = job->batch->num_heads, size = job->head_size, narrow = job->narrow_width;
    const struct heads *heads = job->heads;
    for (int64_t slot = 0; slot < block->num_slots; slot += TILE) {
        const int64_t num_slots = smaller(block->num_slots - slot, TILE);
        for (int64_t head = 0; head < num_heads; head++) {
            const struct products out = {num_slots, narrow, num_heads * narrow, own->sums + head * narrow};
            multiply(own->in_tiles, 0, own->rows + (slot * num_heads + head) * job->width, num_heads * job->width,
                     job->unfolding + head * job->width * narrow / 2, job->width, &out);
        }
        for (int64_t row = 0; row < num_slots * num_heads; row++) {
            float *sums = own->sums + row * narrow;
            const int64_t to = (block->first_slot + slot) * num_heads + row;
            const float total = job->attention->totals[to], *bias = heads->bias + row % num_heads * size;
            for (int64_t w = 0; w < size; w++)
                sums[w] = heads->backward ? job->attention->scale * sums[w] : sums[w] + total * bias[w];
            round_vector(heads->out + to * size, sums, size);
        }
    }
}

/* Gradients of the sums of weights: those of the context times the values' bias. */
static void differentiate_totals(const struct job *job, const struct block *block) {
    const int64_t size = job->head_size, num_heads = job->batch->num_heads;
    for (int64_t row = block->first_slot * num_heads; row < (block->first_slot + block->num_slots) * num_heads; row++) {
        const uint16_t *of_context = job->heads->narrow + row * size;
        const float *bias = job->heads->bias + row % num_heads * size;
        job->attention->totals[row] = dot(of_context, bias, size);
    }
}

/* Rows that are kept are computed where they are to be. Whole tiles of them are read: those of the next block, which
 * another thread may be writing, come to nothing. */
static void run_block(const struct job *job, const struct scratch *scratch, const struct block *block) {
    const int64_t slot_size = job->batch->num_heads * job->width;
    struct scratch here = *scratch, *own = &here;
    if (job->heads->mixed) own->rows = job->heads->mixed + block->first_slot * slot_size;
    if (job->heads->backward) differentiate_totals(job, block);
    fold(job, own, block);
    for (const struct sentence *s = job->batch->sentences + block->first; s < job->batch->sentences + block->end; s++)
        mix(job, own, s, own->rows + (s->first_slot - block->first_slot) * slot_size);
    unfold(job, own, block);
}

/* Divide a thread's memory. */
static struct scratch scratch_in(const struct job *job, uint32_t *memory) {
    const struct sizes *sizes = &job->sizes;
    struct scratch own = {.stride = sizes->stride, .narrow = (uint16_t *)memory};
    if (job->narrow_width > job->head_size) memset(own.narrow, 0, sizes->narrow * sizeof(*memory));
    own.rows = (uint16_t *)(memory + sizes->narrow);
    own.columns = memory + sizes->narrow + sizes->rows;
    own.vertical = own.columns + sizes->tokens;
    own.scores = (float *)(own.vertical + sizes->tokens);
    own.rounded = (uint16_t *)(own.scores + sizes->scores);
    own.sums = own.scores + 2 * sizes->scores;
    return own;
}

static void run_blocks(const struct job *job, uint32_t *memory, int64_t size) {
#pragma omp parallel num_threads(job->num_threads)
    {
        struct units before;
        struct scratch own = scratch_in(job, memory + omp_get_thread_num() * size);
        own.in_tiles = enter_tiles(&before);
        pack_heads(job);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < job->num_blocks; i++) run_block(job, &own, job->blocks + i);
        if (own.in_tiles) leave_tiles(&before);
    }
}

/* Sentences that follow one another, as many as fit a block. */
static void divide(struct job *job) {
    const struct sentence *sentences = job->batch->sentences;
    for (int64_t i = 0; i < job->batch->num_sentences; i++) {
        const struct sentence *s = sentences + i;
        struct block *block = job->blocks + job->num_blocks - 1;
        const int64_t end = s->first_slot + s->num_queries;
        if (!i || end - block->first_slot > BLOCK_SLOTS) {
            block = job->blocks + job->num_blocks++;
            *block = (struct block){.first = i, .first_slot = s->first_slot};
        }
        block->end = i + 1;
        block->num_slots = end - block->first_slot;
        if (block->num_slots > job->most_slots) job->most_slots = block->num_slots;
        if (rows_of(job->batch, s) > job->most_rows) job->most_rows = rows_of(job->batch, s);
        if (s->num_tokens > job->most_tokens) job->most_tokens = s->num_tokens;
    }
}

/* What each thread needs, in numbers of 32 bits. */
static struct sizes sizes_of(const struct job *job) {
    const int64_t num_slots = filled_up(job->most_slots, TILE) * job->batch->num_heads;
    const int64_t narrow_row = job->batch->num_heads * job->narrow_width;
    struct sizes sizes = {.stride = filled_up(job->most_tokens, DEPTH)};
    sizes.narrow = num_slots * job->narrow_width / 2;
    sizes.rows = job->heads->mixed ? 0 : (num_slots + TILE) * job->width / 2;
    sizes.tokens = sizes.stride * job->width / 2;
    sizes.scores = filled_up(job->most_rows, TILE) * sizes.stride;
    sizes.sums = TILE * (job->width > narrow_row ? job->width : narrow_row);
    return sizes;
}

/* Compute every slot of a sentence, and return whether there was memory. H is a multiple of 32. */
int rocore_attend(const struct batch *batch, const struct attention *attention, const struct heads *heads,
                  int64_t num_threads) {
    struct job job = {.batch = batch, .attention = attention, .heads = heads, .width = batch->hidden_size};
    job.head_size = batch->hidden_size / batch->num_heads;
    job.narrow_width = filled_up(job.head_size, DEPTH);
    job.blocks = malloc(batch->num_sentences * sizeof(*job.blocks));
    if (!job.blocks) return 0;
    divide(&job);
    job.num_threads = smaller(num_threads, job.num_blocks);
    job.sizes = sizes_of(&job);
    const int64_t packed = batch->num_heads * job.width * job.narrow_width / 2;
    const int64_t own =
        job.sizes.narrow + job.sizes.rows + 2 * job.sizes.tokens + 2 * job.sizes.scores + job.sizes.sums;
    uint32_t *memory = aligned_alloc(64, (2 * packed + job.num_threads * own) * sizeof(*memory));
    if (memory) {
        job.folding = memory;
        job.unfolding = memory + packed;
        if (job.narrow_width > job.head_size) memset(job.unfolding, 0, packed * sizeof(*memory));
        run_blocks(&job, memory + 2 * packed, own);
    }
    free(memory);
    free(job.blocks);
    return memory != NULL;
}
