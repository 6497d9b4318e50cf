/* Attention of span tokens to the tokens of their sentence, on processors: what stands between the two products with
 * weights in attention.py, forward and backward, sentence by sentence. Rows and tokens in fp32 are multiplied where they
 * lie; those in bf16 are copied to the thread's scratch, where they stay in the processor's cache: with matrix units
 * (AMX) as they are, else widened to fp32. Sums, softmax and its gradient are in fp32.
 *
 * Shapes: A heads, H hidden size, S slots; in one group n sentences of at most L tokens and q queries, R = q A rows
 * each. Built and called by native.py, whose structures are these.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tiles.h"
#include "vectors.h"

#define ROWS 4
#define COLUMNS (LANES / ROWS) /* of a block of scores: it has as many sums as a vector has lanes */
#define VECTORS 4              /* of a row, in a block of mixtures */
#define NO_SCORE -1e30f
#define MOST_THREADS 512

struct group {
    int64_t size, room, queries, first_slot;
};

struct batch {
    int64_t num_groups, num_heads, hidden_size, num_slots, in_fp32;
    const struct group *groups;
    const void *const *tokens; /* of each sentence, group by group, (lengths[i], H), fp32 or bf16 */
    const int64_t *lengths;
    void *rows; /* (A, S, H), as the tokens: read, and replaced by what comes out */
};

/* Of the attention weights, group by group: (n, L, R) what is given, (n, R, L) what is kept for the backward pass. */
struct attention {
    float scale;
    const float *biases, *masks; /* given; or null */
    float *weights, *dropped;    /* kept, before and after dropout; weights null: keep none, dropped null: no dropout */
    float *totals;               /* (S, A) sums of the weights after dropout; backward, their gradients */
};

/* A sentence as matrix units multiply it, in bf16. Pairs are what lies one above another in the second factor. */
struct tiles {
    uint16_t *rows, *scores;      /* (R, width) and (R, stride) */
    uint32_t *columns, *vertical; /* tokens as columns, (width / 2, stride), and as rows, (stride / 2, width) */
};

/* One sentence as it is multiplied: rows and tokens in fp32, filled up to whole blocks. */
struct sentence {
    int64_t num_tokens, room, num_rows, first_slot, first_weight;
    int64_t width, stride; /* floats of a row or token; from one row's scores to the next */
    float **rows;          /* where each is */
    const float **tokens;
    float *scores, *row_scratch, *token_scratch;
    struct tiles *tiles; /* in the place of rows and tokens that are read; null without matrix units */
};

typedef void (*step)(const struct attention *, const struct sentence *, float *totals);

struct job {
    const struct batch *batch;
    const struct attention *attention;
    step step;
    int64_t most_rows, most_tokens;
    atomic_llong next;
    atomic_int failed;
};

/* scores[r, l] = row r . token l */
static void score_tokens(const struct sentence *s) {
    if (s->tiles) {
        multiply_tiles(s->tiles->rows, s->width, s->tiles->columns, s->stride, s->scores, s->stride,
                       filled_up(s->num_rows, TILE), filled_up(s->num_tokens, TILE), s->width);
        return;
    }
    for (int64_t r = 0; r < s->num_rows; r += ROWS) {
        for (int64_t l = 0; l < s->num_tokens; l += COLUMNS) {
            float *const *rows = s->rows + r;
            const float *const *tokens = s->tokens + l;
            vec block[LANES];
            for (int i = 0; i < LANES; i++) block[i] = load(rows[i / COLUMNS]) * load(tokens[i % COLUMNS]);
            for (int64_t h = LANES; h < s->width; h += LANES) {
                vec column[COLUMNS];
                for (int j = 0; j < COLUMNS; j++) column[j] = load(tokens[j] + h);
                for (int i = 0; i < ROWS; i++) {
                    vec row = load(rows[i] + h);
                    for (int j = 0; j < COLUMNS; j++) block[i * COLUMNS + j] += row * column[j];
                }
            }
            vec total = sums(block);
            for (int i = 0; i < ROWS; i++)
                memcpy(s->scores + (r + i) * s->stride + l, (float *)&total + i * COLUMNS, COLUMNS * sizeof(float));
        }
    }
}

