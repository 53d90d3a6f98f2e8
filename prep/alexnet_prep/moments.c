/* Integer sums over one 256x256 RGB image; what MomentSums adds with numpy, in a fraction of the time. */
#include <stddef.h>
#include <stdint.h>

enum { PIXELS = 65536, BLOCK = 1024 }; /* 1024 * 255 * 255 < 2^31: a block cannot overflow the products' sums */

void add_image(const uint8_t *restrict rgb, uint16_t *restrict sum, uint64_t *restrict products) {
    int16_t r[BLOCK], g[BLOCK], b[BLOCK]; /* planes of 16 bits, so that products are one instruction for many */
    for (ptrdiff_t start = 0; start < PIXELS; start += BLOCK) {
        const uint8_t *block = rgb + 3 * start;
        for (ptrdiff_t i = 0; i < BLOCK; i++) {
            r[i] = block[3 * i];
            g[i] = block[3 * i + 1];
            b[i] = block[3 * i + 2];
        }
        for (ptrdiff_t i = 0; i < 3 * BLOCK; i++) sum[3 * start + i] = (uint16_t)(sum[3 * start + i] + block[i]);
        int32_t rr = 0, rg = 0, rb = 0, gg = 0, gb = 0, bb = 0;
        for (ptrdiff_t i = 0; i < BLOCK; i++) {
            rr += r[i] * r[i];
            rg += r[i] * g[i];
            rb += r[i] * b[i];
            gg += g[i] * g[i];
            gb += g[i] * b[i];
            bb += b[i] * b[i];
        }
        const int32_t block_sums[6] = {rr, rg, rb, gg, gb, bb};
        for (int i = 0; i < 6; i++) products[i] += (uint64_t)block_sums[i];
    }
}
