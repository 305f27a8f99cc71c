"""Turns rows of users, arms and outcomes into one row a user, and what is wrong with them into findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from contracts.settings import ExperimentSettings

USER, ARM, SINCE, AT = "_user", "_arm", "_since", "_at"
"""Columns of a table under fixed names: user, arm, time of assignment, time of the outcome."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of the table: `count` rows or users (`unit`), and what became of them.

    Attributes:
        check: short name.
        column: where it was found.
        count: how many.
        unit: "rows" or "users".
        meaning: what is wrong and what was done.
        by_arm: the count by arm, where the arm is known.
    """

    check: str
    column: str
    count: int
    unit: str
    meaning: str
    by_arm: Mapping[str, int]


def known_rows(rows: pl.DataFrame, plan: ExperimentSettings, findings: list[Finding]) -> pl.DataFrame:
    """Rows with a user and an arm."""
    for own, name, what in ((USER, plan.user, "user"), (ARM, plan.arm, "arm")):
        lost = rows.filter(pl.col(own).is_null() | (pl.col(own) == "")).height
        if lost:
            meaning = f"No {what} is given; the rows are set aside."
            findings.append(Finding(f"missing {what}", name, lost, "rows", meaning, {}))
            rows = rows.filter(pl.col(own).is_not_null() & (pl.col(own) != ""))
    return rows


def one_arm_each(rows: pl.DataFrame, findings: list[Finding], plan: ExperimentSettings) -> tuple[pl.DataFrame, int]:
    """Rows of users who were in one arm only; repeated rows are kept once where rows have a time."""
    arms = rows.select(USER, ARM).unique()
    both = arms.group_by(USER).len().filter(pl.col("len") > 1)
    if both.height:
        by_arm = _by_arm(arms.join(both, on=USER, how="semi"))
        meaning = "Users in more than one arm saw more than one thing; they are left out of every arm."
        findings.append(Finding("in several arms", plan.arm, both.height, "users", meaning, by_arm))
        rows = rows.join(both, on=USER, how="anti")
    if plan.at is not None:
        once = rows.unique(maintain_order=True)
        if once.height < rows.height:
            meaning = "Rows equal in every column, time included, are counted once."
            findings.append(Finding("repeated rows", plan.at, rows.height - once.height, "rows", meaning, {}))
            rows = once
    return rows, both.height


def after_assignment(rows: pl.DataFrame, plan: ExperimentSettings, findings: list[Finding]) -> pl.DataFrame:
    """Rows with a time of assignment, and none of outcomes before it."""
    if plan.assigned_at is None:
        return rows
    unknown = rows.filter(pl.col(SINCE).is_null())
    if unknown.height:
        meaning = "The time of assignment is missing; the rows are set aside."
        findings.append(Finding("missing time", plan.assigned_at, unknown.height, "rows", meaning, _by_arm(unknown)))
        rows = rows.filter(pl.col(SINCE).is_not_null())
    if plan.at is None:
        return rows
    by_day = pl.Date in (rows[SINCE].dtype, rows[AT].dtype)
    since, at = (pl.col(name).cast(pl.Date) if by_day else pl.col(name) for name in (SINCE, AT))
    early = rows.filter(at < since)
    if early.height:
        meaning = "Outcomes before assignment cannot be the arm's doing; the rows are set aside."
        findings.append(Finding("outcome before assignment", plan.at, early.height, "rows", meaning, _by_arm(early)))
        rows = rows.filter((at >= since) | pl.col(AT).is_null())
    return rows


def one_row_each(
    rows: pl.DataFrame, plan: ExperimentSettings, outcomes: Sequence[str], findings: list[Finding]
) -> pl.DataFrame:
    """One row a user, ascending: outcomes summed (null when one is unknown), the rest of the first row in time."""
    if rows[USER].n_unique() == rows.height:
        return rows.sort(USER)
    if plan.at is not None:
        rows = rows.sort(AT, maintain_order=True)
    fixed = list(dict.fromkeys([*plan.covariates, *plan.segments]))
    known = [
        pl.when(pl.col(name).is_null().any()).then(None).otherwise(pl.col(name).sum()).alias(name) for name in outcomes
    ]
    since = [pl.col(SINCE).min()] if plan.assigned_at is not None else []
    made = rows.group_by(USER).agg(
        pl.col(ARM).first(),
        *known,
        *since,
        *(pl.col(name).first() for name in fixed if name not in outcomes),
        *(pl.col(name).n_unique().alias(f"_kinds {name}") for name in fixed),
    )
    for name in fixed:
        changing = made.filter(pl.col(f"_kinds {name}") > 1)
        if changing.height:
            meaning = "It differs between rows of one user; the first row's value is used."
            findings.append(Finding("changing value", name, changing.height, "users", meaning, _by_arm(changing)))
    if plan.at is None:
        several = rows.height - made.height
        meaning = "Users have more than one row and rows have no time; their outcomes are summed."
        findings.append(Finding("several rows a user", plan.user, several, "rows", meaning, {}))
    return made.drop(f"_kinds {name}" for name in fixed).sort(USER)


def _by_arm(rows: pl.DataFrame) -> dict[str, int]:
    return dict(rows[ARM].value_counts(sort=True).iter_rows())
