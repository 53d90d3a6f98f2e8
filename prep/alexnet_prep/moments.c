/* Integer sums over one 256x256 RGB image; what MomentSums adds with numpy, in a fraction of the time. */
#include <stddef.h>
#include <stdint.h>

enum { PIXELS = 65536, BLOCK = 1024 }; /* 1024 * 255 * 255 < 2^31: a block cannot overflow the products' sums */

static int32_t dot(const int16_t *restrict x, const int16_t *restrict y) {
    int32_t sum = 0;
    for (ptrdiff_t i = 0; i < BLOCK; i++) sum += x[i] * y[i];
    return sum;
}

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
        products[0] += (uint64_t)dot(r, r);
        products[1] += (uint64_t)dot(r, g);
        products[2] += (uint64_t)dot(r, b);
        products[3] += (uint64_t)dot(g, g);
        products[4] += (uint64_t)dot(g, b);
        products[5] += (uint64_t)dot(b, b);
    }
}
