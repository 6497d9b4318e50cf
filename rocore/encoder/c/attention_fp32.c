/* Attention of span tokens to the tokens of their sentence, in fp32, on processors: what stands between the products
 * with weights in attention_chunks.py, forward and backward, sentence by sentence. Rows and tokens are multiplied where
 * they lie. Built and called by native.py.
 */

#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "vectors.h"
#include "weights.h"

#define ROWS 4
#define COLUMNS (LANES / ROWS) /* of a block of scores: it has as many sums as a vector has lanes */
#define VECTORS 4              /* of a row, in a block of mixtures */

/* One sentence as it is multiplied, filled up to whole blocks. */
struct operands {
    int64_t num_tokens, num_rows;
    int64_t width, stride; /* floats of a row or token; from one row's scores to the next */
    float **rows;          /* where each is */
    const float **tokens;
    float *scores, *row_scratch, *token_scratch;
};

typedef void (*step)(const struct batch *, const struct attention *, const struct sentence *, float *, int64_t);

struct job {
    const struct batch *batch;
    const struct attention *attention;
    step step;
    float *rows; /* (A, S, H): read, and replaced by what comes out */
    int64_t most_rows, most_tokens;
};

/* scores[r, l] = row r . token l */
static void score_tokens(const struct operands *o) {
    for (int64_t r = 0; r < o->num_rows; r += ROWS) {
        for (int64_t l = 0; l < o->num_tokens; l += COLUMNS) {
            float *const *rows = o->rows + r;
            const float *const *tokens = o->tokens + l;
            vec block[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) block[i] = load(rows[i / COLUMNS]) * load(tokens[i % COLUMNS]);
            for (int64_t h = LANES; h < o->width; h += LANES) {
                vec column[COLUMNS];
#pragma GCC unroll 4
                for (int j = 0; j < COLUMNS; j++) column[j] = load(tokens[j] + h);
#pragma GCC unroll 4
                for (int i = 0; i < ROWS; i++) {
                    vec row = load(rows[i] + h);
#pragma GCC unroll 4
                    for (int j = 0; j < COLUMNS; j++) block[i * COLUMNS + j] += row * column[j];
                }
            }
            vec total = sums(block);
#pragma GCC unroll 4
            for (int i = 0; i < ROWS; i++)
                memcpy(o->scores + (r + i) * o->stride + l, (float *)&total + i * COLUMNS, COLUMNS * sizeof(float));
        }
    }
}

/* row r = sum_l scores[r, l] token l */
static void mix_tokens(const struct operands *o) {
    for (int64_t h = 0; h < o->width; h += VECTORS * LANES) {
        for (int64_t r = 0; r < o->num_rows; r += ROWS) {
            vec block[ROWS][VECTORS];
#pragma GCC unroll 4
            for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
                for (int j = 0; j < VECTORS; j++)
                    block[i][j] = o->scores[(r + i) * o->stride] * load(o->tokens[0] + h + j * LANES);
            for (int64_t l = 1; l < o->num_tokens; l++) {
                vec token[VECTORS];
#pragma GCC unroll 4
                for (int j = 0; j < VECTORS; j++) token[j] = load(o->tokens[l] + h + j * LANES);
#pragma GCC unroll 4
                for (int i = 0; i < ROWS; i++) {
                    float score = o->scores[(r + i) * o->stride + l];
#pragma GCC unroll 4
                    for (int j = 0; j < VECTORS; j++) block[i][j] += score * token[j];
                }
            }
#pragma GCC unroll 4
            for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
                for (int j = 0; j < VECTORS; j++) store(o->rows[r + i] + h + j * LANES, block[i][j]);
        }
    }
}

/* Return a row or token where it lies, if it can be multiplied there, else copied to scratch. */
static const float *read_vector(const struct operands *o, float *scratch, const float *from, int64_t size) {
    if (o->width == size) return from;
    memcpy(scratch, from, size * sizeof(*scratch));
    memset(scratch + size, 0, (o->width - size) * sizeof(*scratch)); /* the last mixtures may be no numbers */
    return scratch;
}

static void run_sentence(const struct job *job, struct operands *o, const struct sentence *s) {
    const struct batch *batch = job->batch;
    const int64_t size = batch->hidden_size, num_heads = batch->num_heads;
    o->num_tokens = s->num_tokens;
    o->num_rows = rows_of(batch, s);
    for (int64_t r = 0; r < filled_up(o->num_rows, ROWS); r++) o->rows[r] = o->row_scratch + r * o->width;
    for (int64_t l = 0; l < filled_up(o->num_tokens, COLUMNS); l++) o->tokens[l] = o->token_scratch + l * o->width;
    for (int64_t l = 0; l < o->num_tokens; l++)
        o->tokens[l] = read_vector(o, o->token_scratch + l * o->width, (const float *)s->tokens + l * size, size);
    float *own = job->rows + s->first_slot * size;
    for (int64_t r = 0; r < o->num_rows; r++) { /* rows are replaced where they lie, tokens are read alone */
        const float *row = own + (r % num_heads * batch->num_slots + r / num_heads) * size;
        o->rows[r] = (float *)read_vector(o, o->rows[r], row, size);
    }
    score_tokens(o);
    job->step(batch, job->attention, s, o->scores, o->stride);
    mix_tokens(o);
    if (o->width == size) return;
    for (int64_t r = 0; r < o->num_rows; r++)
        memcpy(own + (r % num_heads * batch->num_slots + r / num_heads) * size, o->rows[r], size * sizeof(float));
}

/* Run sentences with the threads' team, and return whether this one had memory. */
static int run_sentences(const struct job *job) {
    const struct batch *batch = job->batch;
    int64_t width = filled_up(batch->hidden_size, VECTORS * LANES), stride = filled_up(job->most_tokens, LANES);
    int64_t num_rows = filled_up(job->most_rows, ROWS);
    float *scratch = calloc(num_rows * (width + stride) + stride * width, sizeof(float));
    float **pointers = calloc(num_rows + stride, sizeof(float *));
    const int has_memory = scratch && pointers;
    struct operands operands = {.width = width, .stride = stride, .rows = pointers};
    if (has_memory) {
        operands.tokens = (const float **)(pointers + num_rows);
        operands.row_scratch = scratch;
        operands.scores = operands.row_scratch + num_rows * width;
        operands.token_scratch = operands.scores + num_rows * stride;
    }
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < batch->num_sentences; i++)
        if (has_memory) run_sentence(job, &operands, batch->sentences + i);
    free(scratch);
    free(pointers);
    return has_memory;
}

/* Run every sentence and return whether all threads had memory. */
static int run(const struct batch *batch, const struct attention *attention, step step, float *rows,
               int64_t num_threads) {
    struct job job = {.batch = batch, .attention = attention, .step = step, .rows = rows};
    for (const struct sentence *s = batch->sentences; s < batch->sentences + batch->num_sentences; s++) {
        if (rows_of(batch, s) > job.most_rows) job.most_rows = rows_of(batch, s);
        if (s->num_tokens > job.most_tokens) job.most_tokens = s->num_tokens;
    }
    int have_memory = 1;
#pragma omp parallel num_threads(smaller(num_threads, batch->num_sentences)) reduction(&& : have_memory)
    have_memory = run_sentences(&job);
    return have_memory;
}

int rocore_mixtures(const struct batch *batch, const struct attention *attention, float *rows, int64_t num_threads) {
    return run(batch, attention, weigh, rows, num_threads);
}

int rocore_gradients(const struct batch *batch, const struct attention *attention, float *rows, int64_t num_threads) {
    return run(batch, attention, unweigh, rows, num_threads);
}
