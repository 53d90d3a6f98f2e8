/* What prep could save: a JPEG decoded whole, or only the rows and columns that the centre square is made of.
 *
 * libjpeg's cropping alters the first and the last column that it gives, where colours are interpolated: two more on each
 * side are asked for. The rows below are read, as a file must be whole, but not transformed. */
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <jpeglib.h>

enum { MARGIN_PX = 2, RGBX_BYTES = 4 };

struct failure {
    struct jpeg_error_mgr base;
    jmp_buf back;
};

static void give_up(j_common_ptr info) { longjmp(((struct failure *)info->err)->back, 1); }

/* box: top, bottom, left, right that are needed, or null for all; shape: first row and column, rows and columns at out. */
int decode_box(const unsigned char *jpeg, unsigned long size, int scale, const int32_t *box, unsigned char *out,
               int32_t *shape) {
    struct jpeg_decompress_struct info;
    struct failure failure;
    memset(&info, 0, sizeof info);
    info.err = jpeg_std_error(&failure.base);
    failure.base.error_exit = give_up;
    if (setjmp(failure.back)) {
        jpeg_destroy_decompress(&info);
        return 1;
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, (unsigned char *)jpeg, size);
    jpeg_read_header(&info, TRUE);
    info.out_color_space = JCS_EXT_RGBX;
    info.scale_num = 1;
    info.scale_denom = (unsigned)scale;
    jpeg_start_decompress(&info);
    JDIMENSION left = 0, width = info.output_width, top = 0, bottom = info.output_height;
    if (box) {
        top = (JDIMENSION)box[0];
        bottom = (JDIMENSION)box[1];
        left = box[2] > MARGIN_PX ? (JDIMENSION)box[2] - MARGIN_PX : 0;
        width = (JDIMENSION)box[3] + MARGIN_PX - left;
        if (left + width > info.output_width) width = info.output_width - left;
        if (width < info.output_width) jpeg_crop_scanline(&info, &left, &width);
        if (top > 0) jpeg_skip_scanlines(&info, top);
    }
    shape[0] = (int32_t)top, shape[1] = (int32_t)left, shape[2] = (int32_t)(bottom - top), shape[3] = (int32_t)width;
    for (JDIMENSION row = top; row < bottom;) {
        unsigned char *place = out + (size_t)(row - top) * width * RGBX_BYTES;
        row += jpeg_read_scanlines(&info, &place, 1);
    }
    if (bottom < info.output_height) jpeg_skip_scanlines(&info, info.output_height - bottom);
    jpeg_finish_decompress(&info);
    jpeg_destroy_decompress(&info);
    return 0;
}
