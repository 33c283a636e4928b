"""The run store: a Zarr group that survives what happens to week-long runs. See docs/run-format.md."""

from screening.store.header import Header, differences
from screening.store.manifest import BlockReceipt
from screening.store.run import Rows, Run, Target, write_block
from screening.store.shard import Column

__all__ = ["BlockReceipt", "Column", "Header", "Rows", "Run", "Target", "differences", "write_block"]
