/* As many numbers in fp32 as a register of the processor holds, what is done with them, and fp32 from and to bf16. */

#ifndef VECTORS_H
#define VECTORS_H

#include <stdint.h>

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t word __attribute__((may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

static inline int64_t filled_up(int64_t size, int64_t block) { return (size + block - 1) / block * block; }

static inline vec load(const float *from) { return *(const vec *)from; }

static inline void store(float *to, vec values) { *(vec *)to = values; }

static inline ints lanes(void) {
    ints lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return lane;
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

/* e^x for x <= 0, within 2e-7 of it: 2^k e^t with |t| <= ln(2) / 2, and e^t by its series. */
static inline vec exponential(vec x) {
    ints too_low = x < -87.0f;
    x = (vec)(((ints)x & ~too_low) | ((ints)(x * 0 - 87.0f) & too_low));
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
    return (vec)((ints)series + (__builtin_convertvector(whole, ints) << 23));
}

/* To bf16: to the nearest, a tie to the even one; what isn't a number stays none. */
static inline void round_vector(uint16_t *restrict to, const float *from, int64_t size) {
    const word *words = (const word *)from;
    for (int64_t h = 0; h < size; h++) {
        uint32_t rounded = (words[h] + 0x7fff + (words[h] >> 16 & 1)) >> 16;
        to[h] = (words[h] & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded;
    }
}

static inline void widen_vector(float *restrict to, const uint16_t *from, int64_t size) {
    word *words = (word *)to;
    for (int64_t h = 0; h < size; h++) words[h] = (uint32_t)from[h] << 16;
}

#endif