/* row r = sum_l scores[r, l] token l */
static void mix_tokens(const struct sentence *s) {
    if (s->tiles) {
        int64_t depth = filled_up(s->num_tokens, 2 * TILE);
        for (int64_t r = 0; r < s->num_rows; r++) {
            uint16_t *scores = s->tiles->scores + r * s->stride;
            round_vector(scores, s->scores + r * s->stride, s->num_tokens);
            memset(scores + s->num_tokens, 0, (depth - s->num_tokens) * sizeof(*scores));
        }
        multiply_tiles(s->tiles->scores, s->stride, s->tiles->vertical, s->width, s->row_scratch, s->width,
                       filled_up(s->num_rows, TILE), s->width, depth);
        return;
    }
    for (int64_t h = 0; h < s->width; h += VECTORS * LANES) {
        for (int64_t r = 0; r < s->num_rows; r += ROWS) {
            vec block[ROWS][VECTORS];
            for (int i = 0; i < ROWS; i++)
                for (int j = 0; j < VECTORS; j++)
                    block[i][j] = s->scores[(r + i) * s->stride] * load(s->tokens[0] + h + j * LANES);
            for (int64_t l = 1; l < s->num_tokens; l++) {
                vec token[VECTORS];
                for (int j = 0; j < VECTORS; j++) token[j] = load(s->tokens[l] + h + j * LANES);
                for (int i = 0; i < ROWS; i++) {
                    float score = s->scores[(r + i) * s->stride + l];
                    for (int j = 0; j < VECTORS; j++) block[i][j] += score * token[j];
                }
            }
            for (int i = 0; i < ROWS; i++)
                for (int j = 0; j < VECTORS; j++) store(s->rows[r + i] + h + j * LANES, block[i][j]);
        }
    }
}

static void softmax(float *scores, int64_t size) {
    const int64_t filled = filled_up(size, LANES);
    for (int64_t l = size; l < filled; l++) scores[l] = NO_SCORE;
    vec most = load(scores), total = {0};
    for (int64_t l = LANES; l < filled; l += LANES) most = larger(load(scores + l), most);
    const float of_all = largest(most);
    for (int64_t l = 0; l < filled; l += LANES) {
        vec weights = exponential(load(scores + l) - of_all);
        total += weights;
        store(scores + l, weights);
    }
    const float share = 1 / sum(total);
    for (int64_t l = 0; l < filled; l += LANES) store(scores + l, load(scores + l) * share);
}

/* Multiply a row's weights with its masks and return their sum. */
static float drop(const struct sentence *s, float *weights, const float *masks) {
    vec total = {0};
    for (int64_t l = 0; l < s->num_tokens; l += LANES) {
        vec factors = {0};
        for (int i = 0; i < LANES && l + i < s->num_tokens; i++) factors[i] = masks[(l + i) * s->num_rows];
        vec dropped = load(weights + l) * factors;
        total += dropped;
        store(weights + l, dropped);
    }
    return sum(total);
}

static void mix(const struct attention *attention, const struct sentence *s, float *totals) {
    score_tokens(s);
    for (int64_t r = 0; r < s->num_rows; r++) {
        float *scores = s->scores + r * s->stride;
        const int64_t given = s->first_weight + r, kept = s->first_weight + r * s->room;
        for (int64_t l = 0; l < s->num_tokens; l++) scores[l] *= attention->scale;
        if (attention->biases)
            for (int64_t l = 0; l < s->num_tokens; l++) scores[l] += attention->biases[given + l * s->num_rows];
        softmax(scores, s->num_tokens);
        if (attention->weights) memcpy(attention->weights + kept, scores, s->num_tokens * sizeof(float));
        totals[r] = attention->masks ? drop(s, scores, attention->masks + given) : 1;
        if (attention->dropped) memcpy(attention->dropped + kept, scores, s->num_tokens * sizeof(float));
    }
    mix_tokens(s);
}

