"""The log says how far reviewers can be trusted: undone words and machines' words do not count."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from contracts.decisions import Kind
from contracts.tables import Decisions, polars_schema
from review.trust import trust_of


def table(*rows: tuple[str, str, Kind], undone: tuple[int, ...] = ()) -> pl.DataFrame:
    """Decisions (reviewer, picture, kind) in order; pictures with a * are the same file under another name."""
    said = [
        {"decision_id": number + 1, "at": datetime(2026, 1, 1, tzinfo=UTC), "reviewer": who, "role": "reviewer", "run_id": "r",
         "creative_id": what, "file_hash": what.strip("*").rjust(64, "0"), "kind": str(kind),
         "reason": "other" if kind is Kind.REJECT else None}
        for number, (who, what, kind) in enumerate(rows)
    ]  # fmt: skip
    said += [{**said[one - 1], "decision_id": len(said) + place + 1, "kind": "undo", "reason": None, "undoes": one}
             for place, one in enumerate(undone)]  # fmt: skip
    return Decisions.validate(pl.DataFrame(said, schema=polars_schema(Decisions)))


Y, N = Kind.APPROVE, Kind.REJECT


def test_planted_copies_under_another_name_are_repeats() -> None:
    found = trust_of(table(("ann", "1", Y), ("ann", "2", N), ("ann", "1*", N), ("ann", "2*", N), ("bob", "1", Y)))
    ann, bob = found.repeats
    assert (ann.repeats, ann.same, bob.repeats) == (2, 1, 0)
    assert found.rates == (("ann", 4, 0.25), ("bob", 1, 1.0))


def test_undone_decisions_and_those_of_no_person_do_not_count() -> None:
    found = trust_of(table(("ann", "1", Y), ("ann", "1", N), ("auto", "2", Y), undone=(1,)))
    assert (found.decisions, found.repeats[0].repeats) == (1, 0)


def test_two_reviewers_have_a_kappa_once_they_share_enough_pictures() -> None:
    rows = [(who, str(n), Y if n % 2 else N) for n in range(12) for who in ("ann", "bob")]
    found = trust_of(table(*rows, ("cid", "1", N)))
    (pair,) = found.pairs
    assert (pair.first, pair.second) == ("ann", "bob")
    assert pair.agreement.kappa == pytest.approx(1)
    assert found.disputed == ("1",)
    assert 0 < found.all.kappa < 1
    assert found.as_json()["pairs"][0]["agreement"]["items"] == 12


def test_an_empty_log_is_no_fault() -> None:
    found = trust_of(table(("ann", "1", Y)).clear())
    assert (found.decisions, found.pairs) == (0, ())
    assert found.as_json()["all"]["kappa"] is None
