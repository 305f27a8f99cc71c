"""What is held of a large table after its files were sifted one by one: walks over rows and keys, a file at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from sources.sifted import Sifted

AT_ONCE = 2
"""Files worked on at the same time: Polars leaves a third of two cores idle on one."""

_MANY = 1 << 23
T = TypeVar("T")


@dataclass(frozen=True)
class Held:
    """A large table after its files were sifted one by one."""

    table: str
    parts: tuple[Sifted, ...]

    def files(self) -> Iterator[tuple[int, Sifted, int]]:
        """Every file of accepted rows: its number in the table, its part, its number in the part."""
        number = 0
        for part in self.parts:
            for place in range(part.tally.files):
                yield number, part, place
                number += 1

    def each(self, work: Callable[[int, Sifted, int], T]) -> list[T]:
        """What `work` makes of every file, in order; two at a time."""
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            return list(pool.map(lambda file: work(*file), self.files()))

    def read(self, part: Sifted, place: int, columns: list[str]) -> pl.DataFrame:
        """Columns of a file of accepted rows."""
        return pl.read_parquet(part.rows()[place], columns=columns, glob=False)

    def people(self) -> pl.Series:
        """Hashes of everyone in it."""
        found = pl.Series("person", [], dtype=pl.UInt64)
        for persons in self._persons():
            found = pl.concat([found, persons.unique()])
            if len(found) > _MANY:
                found = found.unique()
        return found.unique()

    def absent(self, people: pl.Series) -> pl.Series:
        """Those of `people` (unique hashes) without a row in it; it stops reading when nobody is left."""
        for persons in self._persons():
            if not len(people):
                break
            here = persons.filter(persons.is_in(people.implode())).unique()
            people = people.filter(~people.is_in(here.implode()))
        return people

    def _persons(self) -> Iterator[pl.Series]:
        for _, part, place in self.files():
            yield part.hashes(place, "person")
