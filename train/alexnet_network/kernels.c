/* The two norms and the update rule in one pass over memory each; kernels.py compiles and calls this.

   Float32 throughout. Images are (pixels, channels): channels innermost, torch's channels_last. Windows have 5 channels or
   5x5 pixels and beta is 0.75, the published numbers; other numbers take the way of plain torch operations. */

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define HALF 2
#define MAX_CHANNELS 1024 /* kernels.py asks for no more */
#define BETA 0.75f

static inline float inverse_power(float d) {
    float root = 1.0f / sqrtf(d);
    return root * sqrtf(root);
}

/* d[c] = k + alpha * sum of x[j]^2, |j - c| <= 2; `padded` holds HALF zeros on each side. */
static inline void channel_scale(const float *restrict x, float *restrict padded, float *restrict d, int channels,
                                 float alpha, float k) {
    for (int c = 0; c < channels; c++) padded[HALF + c] = x[c] * x[c];
    for (int c = 0; c < channels; c++)
        d[c] = k + alpha * (padded[c] + padded[c + 1] + padded[c + 2] + padded[c + 3] + padded[c + 4]);
}

/* y = x * d^-beta over `towers` runs of `channels` values. */
void channel_norm_forward(const float *restrict x, float *restrict y, ptrdiff_t towers, int channels, float alpha,
                          float k) {
    float padded[MAX_CHANNELS + 2 * HALF] = {0}, d[MAX_CHANNELS];
    for (ptrdiff_t tower = 0; tower < towers; tower++, x += channels, y += channels) {
        channel_scale(x, padded, d, channels, alpha, k);
        for (int c = 0; c < channels; c++) y[c] = x[c] * inverse_power(d[c]);
    }
}

/* grad_x = t - 2 alpha beta x * window_sum(t x / d), t = grad_y * d^-beta; d is computed again. */
void channel_norm_backward(const float *restrict x, const float *restrict grad_y, float *restrict grad_x,
                           ptrdiff_t towers, int channels, float alpha, float k) {
    float squares[MAX_CHANNELS + 2 * HALF] = {0}, u[MAX_CHANNELS + 2 * HALF] = {0}, d[MAX_CHANNELS], t[MAX_CHANNELS];
    const float factor = 2.0f * alpha * BETA;
    for (ptrdiff_t tower = 0; tower < towers; tower++, x += channels, grad_y += channels, grad_x += channels) {
        channel_scale(x, squares, d, channels, alpha, k);
        for (int c = 0; c < channels; c++) {
            t[c] = grad_y[c] * inverse_power(d[c]);
            u[HALF + c] = t[c] * x[c] / d[c];
        }
        for (int c = 0; c < channels; c++)
            grad_x[c] = t[c] - factor * x[c] * (u[c] + u[c + 1] + u[c + 2] + u[c + 3] + u[c + 4]);
    }
}

/* columns[HALF + j] = sum of the 5 rows around `row` at column j, of values or of their squares; its ends stay zero. */
static void sum_rows(const float *restrict image, float *restrict columns, int row, int height, int width, int channels,
                     int square) {
    const ptrdiff_t length = (ptrdiff_t)width * channels;
    float *restrict sums = columns + HALF * (ptrdiff_t)channels;
    memset(sums, 0, length * sizeof(float));
    const int first = row < HALF ? 0 : row - HALF, last = row + HALF >= height ? height - 1 : row + HALF;
    for (int near = first; near <= last; near++) {
        const float *restrict values = image + near * length;
        if (square)
            for (ptrdiff_t i = 0; i < length; i++) sums[i] += values[i] * values[i];
        else
            for (ptrdiff_t i = 0; i < length; i++) sums[i] += values[i];
    }
}

static inline float sum_columns(const float *columns, ptrdiff_t i, ptrdiff_t step) {
    return columns[i] + columns[i + step] + columns[i + 2 * step] + columns[i + 3 * step] + columns[i + 4 * step];
}

/* The same norm over 5x5 pixels of one map, image after image; 0, or -1 where memory is short. */
int same_map_forward(const float *restrict x, float *restrict y, ptrdiff_t images, int height, int width, int channels,
                     float alpha, float k) {
    const ptrdiff_t row_length = (ptrdiff_t)width * channels;
    float *columns = calloc(row_length + 2 * HALF * (ptrdiff_t)channels, sizeof(float));
    if (!columns) return -1;
    for (ptrdiff_t n = 0; n < images; n++, x += height * row_length, y += height * row_length)
        for (int row = 0; row < height; row++) {
            sum_rows(x, columns, row, height, width, channels, 1);
            const float *restrict x_row = x + row * row_length;
            float *restrict y_row = y + row * row_length;
            for (ptrdiff_t i = 0; i < row_length; i++)
                y_row[i] = x_row[i] * inverse_power(k + alpha * sum_columns(columns, i, channels));
        }
    free(columns);
    return 0;
}

int same_map_backward(const float *restrict x, const float *restrict grad_y, float *restrict grad_x, ptrdiff_t images,
                      int height, int width, int channels, float alpha, float k) {
    const ptrdiff_t row_length = (ptrdiff_t)width * channels, length = height * row_length;
    const float factor = 2.0f * alpha * BETA;
    float *columns = calloc(row_length + 2 * HALF * (ptrdiff_t)channels, sizeof(float));
    float *u = malloc(length * sizeof(float));
    const int failed = !columns || !u;
    for (ptrdiff_t n = 0; n < images && !failed; n++, x += length, grad_y += length, grad_x += length) {
        for (int row = 0; row < height; row++) {
            sum_rows(x, columns, row, height, width, channels, 1);
            const ptrdiff_t start = row * row_length;
            for (ptrdiff_t i = 0; i < row_length; i++) {
                const float d = k + alpha * sum_columns(columns, i, channels);
                const float t = grad_y[start + i] * inverse_power(d);
                grad_x[start + i] = t;
                u[start + i] = t * x[start + i] / d;
            }
        }
        for (int row = 0; row < height; row++) {
            sum_rows(u, columns, row, height, width, channels, 0);
            const ptrdiff_t start = row * row_length;
            for (ptrdiff_t i = 0; i < row_length; i++)
                grad_x[start + i] -= factor * x[start + i] * sum_columns(columns, i, channels);
        }
    }
    free(columns);
    free(u);
    return failed ? -1 : 0;
}

/* v <- momentum v - decay w - rate g;  w <- w + v */
void momentum_step(float *restrict w, float *restrict v, const float *restrict g, ptrdiff_t count, float momentum,
                   float rate, float decay) {
    for (ptrdiff_t i = 0; i < count; i++) {
        v[i] = momentum * v[i] - decay * w[i] - rate * g[i];
        w[i] += v[i];
    }
}
