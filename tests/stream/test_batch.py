"""Batches: copies to a device, and padding."""

import torch

from alexnet_stream.batch import Batch, pad


def batch_in(slot_nhwc: torch.Tensor, size: int) -> Batch:
    return Batch(
        images_nhwc=slot_nhwc[:size],
        labels=torch.arange(size),
        rows=torch.arange(size) + 100,
        flip=torch.ones(size, dtype=torch.bool),
        noise_z=torch.ones(size, 3),
        valid=torch.ones(size, dtype=torch.bool),
    )


def test_padding_fills_the_buffer_in_place() -> None:
    slot_nhwc = torch.full((5, 4, 4, 3), 9, dtype=torch.uint8)
    padded = pad(batch_in(slot_nhwc, 2), slot_nhwc)
    assert padded.images_nhwc.data_ptr() == slot_nhwc.data_ptr()
    assert (padded.images_nhwc[:2] == 9).all()
    assert (padded.images_nhwc[2:] == 0).all()
    assert padded.rows.tolist() == [100, 101, -1, -1, -1]
    assert padded.labels.tolist() == [0, 1, -1, -1, -1]
    assert padded.valid.tolist() == padded.flip.tolist() == [True, True, False, False, False]
    assert padded.noise_z.tolist() == [[1] * 3] * 2 + [[0] * 3] * 3
    before = batch_in(slot_nhwc, 2)
    assert [tensor.dtype for tensor in vars(padded).values()] == [tensor.dtype for tensor in vars(before).values()]


def test_a_full_batch_is_not_touched() -> None:
    slot_nhwc = torch.full((3, 4, 4, 3), 9, dtype=torch.uint8)
    batch = batch_in(slot_nhwc, 3)
    assert pad(batch, slot_nhwc) is batch


def test_an_empty_part_is_all_padding() -> None:
    slot_nhwc = torch.full((3, 4, 4, 3), 9, dtype=torch.uint8)
    padded = pad(batch_in(slot_nhwc, 0), slot_nhwc)
    assert padded.valid.tolist() == [False] * 3
    assert padded.images_nhwc.shape == (3, 4, 4, 3)


def test_to_moves_every_tensor() -> None:
    batch = batch_in(torch.zeros((2, 4, 4, 3), dtype=torch.uint8), 2)
    assert {tensor.device.type for tensor in vars(batch.to("meta")).values()} == {"meta"}
    assert batch.to("cpu").images_nhwc.data_ptr() == batch.images_nhwc.data_ptr()
