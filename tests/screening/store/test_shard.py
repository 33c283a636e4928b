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
    shard = encode(document, start, values)
    read = decode(document, shard_name(column, start // 512), shard, start, stop)
    np.testing.assert_array_equal(read, values)
