"""The project's pixel geometry, one home for every number of it: 256x256 images, 224 crops, 33 places of a crop."""

IMAGE_PX = 256  # side of a shard's image (paper section 2)
CROP_PX = 224  # side of the network's input (paper section 4.1)
CROP_POSITIONS = IMAGE_PX - CROP_PX + 1  # 33 offsets 0..32 each way (released configuration, cuda-convnet)
CENTRE_OFFSET_PX = (IMAGE_PX - CROP_PX) // 2


def centre_box(width_px: int, height_px: int) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in source pixels of the box that maps to the centre 256x256.

    The shorter side becomes 256, the longer one is rounded half up; the crop's offset is rounded down, as in the released
    make-data.
    """
    short_px = min(width_px, height_px)
    sides = []
    for side_px in (width_px, height_px):
        new_px = (2 * side_px * IMAGE_PX + short_px) // (2 * short_px)
        offset_px = (new_px - IMAGE_PX) // 2
        sides.append((offset_px * side_px / new_px, (offset_px + IMAGE_PX) * side_px / new_px))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom
