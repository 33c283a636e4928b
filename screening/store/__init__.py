"""The run store: a Zarr group that survives what happens to week-long runs. See docs/run-format.md."""

from __future__ import annotations

from screening.store.blocks import (
    RunReference,
    exists,
    load_header,
    load_records,
    read_header,
    read_records,
    write_block,
)
from screening.store.header import Header, differences
from screening.store.lock import InUseError
from screening.store.manifest import BlockReceipt
from screening.store.records import Records, draft
from screening.store.run import Rows, StoredRun
from screening.store.shard import Column
from screening.store.verify import Report, repair, verify

__all__ = [
    "BlockReceipt",
    "Column",
    "Header",
    "InUseError",
    "Records",
    "Report",
    "Rows",
    "RunReference",
    "StoredRun",
    "differences",
    "draft",
    "exists",
    "load_header",
    "load_records",
    "read_header",
    "read_records",
    "repair",
    "verify",
    "write_block",
]
