"""Turns a table of users, arms and outcomes into an experiment, and what is wrong with the table into findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import DataError
from contracts.settings import ExperimentSettings
from evaluation.covariates import Covariates, covariates_of
from evaluation.experiment_rows import (
    ARM,
    AT,
    SINCE,
    USER,
    Finding,
    after_assignment,
    known_rows,
    one_arm_each,
    one_row_each,
)  # fmt: skip
from evaluation.intervals import Floats

Ints = npt.NDArray[np.int64]
MOST_ARMS, MOST_LEVELS = 50, 100


@dataclass(frozen=True, slots=True)
class Metric:
    """An outcome of every user.

    Attributes:
        name: as given, "visit" or "clicks/impressions".
        columns: of the numerator and the denominator (or None).
        above: (N,) outcome of each user; for a ratio its numerator. 0 where unknown.
        below: (N,) denominators, or None for a mean per user.
        known: (N,) whether the user's outcome is known.
        less_is_better: it should fall.
        is_share: its value lies between 0 and 1 by construction.
        absent: why there is nothing to compare, such as one class only; else None.
    """

    name: str
    columns: tuple[str, str | None]
    above: Floats
    below: Floats | None
    known: npt.NDArray[np.bool_]
    less_is_better: bool
    is_share: bool
    absent: str | None


@dataclass(frozen=True, slots=True)
class Experiment:
    """Users in their arms, control first.

    Attributes:
        arms: names; 0 is control, the others in order of name.
        arm: (N,) index into `arms`.
        users: (N,) their names, ascending.
        metrics: the first is the one to decide on.
        covariates: (N, P) known before assignment.
        segments: by column, the level names and each user's (N,) level; -1 where unknown.
        assigned: (N,) microseconds since 1970, or None.
        daily: (R,) rows with user (index), days since assignment and every metric's terms, or None without times.
        ends: last time of the table in microseconds, or None.
        rows: rows read.
        findings: what is wrong with the table.
        crossovers: users left out since they were in more than one arm.
        left_out: users left out for any reason by arm, those in several arms aside.
    """

    arms: tuple[str, ...]
    arm: Ints
    users: pl.Series
    metrics: tuple[Metric, ...]
    covariates: Covariates
    segments: Mapping[str, tuple[tuple[str, ...], Ints]]
    assigned: Ints | None
    daily: pl.DataFrame | None
    ends: int | None
    rows: int
    findings: tuple[Finding, ...]
    crossovers: int
    left_out: Mapping[str, int]

    @property
    def counts(self) -> Ints:
        """(A,) users by arm."""
        return np.bincount(self.arm, minlength=len(self.arms)).astype(np.int64)


def experiment(table: pl.DataFrame, plan: ExperimentSettings, *, where: str) -> Experiment:
    """The experiment in `table`; its rows are users, or outcomes of users at a time, which are summed by user.

    Rows without a user or arm, outcomes before assignment and users in several arms are left out and named. A user whose
    outcome is missing or infinite is left out of that metric. Nothing is replaced by a mean.

    Args:
        table: text or numbers; outcomes numeric or Boolean, times as Date or UTC Datetime.
        plan: names of the columns.
        where: the file, for errors.

    Raises:
        DataError: a column is missing or of the wrong kind, no control is named, or an arm has no users.
    """
    metrics = _named_metrics(table, plan, where)
    rows = _typed(table, plan, metrics, where)
    findings: list[Finding] = []
    rows = known_rows(rows, plan, findings)
    rows, crossed = one_arm_each(rows, findings, plan)
    before = rows.group_by(USER).agg(pl.col(ARM).first())
    rows = after_assignment(rows, plan, findings)
    columns = list(dict.fromkeys(part for above, below in metrics.values() for part in (above, below) if part))
    by_user = one_row_each(rows, plan, columns, findings)
    lost = before.join(by_user.select(USER), on=USER, how="anti")
    arms = _arms(by_user, plan, where)
    arm = by_user[ARM].replace_strict({name: place for place, name in enumerate(arms)}, return_dtype=pl.Int64)
    codes = arm.to_numpy()
    names = np.array(arms, dtype=object)[codes]
    assigned = None if plan.assigned_at is None else _micros(by_user[SINCE])
    ends = None if plan.at is None else _latest(rows, by_user)
    return Experiment(
        arms=arms,
        arm=codes,
        users=by_user[USER],
        metrics=tuple(_metric(name, parts, by_user, plan, names, findings) for name, parts in metrics.items()),
        covariates=covariates_of(by_user.select(plan.covariates), lambda *fault: findings.append(_finding(*fault, names=names))),
        segments={name: _levels(by_user[name], where) for name in plan.segments},
        assigned=assigned,
        daily=_daily(rows, by_user, columns, plan),
        ends=ends,
        rows=table.height,
        findings=tuple(findings),
        crossovers=crossed,
        left_out=dict(lost[ARM].value_counts().iter_rows()),
    )  # fmt: skip


def _named_metrics(table: pl.DataFrame, plan: ExperimentSettings, where: str) -> dict[str, tuple[str, str | None]]:
    """By name, the columns of every metric; DataError names every column that is not there."""
    if not plan.outcomes:
        raise DataError("no outcome is named", where=where, fix="Give at least one, e.g. --outcome clicked.")
    metrics: dict[str, tuple[str, str | None]] = {}
    for name in plan.outcomes:
        above, _, below = name.partition("/") if name not in table.columns else (name, "", "")
        metrics[name] = (above.strip(), below.strip() or None)
    extra = sorted({*plan.guardrails, *plan.less_is_better} - set(metrics))
    if extra:
        fix = f"Name one of the outcomes: {', '.join(metrics)}."
        raise DataError(f"{', '.join(extra)} is no outcome", where="guardrails or less_is_better", fix=fix)
    parts = [part for pair in metrics.values() for part in pair if part]
    times = [name for name in (plan.assigned_at, plan.at) if name is not None]
    missing = [
        name
        for name in dict.fromkeys([plan.user, plan.arm, *parts, *plan.covariates, *plan.segments, *times])
        if name not in table.columns
    ]
    if missing:
        fix = f"It has {', '.join(table.columns)}; name them with flags or under [experiment] in a config."
        raise DataError(f"has no column {', '.join(missing)}", where=where, fix=fix)
    return metrics


def _typed(
    table: pl.DataFrame, plan: ExperimentSettings, metrics: Mapping[str, tuple[str, str | None]], where: str
) -> pl.DataFrame:
    """The columns in use under fixed dtypes."""
    outcomes = list(dict.fromkeys(part for pair in metrics.values() for part in pair if part))
    wrong = [name for name in outcomes if not (table[name].dtype.is_numeric() or table[name].dtype == pl.Boolean)]
    if wrong:
        raise DataError(f"{', '.join(wrong)} holds no numbers", where=where, fix="Give outcomes as numbers.")
    times = {SINCE: plan.assigned_at, AT: plan.at}
    bad = [name for name in times.values() if name is not None and not table[name].dtype.is_temporal()]
    if bad:
        raise DataError(f"{', '.join(bad)} holds no times", where=where, fix="Write times as ISO 8601 in UTC.")
    wanted = dict.fromkeys([*outcomes, *plan.covariates, *plan.segments])
    return table.select(
        pl.col(plan.user).cast(pl.String).alias(USER),
        pl.col(plan.arm).cast(pl.String).alias(ARM),
        *(pl.col(name).cast(pl.Float64) if name in outcomes else pl.col(name) for name in wanted),
        *(pl.col(name).alias(own) for own, name in times.items() if name is not None),
    )


def _arms(by_user: pl.DataFrame, plan: ExperimentSettings, where: str) -> tuple[str, ...]:
    found = sorted(by_user[ARM].unique())
    listed = ", ".join(found) or "none"
    if plan.control is None:
        raise DataError(f"does not say which arm is control ({listed})", where=where, fix="Name it with --control.")
    if plan.control not in found:
        fix = "Name an arm with users with --control."
        raise DataError(f"has no users in control '{plan.control}' (arms: {listed})", where=where, fix=fix)
    planned = set(plan.shares) or {plan.control}
    empty = sorted(planned - set(found))
    if empty or len(found) < 2:
        what = f"arm {', '.join(empty)} is empty" if empty else f"all users are in arm '{found[0]}'"
        fix = "An experiment needs users in each arm; mend the table or the planned shares."
        raise DataError(what, where=where, fix=fix)
    if len(found) > MOST_ARMS:
        what, fix = f"holds {len(found):,} arms in '{plan.arm}'", "Name the column of the arm with --arm."
        raise DataError(what, where=where, fix=fix)
    unplanned = sorted(set(found) - planned) if plan.shares else []
    if unplanned:
        fix = "Give each arm its share of users under shares."
        raise DataError(f"arm {', '.join(unplanned)} has no planned share", where=where, fix=fix)
    return (plan.control, *(name for name in found if name != plan.control))


def _metric(
    name: str,
    parts: tuple[str, str | None],
    by_user: pl.DataFrame,
    plan: ExperimentSettings,
    arm_names: npt.NDArray[np.object_],
    findings: list[Finding],
) -> Metric:
    known = np.ones(by_user.height, dtype=np.bool_)
    held: list[Floats] = []
    for part in parts:
        if part is None:
            continue
        values = by_user[part].fill_null(float("nan")).to_numpy().astype(np.float64)
        for check, mask in (("infinite outcome", np.isinf(values)), ("missing outcome", np.isnan(values))):
            if mask.any():
                meaning = "The users are left out of this metric; by arm, so that a difference can be seen."
                findings.append(_finding(check, part, mask, meaning, names=arm_names))
        known &= np.isfinite(values)
        held.append(np.where(np.isfinite(values), values, 0.0))
    above = np.where(known, held[0], 0.0)
    below = np.where(known, held[1], 0.0) if len(held) > 1 else None
    if below is not None and (below < 0).any():
        negative = below < 0
        meaning = "A denominator below 0 cannot be; the users are left out of this metric."
        findings.append(_finding("negative denominator", parts[1] or "", negative, meaning, names=arm_names))
        known &= ~negative
        above, below = np.where(known, above, 0.0), np.where(known, below, 0.0)
    absent = _nothing_to_compare(above, below, known)
    share = (
        bool(((above >= 0) & (above <= 1)).all()) if below is None else bool(((above >= 0) & (above <= below)).all())
    )
    return Metric(name, parts, above, below, known, name in plan.less_is_better, share, absent)


def _nothing_to_compare(above: Floats, below: Floats | None, known: npt.NDArray[np.bool_]) -> str | None:
    if not known.any():
        return "no user has a known outcome"
    if below is not None and not below[known].any():
        return "every denominator is 0"
    values = above[known]
    if (values == values[0]).all() and (below is None or not values[0]):
        return f"only one class: every user's outcome is {values[0]:g}"
    return None


def _finding(check: str, column: str, mask: npt.NDArray[np.bool_], meaning: str, *, names: npt.NDArray[np.object_]) -> Finding:  # fmt: skip
    arms, counts = np.unique(names[mask].astype(str), return_counts=True)
    by_arm = {str(name): int(count) for name, count in zip(arms, counts, strict=True)}
    return Finding(check, column, int(mask.sum()), "users", meaning, by_arm)


def _levels(column: pl.Series, where: str) -> tuple[tuple[str, ...], Ints]:
    text = column.cast(pl.String)
    names = tuple(sorted(text.drop_nulls().unique()))
    if len(names) > MOST_LEVELS:
        what = f"segment {column.name} has {len(names):,} levels"
        raise DataError(what, where=where, fix=f"Group them; at most {MOST_LEVELS} can be told apart.")
    codes = text.replace_strict({name: place for place, name in enumerate(names)}, default=-1, return_dtype=pl.Int64)
    return names, codes.fill_null(-1).to_numpy()


def _daily(
    rows: pl.DataFrame, by_user: pl.DataFrame, outcomes: Sequence[str], plan: ExperimentSettings
) -> pl.DataFrame | None:
    """Outcomes by user and whole days since assignment: user (index), day, and the outcome columns; None without times."""
    if plan.assigned_at is None or plan.at is None:
        return None
    first = by_user.select(USER, pl.int_range(pl.len(), dtype=pl.Int64).alias("user"), pl.col(SINCE).alias("_first"))
    timed = rows.filter(pl.col(AT).is_not_null()).join(first, on=USER)
    days = (pl.col(AT).cast(pl.Datetime("us")) - pl.col("_first").cast(pl.Datetime("us"))).dt.total_days()
    return (
        timed.with_columns(day=days)
        .group_by("user", "day")
        .agg(pl.col(name).sum() for name in outcomes)
        .sort("user", "day")
    )


def _latest(rows: pl.DataFrame, by_user: pl.DataFrame) -> int | None:
    times = [_micros(column.drop_nulls()) for column in (rows[AT], by_user[SINCE] if SINCE in by_user else rows[AT])]
    known = [int(values.max()) for values in times if values.size]
    return max(known) if known else None


def _micros(times: pl.Series) -> Ints:
    return times.cast(pl.Datetime("us")).to_physical().to_numpy().astype(np.int64)
