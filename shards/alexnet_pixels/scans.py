"""Whether a progressive JPEG's scans bring every coefficient to its last bit: one that was cut between two lacks no byte."""

import re
from collections.abc import Iterator

from alexnet_pixels.sniff import START_OF_SCAN

PROGRESSIVE_FRAMES = (0xC2, 0xCA)
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a segment behind them
SCAN, END = START_OF_SCAN[1], 0xD9
NEXT_MARKER = re.compile(
    rb"\xff+([^\x00\xd0-\xd7\xff])"
)  # among coded data, where FF 00 is a byte and D0 to D7 restart
COEFFICIENTS = 64
FRAME_HEAD_BYTES, SCAN_TAIL_BYTES = 6, 3


def lacks_scans(content: bytes) -> bool:
    """Whether finer details of a JPEG are missing, which libjpeg shows without a word: the file is progressive, and a bit of
    a coefficient that a scan began is in none, or the first colour (light) lacks a coefficient altogether.

    False of what is no progressive JPEG, or not read to its end here: the decoder judges that.
    """
    lowest: dict[int, list[int | None]] = {}  # by colour: the lowest bit that the scans have of each coefficient
    for marker, segment in _segments(content):
        if marker in FRAMES:
            colours = segment[FRAME_HEAD_BYTES::3]  # their numbers; a factor and a table behind each
            if marker not in PROGRESSIVE_FRAMES:
                return False
            lowest = {colour: [None] * COEFFICIENTS for colour in colours}
        elif marker == SCAN:
            if len(segment) < SCAN_TAIL_BYTES:
                return False
            first, last, bits = segment[-SCAN_TAIL_BYTES:]
            for colour in segment[1:-SCAN_TAIL_BYTES:2]:
                for coefficient in range(first, min(last, COEFFICIENTS - 1) + 1):
                    lowest.get(colour, [None] * COEFFICIENTS)[coefficient] = bits & 15
    if not lowest:
        return False
    light, *others = lowest.values()
    return any(bit != 0 for bit in light) or any(bit not in (0, None) for bits in others for bit in bits)


def _segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, segment without its length) from the first to the end mark, coded data passed over."""
    place = 2
    while (found := NEXT_MARKER.match(content, place)) is not None:
        marker, place = found[1][0], found.end()
        if marker == END:
            return
        if marker in ALONE:
            continue
        end = place + int.from_bytes(content[place : place + 2])
        yield marker, content[place + 2 : end]
        place = end
        if marker == SCAN:
            after = NEXT_MARKER.search(content, place)
            if after is None:
                return
            place = after.start()
