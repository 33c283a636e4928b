"""Shares: several clients fill one run, each with blocks and a part of the manifest of its own.

Who has done its share goes on with those that have undone blocks and nobody at work on them, so that the run is whole
whichever shares were started: whose share that is, the run says by its manifest, and who is at work by its locks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MOST = 9999
"""Parts that a manifest can have beside the first."""


@dataclass(frozen=True)
class Share:
    """The blocks whose number leaves the same rest when divided by `count`.

    Attributes:
        number: From 1.
        count: Of shares; 1 is the whole run.
    """

    number: int
    count: int

    def __contains__(self, block: int) -> bool:
        return block % self.count == self.number - 1

    def __str__(self) -> str:
        return f"share {self.number}/{self.count}"

    @property
    def part(self) -> int:
        """Its part of the manifest; the first part is that of clients that do the whole run."""
        return 0 if self.count == 1 else self.number

    def next_of(self, blocks: Iterable[int], tried: Collection[Share]) -> Share | None:
        """Choose which share to do now: this one first, later the nearest after it that has one of the undone blocks.

        Args:
            blocks: That are undone.
            tried: Shares that were done, or found to be somebody else's.
        """
        if self not in tried:
            return self
        left = {block % self.count + 1 for block in blocks} - {share.number for share in tried}
        after = sorted(left, key=lambda number: (number - self.number) % self.count)
        return Share(after[0], self.count) if after else None


def parse_share(text: str) -> Share:
    """Parse a share from K/N, such as "3/10".

    Raises:
        UserError: It is not of this form, or there is no such share.
    """
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    share = Share(*map(int, match.groups())) if match else Share(0, 0)
    if not 1 <= share.number <= share.count <= MOST:
        raise UserError(f"`share` {text}: write K/N, with K from 1 to N and N up to {MOST}, such as 3/10.")
    return share