static void differentiate(const struct attention *attention, const struct sentence *s, float *of_totals) {
    score_tokens(s); /* of the mixtures' gradients: the weights' */
    for (int64_t r = 0; r < s->num_rows; r++) {
        float *of_scores = s->scores + r * s->stride, total = 0;
        const float *weights = attention->weights + s->first_weight + r * s->room;
        const float *dropped = attention->dropped ? attention->dropped + (weights - attention->weights) : weights;
        for (int64_t l = 0; l < s->num_tokens; l++)
            total += of_scores[l] = (of_scores[l] + of_totals[r]) * dropped[l];
        for (int64_t l = 0; l < s->num_tokens; l++) of_scores[l] -= weights[l] * total;
    }
    mix_tokens(s);
}

/* Row r of a sentence, in (A, S, H), counted in elements. */
static int64_t row_of(const struct batch *batch, const struct sentence *s, int64_t r) {
    int64_t head = r % batch->num_heads, slot = s->first_slot + r / batch->num_heads;
    return (head * batch->num_slots + slot) * batch->hidden_size;
}

static void read_tiles(const struct batch *batch, const struct sentence *s, const uint16_t *tokens) {
    const int64_t size = batch->hidden_size;
    for (int64_t r = 0; r < s->num_rows; r++)
        memcpy(s->tiles->rows + r * s->width, (uint16_t *)batch->rows + row_of(batch, s, r), size * sizeof(*tokens));
    for (int64_t l = 0; l < s->num_tokens; l++) {
        const word *pairs = (const word *)(tokens + l * size);
        for (int64_t h = 0; h < size / 2; h++) s->tiles->columns[h * s->stride + l] = pairs[h];
    }
    for (int64_t l = 0; l < filled_up(s->num_tokens, 2 * TILE); l += 2) {
        uint32_t *restrict pairs = s->tiles->vertical + l / 2 * s->width;
        const uint16_t *first = tokens + l * size, *second = first + size;
        if (l + 1 < s->num_tokens) {
            for (int64_t h = 0; h < size; h++) pairs[h] = first[h] | (uint32_t)second[h] << 16;
        } else if (l < s->num_tokens) {
            for (int64_t h = 0; h < size; h++) pairs[h] = first[h];
        } else {
            memset(pairs, 0, size * sizeof(*pairs));
        }
    }
}

/* Copy a row or token to scratch, or return it as it lies where it can be multiplied so. */
static const float *read_vector(const struct batch *batch, const struct sentence *s, float *scratch, const void *from,
                                int64_t at) {
    const int64_t size = batch->hidden_size;
    if (batch->in_fp32 && s->width == size) return (const float *)from + at;
    if (batch->in_fp32)
        memcpy(scratch, (const float *)from + at, size * sizeof(*scratch));
    else
        widen_vector(scratch, (const uint16_t *)from + at, size);
    memset(scratch + size, 0, (s->width - size) * sizeof(*scratch)); /* the last mixtures may be no numbers */
    return scratch;
}

static void run_sentence(const struct job *job, struct sentence *s, const void *tokens) {
    const struct batch *batch = job->batch;
    const int64_t size = batch->hidden_size;
    for (int64_t r = 0; r < filled_up(s->num_rows, ROWS); r++) s->rows[r] = s->row_scratch + r * s->width;
    for (int64_t l = 0; l < filled_up(s->num_tokens, COLUMNS); l++) s->tokens[l] = s->token_scratch + l * s->width;
    if (s->tiles) {
        read_tiles(batch, s, tokens);
    } else {
        for (int64_t r = 0; r < s->num_rows; r++) /* rows are replaced where they lie, tokens are read alone */
            s->rows[r] = (float *)read_vector(batch, s, s->rows[r], batch->rows, row_of(batch, s, r));
        for (int64_t l = 0; l < s->num_tokens; l++)
            s->tokens[l] = read_vector(batch, s, s->token_scratch + l * s->width, tokens, l * size);
    }
    job->step(job->attention, s, job->attention->totals + s->first_slot * batch->num_heads);
    for (int64_t r = 0; r < s->num_rows; r++) {
        if (!batch->in_fp32)
            round_vector((uint16_t *)batch->rows + row_of(batch, s, r), s->rows[r], size);
        else if (s->width != size)
            memcpy((float *)batch->rows + row_of(batch, s, r), s->rows[r], size * sizeof(float));
    }
}

