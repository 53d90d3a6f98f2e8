/* Samples of a shard to crops of a batch: positioned read, crc32, JPEG decode and crop, many in one call.
 *
 * The pixels are those of a whole decode with libjpeg-turbo's defaults followed by a slice: rows above the crop are
 * skipped after entropy decoding, rows below are never decoded, and columns are cut from whole rows, because libjpeg's
 * own cropping would alter edge columns. A sample that is not perfect, as far as it is needed, is left to the caller,
 * who says what is wrong.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <time.h>
#include <unistd.h>
#include <jpeglib.h>
#include <zlib.h>

#ifndef LIBJPEG_TURBO_VERSION
#error "other libjpegs round otherwise"
#endif

enum { WHOLE_PX = 256, ROWS = 8 };

/* Rows that are read back at once must not begin at multiples of 32 bytes: libjpeg-turbo's colour conversion then stores
 * past the caches, and to fetch a crop's rows from memory takes a tenth of the whole time, more where others use it. */
enum { OFF_BYTES = 16, ALIGNED_BYTES = 64 };

struct failure {
    struct jpeg_error_mgr base;
    jmp_buf back;
};

static void give_up(j_common_ptr info) { longjmp(((struct failure *)info->err)->back, 1); }

static void give_up_on_warning(j_common_ptr info, int level) {
    if (level < 0) give_up(info);
}

/* 0 if the JPEG is a sound 256x256 image; its px by px crop is then at out, RGB. */
static int decode_crop(const unsigned char *jpeg, unsigned long size, int top, int left, int px, unsigned char *out) {
    struct jpeg_decompress_struct info;
    struct failure failure;
    _Alignas(ALIGNED_BYTES) unsigned char buffer[ROWS][WHOLE_PX * 3 + ALIGNED_BYTES];
    JSAMPROW rows[ROWS];
    memset(&info, 0, sizeof info); /* so that it may be destroyed before it is created, which may fail */
    info.err = jpeg_std_error(&failure.base);
    failure.base.error_exit = give_up;
    failure.base.emit_message = give_up_on_warning;
    if (setjmp(failure.back)) {
        jpeg_destroy_decompress(&info);
        return 1;
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, (unsigned char *)jpeg, size);
    jpeg_read_header(&info, TRUE);
    if (info.image_width != WHOLE_PX || info.image_height != WHOLE_PX) give_up((j_common_ptr)&info);
    info.out_color_space = JCS_RGB;
    jpeg_start_decompress(&info);
    if (top > 0) jpeg_skip_scanlines(&info, (JDIMENSION)top);
    for (int done = 0; done < px;) {
        for (int row = 0; row < ROWS; row++)
            rows[row] = px == WHOLE_PX ? out + (size_t)(done + row) * WHOLE_PX * 3 : buffer[row] + OFF_BYTES;
        int wanted = px - done < ROWS ? px - done : ROWS;
        int got = (int)jpeg_read_scanlines(&info, rows, (JDIMENSION)wanted);
        if (px != WHOLE_PX)
            for (int row = 0; row < got; row++)
                memcpy(out + (size_t)(done + row) * px * 3, buffer[row] + OFF_BYTES + left * 3, (size_t)px * 3);
        done += got;
    }
    if (px == WHOLE_PX) jpeg_finish_decompress(&info); /* a whole image must end soundly too */
    else jpeg_abort_decompress(&info);
    jpeg_destroy_decompress(&info);
    return 0;
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Load n samples: descriptor, offset, size and crc32 each, crop tops and lefts (unused where px is 256), px by px RGB
 * images in a row at out. bad[i] becomes 1 where sample i was not loaded. seconds: what reading and decoding took. */
void load_crops(int n, const int32_t *descriptors, const uint64_t *offsets, const uint32_t *sizes, const uint32_t *crcs,
                const uint8_t *tops, const uint8_t *lefts, int px, unsigned char *out, unsigned char *scratch,
                uint64_t scratch_bytes, uint8_t *bad, double *seconds) {
    for (int i = 0; i < n; i++) {
        double started = seconds_now();
        bad[i] = 1;
        if (sizes[i] > scratch_bytes || descriptors[i] < 0) continue;
        if (pread(descriptors[i], scratch, sizes[i], (off_t)offsets[i]) != (ssize_t)sizes[i]) continue;
        if (crc32(0, scratch, sizes[i]) != crcs[i]) continue;
        double read = seconds_now();
        bad[i] = (uint8_t)decode_crop(scratch, sizes[i], px == WHOLE_PX ? 0 : tops[i], px == WHOLE_PX ? 0 : lefts[i], px,
                                      out + (size_t)i * px * px * 3);
        seconds[0] += read - started;
        seconds[1] += seconds_now() - read;
    }
}
