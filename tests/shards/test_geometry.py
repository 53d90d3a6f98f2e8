"""The box of the source that becomes the centre 256x256."""

from alexnet_shards.geometry import centre_box


def test_the_box_maps_to_whole_pixels_of_the_resized_image() -> None:
    assert centre_box(500, 375) == ((341 - 256) // 2 * 500 / 341, 0.0, ((341 - 256) // 2 + 256) * 500 / 341, 375.0)
    assert centre_box(256, 256) == (0.0, 0.0, 256.0, 256.0)
    for width in range(1, 700, 13):
        for height in range(1, 700, 17):
            left, top, right, bottom = centre_box(width, height)
            assert 0 <= left < right <= width + 1e-9
            assert 0 <= top < bottom <= height + 1e-9
            assert abs((right - left) / (bottom - top) - 1) < 0.01 or min(width, height) < 100
