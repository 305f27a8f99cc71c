"""Turns past decisions into approvals without a person, where they bound the error below the setting; off by default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from contracts.decisions import Kind, Role, Status
from contracts.errors import RunError, SettingsError
from contracts.settings import ApprovalSettings
from flows.job import Job
from flows.open_reviews import hashed_creatives
from review.decisions import DecisionLog, Said, Subject
from review.tiers import AUTO, AutoApproval, Stratum, Tier, auto_approvals, tiers
from review.trust import verdicts_of


@dataclass(frozen=True)
class Unseen:
    """What was, or would be, approved without a person.

    Attributes:
        tiers: what is known of every kind of picture that people decided on.
        approvals: pictures that pass; those marked `to_people` are left to people all the same, so that the bound stays known.
        recorded: decision rows written.
    """

    tiers: tuple[Tier, ...]
    approvals: tuple[AutoApproval, ...]
    recorded: int


def strata(run: Path) -> pl.DataFrame:
    """The run's creatives with file_hash, sensitive, and the columns topic, generator, kind (failed checks) of their stratum."""
    concepts = pl.read_parquet(run / "sources" / "concepts.parquet").select("concept_id", "topics", "sensitive")
    return (
        hashed_creatives(run)
        .join(concepts, on="concept_id", how="left", maintain_order="left")
        .with_columns(
            topic=pl.col("topics").list.first().fill_null("unknown"),
            kind=pl.col("checks").list.sort().list.join("+"),
            sensitive=pl.col("sensitive").fill_null(value=True),
        )
    )


def known_tiers(job: Job, decisions: pl.DataFrame, settings: ApprovalSettings) -> dict[Stratum, Tier]:
    """What people's decisions say of every stratum, from this run and those beside it, on files that are still there.

    A picture counts once, as rejected when anybody's last word on it is a rejection.
    """
    said = verdicts_of(decisions).unique(["reviewer", "run_id", "creative_id", "file_hash"], keep="last")
    one_word = said.group_by("run_id", "creative_id", "file_hash").agg(rejected=(pl.col("kind") == Kind.REJECT).any())
    told: list[tuple[Stratum, bool]] = []
    for run_id in sorted(one_word["run_id"].unique()):
        run = job.runs / str(run_id)
        try:
            pictures = strata(run)
        except (OSError, RunError):
            continue  # its pictures are gone, and with them what they were
        found = one_word.filter(pl.col("run_id") == run_id).join(
            pictures.select("creative_id", "file_hash", "topic", "generator", "kind"), on=["creative_id", "file_hash"]
        )
        told += [
            (Stratum(topic, generator, kind), rejected)
            for topic, generator, kind, rejected in found.sort("creative_id")
            .select("topic", "generator", "kind", "rejected")
            .iter_rows()
        ]
    return tiers(told, most_error=settings.most_error or 0.0, confidence=settings.confidence)


def approve_unseen(job: Job, log: DecisionLog, settings: ApprovalSettings, *, record: bool) -> Unseen:
    """Approves what nobody decided on and whose kind people hardly ever reject; every approval is a decision row by "auto".

    Pictures that fail a check, and those of sensitive advertisers, always wait for people.

    Args:
        job: whose run it is.
        log: of the decisions; only written to with `record`.
        settings: with `most_error` set.
        record: False: only say what would be approved.

    Raises:
        SettingsError: approval without a person is off.
    """
    if settings.most_error is None:
        raise SettingsError(
            "approval without a person is off",
            where="approval.most_error",
            fix="Set the share of wrong approvals you tolerate, such as 0.02.",
        )
    known = known_tiers(job, log.table(), settings)
    pictures = strata(job.run).filter(
        pl.col("file_hash").is_not_null() & ~pl.col("sensitive") & (pl.col("checks").list.len() == 0)
    )
    rows = list(pictures.iter_rows(named=True))
    standing = log.standings(
        Subject(job.run_id, row["creative_id"], row["file_hash"], bool(row["sensitive"])) for row in rows
    )
    waiting = {
        row["creative_id"]: Stratum(row["topic"], row["generator"], row["kind"])
        for row, where in zip(rows, standing, strict=True)
        if where.status is Status.PENDING and not log.history(job.run_id, row["creative_id"])
    }
    found = auto_approvals(waiting, known, people_share=settings.people_share, seed=job.settings.seed)
    hashes = {row["creative_id"]: row["file_hash"] for row in rows}
    passing = [one for one in found if not one.to_people]
    if record and passing:
        log.record_all(
            [
                Said(
                    reviewer=AUTO, role=Role.REVIEWER, run_id=job.run_id, creative_id=one.creative_id,
                    file_hash=hashes[one.creative_id], kind=Kind.APPROVE, comment=one.comment,
                )
                for one in passing
            ]
        )  # fmt: skip
    return Unseen(tuple(known.values()), tuple(found), len(passing) if record else 0)