/* Take one sentence after another that no other thread has taken. */
static void *take_sentences(void *argument) {
    struct job *job = argument;
    const struct batch *batch = job->batch;
    int64_t width = filled_up(batch->hidden_size, VECTORS * LANES), stride = filled_up(job->most_tokens, 2 * TILE);
    int64_t num_rows = filled_up(job->most_rows, TILE);
    int in_tiles = !batch->in_fp32 && batch->hidden_size % 2 == 0 && enter_tiles();
    int64_t sizes[] = {num_rows * width, stride * width, num_rows * stride};
    float *scratch = calloc(2 * (sizes[0] + sizes[1] + sizes[2]), sizeof(float));
    float **pointers = calloc(num_rows + stride, sizeof(float *));
    if (!scratch || !pointers) {
        job->failed = 1;
        free(scratch);
        free(pointers);
        return NULL;
    }
    struct sentence s = {.width = width, .stride = stride, .rows = pointers};
    s.tokens = (const float **)(pointers + num_rows);
    s.row_scratch = scratch;
    s.token_scratch = s.row_scratch + sizes[0];
    s.scores = s.token_scratch + sizes[1];
    struct tiles tiles = {.columns = (uint32_t *)s.token_scratch, .vertical = (uint32_t *)(s.scores + sizes[2])};
    tiles.rows = (uint16_t *)(tiles.vertical + sizes[1]);
    tiles.scores = tiles.rows + sizes[0];
    if (in_tiles) s.tiles = &tiles;
    int64_t taken = job->next++, sentence = 0;
    for (const struct group *group = batch->groups; group < batch->groups + batch->num_groups; group++) {
        s.room = group->room;
        s.num_rows = group->queries * batch->num_heads;
        for (int64_t i = 0; i < group->size; i++, sentence++, s.first_weight += s.room * s.num_rows) {
            if (sentence != taken) continue;
            s.first_slot = group->first_slot + i * group->queries;
            s.num_tokens = batch->lengths[sentence];
            run_sentence(job, &s, batch->tokens[sentence]);
            taken = job->next++;
        }
    }
    if (in_tiles) leave_tiles();
    free(scratch);
    free(pointers);
    return NULL;
}

/* Run every sentence and return whether all threads had memory. The caller's thread waits: how its matrix units are set
 * up is its own affair. */
static int run(const struct batch *batch, const struct attention *attention, step step, int64_t num_threads) {
    struct job job = {.batch = batch, .attention = attention, .step = step};
    int64_t num_sentences = 0, num_started = 0;
    for (const struct group *group = batch->groups; group < batch->groups + batch->num_groups; group++) {
        int64_t num_rows = group->queries * batch->num_heads;
        if (num_rows > job.most_rows) job.most_rows = num_rows;
        if (group->room > job.most_tokens) job.most_tokens = group->room;
        num_sentences += group->size;
    }
    if (num_threads > num_sentences) num_threads = num_sentences;
    pthread_t threads[MOST_THREADS];
    while (num_started < num_threads && num_started < MOST_THREADS) {
        if (pthread_create(&threads[num_started], NULL, take_sentences, &job)) break; /* those that there are do all */
        num_started++;
    }
    if (!num_started) take_sentences(&job);
    for (int64_t i = 0; i < num_started; i++) pthread_join(threads[i], NULL);
    return !job.failed;
}

int rocore_mixtures(const struct batch *batch, const struct attention *attention, int64_t num_threads) {
    return run(batch, attention, mix, num_threads);
}

int rocore_gradients(const struct batch *batch, const struct attention *attention, int64_t num_threads) {
    return run(batch, attention, differentiate, num_threads);
}
