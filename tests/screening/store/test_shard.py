import math

import numpy as np
import pytest

from screening.store.shard import Column, array_document, decode, encode, shard_name


@pytest.mark.parametrize(("dtype", "fill"), [("float32", math.nan), ("float32", 0.0), ("bool", False), ("uint8", 0)])
@pytest.mark.parametrize(("rows", "start", "stop"), [(1, 0, 1), (600, 0, 512), (600, 512, 600)])
def test_a_block_of_nothing_but_fill_values_has_its_shard(dtype, fill, rows, start, stop):
    column = Column("some", dtype, fill=fill)
    document = array_document(column, rows, 512)
    values = np.full(stop - start, fill, dtype=dtype)
    shard = encode(document, values)
    read = decode(document, shard_name(column, start // 512), shard, start, stop)
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("shape", [(), (5,)])
@pytest.mark.parametrize("dtype", ["float32", "bool", "uint8", "int8", "uint64"])
@pytest.mark.parametrize(
    ("rows", "block_rows", "block"), [(3 * 2**17, 2**17, 1), (2**17 + 70_000, 2**17, 1), (7, 7, 0)]
)
def test_zarr_reads_what_was_written(shape, dtype, rows, block_rows, block):
    column = Column("some", dtype, fill=0, shape=shape, axes=("site",) * len(shape))
    document = array_document(column, rows, block_rows)
    start, stop = block * block_rows, min(rows, (block + 1) * block_rows)
    values = np.random.default_rng(0).integers(0, 2, (stop - start, *shape)).astype(dtype)
    shard = encode(document, values)
    assert shard == encode(document, values)
    np.testing.assert_array_equal(decode(document, shard_name(column, block), shard, start, stop), values)
    with pytest.raises(ValueError, match=r".+"):
        decode(document, shard_name(column, block), bytes([shard[0] ^ 1]) + shard[1:], start, stop)
    with pytest.raises(ValueError, match=r".+"):
        decode(document, shard_name(column, block), shard[:-9] + bytes([shard[-9] ^ 1]) + shard[-8:], start, stop)
