/* As many numbers in fp32 as a register of the processor holds, what is done with them, and fp32 from and to bf16. */

#ifndef VECTORS_H
#define VECTORS_H

#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#include <immintrin.h>
#define LANES 16
#else
#define LANES 8
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t word __attribute__((may_alias));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

static inline int64_t filled_up(int64_t size, int64_t block) { return (size + block - 1) / block * block; }

static inline int64_t smaller(int64_t size, int64_t limit) { return size < limit ? size : limit; }

static inline vec load(const float *from) { return *(const vec *)from; }

static inline void store(float *to, vec values) { *(vec *)to = values; }

/* The first of a vector's numbers, where there are no more; 0 in the other lanes. */
static inline vec load_some(const float *from, int64_t size) {
    if (size >= LANES) return load(from);
#ifdef __AVX512F__
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1 << size) - 1), from);
#else
    vec values = {0};
    memcpy(&values, from, size * sizeof(*from));
    return values;
#endif
}

static inline void store_some(float *to, vec values, int64_t size) {
    if (size >= LANES) {
        store(to, values);
        return;
    }
#ifdef __AVX512F__
    _mm512_mask_storeu_ps(to, (__mmask16)((1 << size) - 1), (__m512)values);
#else
    memcpy(to, &values, size * sizeof(*to));
#endif
}

static inline ints lanes(void) {
    ints lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return lane;
}

/* A vector's first numbers, and another in the other lanes. */
static inline vec first_of(vec values, int64_t size, float other) {
    ints inside = lanes() < (int)(size < LANES ? size : LANES);
    return (vec)(((ints)values & inside) | ((ints)((vec){0} + other) & ~inside));
}

/* Lane i of the result is the sum of vectors[i]. */
static inline vec sums(vec vectors[LANES]) {
    ints lane = lanes();
#pragma GCC unroll 4
    for (int distance = LANES / 2; distance; distance /= 2) {
        ints of_second = ((lane & distance) != 0) & LANES;
        ints same = lane + of_second, other = (lane ^ distance) + of_second;
#pragma GCC unroll 8
        for (int i = 0; i < distance; i++) {
            vec first = vectors[i], second = vectors[i + distance];
            vectors[i] = __builtin_shuffle(first, second, same) + __builtin_shuffle(first, second, other);
        }
    }
    return vectors[0];
}

/* Blocks of distance x distance numbers beside the diagonal change places, in each block of twice that size. */
static inline __attribute__((always_inline)) void swap_blocks(vec vectors[LANES], const int distance) {
    const ints lane = lanes(), second = (lane & distance) != 0;
    const ints of_upper = (lane & ~second) | ((lane - distance + LANES) & second);
    const ints of_lower = ((lane + distance) & ~second) | ((lane + LANES) & second);
#pragma GCC unroll 8
    for (int i = 0; i < LANES / 2; i++) {
        const int at = i / distance * 2 * distance + i % distance;
        const vec upper = vectors[at], lower = vectors[at + distance];
        vectors[at] = __builtin_shuffle(upper, lower, of_upper);
        vectors[at + distance] = __builtin_shuffle(upper, lower, of_lower);
    }
}

/* Number j of vector i changes places with number i of vector j. */
static inline __attribute__((always_inline)) void transpose(vec vectors[LANES]) {
    if (LANES == 16) swap_blocks(vectors, LANES / 2);
    swap_blocks(vectors, 4);
    swap_blocks(vectors, 2);
    swap_blocks(vectors, 1);
}

static inline float sum(vec values) {
#pragma GCC unroll 4
    for (int distance = LANES / 2; distance; distance /= 2) values += __builtin_shuffle(values, lanes() ^ distance);
    return values[0];
}

static inline vec larger(vec first, vec second) {
    ints use_first = first > second;
    return (vec)(((ints)first & use_first) | ((ints)second & ~use_first));
}

static inline float largest(vec values) {
#pragma GCC unroll 4
    for (int distance = LANES / 2; distance; distance /= 2)
        values = larger(values, __builtin_shuffle(values, lanes() ^ distance));
    return values[0];
}

/* e^x for x <= 0, within 2e-7 of it: 2^k e^t with |t| <= ln(2) / 2, and e^t by its series. 0 where it is next to it, as
 * products of such numbers take a processor ten times as long. */
static inline vec exponential(vec x) {
    const ints too_low = x <= -87.0f; /* what isn't a number isn't, and stays none */
    x = (vec)((ints)x & ~too_low);
    vec shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    vec whole = shifted - 12582912.0f;
    vec t = x - whole * 0.693359375f + whole * 2.12194440e-4f; /* ln(2) in two parts */
    vec series = t * (1 / 5040.0f) + 1 / 720.0f;
    series = series * t + 1 / 120.0f;
    series = series * t + 1 / 24.0f;
    series = series * t + 1 / 6.0f;
    series = series * t + 0.5f;
    series = series * t + 1.0f;
    series = series * t + 1.0f;
    return (vec)(((ints)series + (__builtin_convertvector(whole, ints) << 23)) & ~too_low);
}

/* To bf16: to the nearest, a tie to the even one; what isn't a number stays none. */
static inline uint16_t rounded(float value) {
    union {
        float value;
        uint32_t bits;
    } number = {value};
    uint32_t nearest = (number.bits + 0x7fff + (number.bits >> 16 & 1)) >> 16;
    return (number.bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : nearest;
}

static inline void store_rounded(uint16_t *to, vec values) {
#ifdef __AVX512BF16__
    *(halves *)to = (halves)_mm512_cvtneps_pbh((__m512)values);
#else
    for (int i = 0; i < LANES; i++) to[i] = rounded(values[i]);
#endif
}

static inline void round_vector(uint16_t *restrict to, const float *restrict from, int64_t size) {
    int64_t h = 0;
    for (; h + LANES <= size; h += LANES) store_rounded(to + h, load(from + h));
    for (; h < size; h++) to[h] = rounded(from[h]);
}

static inline float widened(uint16_t value) {
    union {
        uint32_t bits;
        float value;
    } number = {(uint32_t)value << 16};
    return number.value;
}

/* The lower half of each number. */
static inline void store_halves(uint16_t *to, ints values) { *(halves *)to = __builtin_convertvector(values, halves); }

static inline vec widen(const uint16_t *from) {
    return (vec)(__builtin_convertvector(*(const halves *)from, ints) << 16);
}

/* The sum of products. */
static inline float dot(const uint16_t *first, const float *second, int64_t size) {
    vec products = {0};
    int64_t i = 0;
    for (; i + LANES <= size; i += LANES) products += widen(first + i) * load(second + i);
    float total = sum(products);
    for (; i < size; i++) total += widened(first[i]) * second[i];
    return total;
}

#endif
