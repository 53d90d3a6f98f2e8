"""A PNG's picture without what stands beside it: texts, colour profiles, animation."""

import struct

SIGNATURE_BYTES = 8
CHUNK_HEAD = struct.Struct(">I4s")
CHUNK_CRC_BYTES = 4
ANCILLARY = 0x20  # this bit of a chunk type's first letter: a decoder may leave the chunk out
TRANSPARENCY = b"tRNS"  # says that some colours are transparent, which is counted


def picture_chunks(content: bytes) -> bytes:
    """The PNG file `content` with the chunks that its pixels are made of, and the transparent colours, alone.

    Pillow unpacks and bounds every text and colour profile, and gives up the whole image for one that is large or
    damaged; none of them changes a pixel of ours. What is no sequence of chunks stays as it is, for Pillow to judge.
    """
    kept, place, whole = [content[:SIGNATURE_BYTES]], SIGNATURE_BYTES, True
    while place + CHUNK_HEAD.size <= len(content):
        length, kind = CHUNK_HEAD.unpack_from(content, place)
        end = place + CHUNK_HEAD.size + length + CHUNK_CRC_BYTES
        if end > len(content):
            break
        if kind[0] & ANCILLARY and kind.isalpha() and kind != TRANSPARENCY:
            whole = False
        else:
            kept.append(content[place:end])
        place = end
    return content if whole else b"".join([*kept, content[place:]])
