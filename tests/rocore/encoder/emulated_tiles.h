/* Matrix units (AMX) in plain C, for rocore/encoder/c/tiles.h on a processor without them: given to the compiler before
 * that file, with __AMX_BF16__ defined. */

#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_loadconfig
#undef _tile_storeconfig

#define ROW_BYTES 64

__attribute__((weak)) int emulated_products; /* of all sources; how many there were, as long as threads don't meet */

static __thread uint32_t emulated[8][16][16];

static inline void load_tile(int tile, const char *from, int64_t stride) {
    for (int i = 0; i < 16; i++) memcpy(emulated[tile][i], from + i * stride, ROW_BYTES);
}

static inline void store_tile(int tile, char *to, int64_t stride) {
    for (int i = 0; i < 16; i++) memcpy(to + i * stride, emulated[tile][i], ROW_BYTES);
}

static inline float as_float(uint32_t bits) {
    float value;
    bits <<= 16;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Each number of `sums` grows by a row of `rows` times a column of `columns`, in pairs of bf16. */
static inline void multiply_pairs(int sums, int rows, int columns) {
    emulated_products++;
    for (int m = 0; m < 16; m++) {
        for (int n = 0; n < 16; n++) {
            float sum;
            memcpy(&sum, &emulated[sums][m][n], sizeof(sum));
            for (int k = 0; k < 16; k++) {
                uint32_t first = emulated[rows][m][k], second = emulated[columns][k][n];
                sum += as_float(first & 0xffff) * as_float(second & 0xffff) + as_float(first >> 16) * as_float(second >> 16);
            }
            memcpy(&emulated[sums][m][n], &sum, sizeof(sum));
        }
    }
}

#define _tile_zero(tile) memset(emulated[tile], 0, sizeof(emulated[tile]))
#define _tile_loadd(tile, from, stride) load_tile(tile, (const char *)(from), stride)
#define _tile_stored(tile, to, stride) store_tile(tile, (char *)(to), stride)
#define _tile_dpbf16ps(sums, rows, columns) multiply_pairs(sums, rows, columns)
#define _tile_loadconfig(units) (void)(units)
#define _tile_storeconfig(units) (void)(units)
#define syscall(...) 0 /* the system gives its permission */
