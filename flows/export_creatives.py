"""Turns a reviewed run into a ZIP for ad platforms: approved creatives only, or a refusal that lists what is stale."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
from PIL import Image, UnidentifiedImageError

from contracts.decisions import Kind
from contracts.errors import AdloomError, DataError, RunError
from contracts.provenance import Provenance
from contracts.run_creatives import REDRAWN
from contracts.settings import ExportSettings
from contracts.stamps import read_stamp
from contracts.store import MANIFEST, code_version, file_hash
from flows.job import Job, job_of
from flows.open_reviews import hashed_creatives
from flows.sign_pictures import Seal
from review.ad_sheets import PLATFORMS, SHEETS, Ad, alt_text, to_csv
from review.archive import write_archive
from review.clearance import Candidate, Objection, clear
from review.decisions import DecisionLog, Subject
from review.landing import fill, tagged_url

MANIFEST_NAME = "manifest.json"
_PICTURES = (".png", ".jpg", ".jpeg")
_LISTED = 20


@dataclass(frozen=True)
class Exported:
    """What was written: creatives, files of them, and what was left out where that was asked for."""

    path: Path
    creatives: int
    files: int
    left_out: tuple[Objection, ...]


@dataclass(frozen=True)
class _Creative:
    """A row of the run, its files, and what the run wrote down of them."""

    row: dict[str, Any]
    concept: dict[str, Any]
    files: tuple[Path, ...]
    altered: tuple[str, ...]


def export(
    job: Job, log: DecisionLog, out: Path, *, settings: ExportSettings | None = None, leave_out_stale: bool = False
) -> Exported:
    """Writes the ZIP; the same run and decisions give the same bytes, unless the pictures are signed.

    Args:
        job: whose run was reviewed.
        log: of the decisions.
        out: path of the ZIP.
        settings: instead of the run's.
        leave_out_stale: leave out what is stale instead of refusing.

    Raises:
        DataError: nothing is approved; or a check or an approval is stale (the message lists which and why); or a
            landing URL is none.
        RunError: the run cannot be read, or a picture does not say how it was made.
        SettingsError: the pictures cannot be signed as the settings ask.
    """
    creatives = _creatives(job)
    standing = log.standings(
        Subject(job.run_id, one.row["creative_id"], one.row["file_hash"] or "", bool(one.concept["sensitive"]))
        for one in creatives
    )
    candidates = [
        Candidate(
            creative_id=one.row["creative_id"],
            standing=known,
            decisions=tuple(log.history(job.run_id, one.row["creative_id"])),
            checks=tuple(one.row["checks"]),
            altered=one.altered,
            sensitive=bool(one.concept["sensitive"]),
        )
        for one, known in zip(creatives, standing, strict=True)
    ]
    free, objections = clear(candidates)
    if objections and not leave_out_stale:
        raise stale(job, objections)
    if not free:
        raise DataError("no creative is approved", where=str(job.run), fix="Approve some first: adloom review.")
    chosen = [one for one in creatives if one.row["creative_id"] in set(free)]
    settings = settings or job.settings.export
    seal = Seal.open(settings)
    told = {one.creative_id: one for one in candidates}
    with tempfile.TemporaryDirectory(prefix="adloom-signed-") as signed:
        ads, contents = _ads(job, chosen, settings, seal, Path(signed))
        _write(job, out, ads, contents, [told[name] for name in free], signed=seal is not None)
    return Exported(out, len(free), len(contents), tuple(objections))


def _write(
    job: Job,
    out: Path,
    ads: Sequence[Ad],
    contents: dict[str, Path],
    told: Sequence[Candidate],
    *,
    signed: bool,
) -> None:
    sheets = {name: to_csv(rows_of(ads)) for name, rows_of in SHEETS.items()}
    manifest = _manifest(job, ads, sheets, told) | {"signed": signed}
    text = (json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    write_archive(out, {**contents, **sheets, MANIFEST_NAME: text})


def export_run(run: Path, log: DecisionLog, out: Path, leave_out_stale: bool) -> None:
    """A `review.desk.ExportRun`."""
    export(job_of(run), log, out, leave_out_stale=leave_out_stale)


def stale(job: Job, objections: Sequence[Objection]) -> AdloomError:
    """The refusal, with the list."""
    listed = "; ".join(f"{one.creative_id}: {one.why}" for one in objections[:_LISTED])
    more = f"; and {len(objections) - _LISTED} more" if len(objections) > _LISTED else ""
    return DataError(
        f"nothing was exported, {len(objections)} approved creatives are stale: {listed}{more}",
        where=str(job.run),
        fix="Decide again on these in adloom review, or leave them out: --leave-out-stale.",
    )


def _creatives(job: Job) -> list[_Creative]:
    rows = hashed_creatives(job.run)
    concepts = {
        row["concept_id"]: row
        for row in pl.read_parquet(job.run / "sources" / "concepts.parquet").iter_rows(named=True)
    }
    written: dict[Path, dict[str, str]] = {}
    found = []
    for row in rows.iter_rows(named=True):
        home = job.run / _stage_of(row["file"])
        if home not in written:
            written[home] = _outputs(home)
        files = [job.run / row["file"], *_renditions(home, row["creative_id"])]
        recorded = {name for name in written[home] if Path(name).parent.name == row["creative_id"]}
        present = {path.relative_to(home).as_posix() for path in files}
        altered = [name for name in sorted(present) if written[home].get(name) != _hash(home / name)]
        altered += sorted(name for name in recorded - present if name.endswith(_PICTURES))
        if row["concept_id"] not in concepts:
            raise RunError("the concepts do not fit the creatives", where=str(job.run), fix="Repeat: adloom run DATA.")
        found.append(_Creative(row, concepts[row["concept_id"]], tuple(files), tuple(altered)))
    return found


def _stage_of(file: str) -> Path:
    """Of a path relative to the run, the folder that holds its manifest: `generators`, or one redraw."""
    parts = Path(file).parts
    return Path(*parts[:2]) if parts[0] == REDRAWN else Path(parts[0])


def _outputs(home: Path) -> dict[str, str]:
    """What a stage or a redraw wrote down of its files: sha256 by path."""
    try:
        outputs: dict[str, str] = json.loads((home / MANIFEST).read_text(encoding="utf-8"))["outputs"]
    except (OSError, ValueError, KeyError) as error:
        fix = "Finish the run: adloom run DATA."
        raise RunError("the stage is not finished", where=str(home), fix=fix) from error
    return outputs


def _renditions(home: Path, creative_id: str) -> list[Path]:
    """The creative's other sizes."""
    folder = home / "renditions" / creative_id
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in _PICTURES)


def _hash(path: Path) -> str:
    return file_hash(path) if path.is_file() else ""


def _ads(
    job: Job, chosen: Sequence[_Creative], settings: ExportSettings, seal: Seal | None, folder: Path
) -> tuple[list[Ad], dict[str, Path]]:
    """The ads, and the file of each by its name in the archive; signed ones are written to `folder`."""
    ads: list[Ad] = []
    contents: dict[str, Path] = {}
    for one in chosen:
        row, concept = one.row, one.concept
        headline = row["headline"] or concept["headline"][0]
        where = f"concept {row['concept_id']}"
        words = {
            "run": job.run_id, "advertiser": concept["advertiser"], "concept_id": row["concept_id"],
            "creative_id": row["creative_id"], "cohort": str(row["cohort"]),
        }  # fmt: skip
        for number, path in enumerate(one.files):
            wide, high = _size(path)
            size = f"{wide}x{high}"
            name = f"{slug(concept['advertiser'])}/{slug(row['concept_id'])}/{slug(row['creative_id'])}_{size}{path.suffix.lower()}"
            if name in contents:  # the main picture is among the other sizes too
                continue
            content = path.read_bytes()
            facts = _stamp(content, path)
            contents[name] = path
            if seal is not None:
                content = seal.sign(content, facts, title=Path(name).name)
                contents[name] = folder / f"{len(contents)}{path.suffix}"
                contents[name].write_bytes(content)
            landing = {
                platform: tagged_url(
                    concept["landing_url"], settings.utm, {**words, "platform": platform, "size": size}, where=where
                )
                for platform in PLATFORMS
            }
            ads.append(
                Ad(
                    creative_id=row["creative_id"],
                    concept_id=row["concept_id"],
                    advertiser=concept["advertiser"],
                    cohort=row["cohort"],
                    generator=row["generator"],
                    weights_hash=row["weights_hash"],
                    topics=tuple(concept["topics"]),
                    headline=headline,
                    body=concept["body"],
                    call_to_action=concept["call_to_action"],
                    alt_text=alt_text(
                        headline, concept["advertiser"], concept["topics"], has_product=bool(concept["product_image"])
                    ),
                    landing=landing,
                    display_url=urlsplit(concept["landing_url"]).hostname or "",
                    campaign=fill(settings.campaign, words),
                    ad_group=row["concept_id"],
                    file=name,
                    sha256=hashlib.sha256(content).hexdigest(),
                    bytes=len(content),
                    width=wide,
                    height=high,
                    main=number == 0,
                    digital_source_type=facts.source_type,
                )
            )
    return sorted(ads, key=lambda ad: ad.file), contents


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as opened:
            return opened.size
    except (OSError, UnidentifiedImageError) as error:
        raise RunError("is not a picture", where=str(path), fix="Repeat: adloom run DATA.") from error


def _stamp(content: bytes, path: Path) -> Provenance:
    """What a file says of how it was made. Raises RunError when it says nothing."""
    found = read_stamp(content, where=str(path))
    if found is None:
        fix = "An older Adloom drew it. Repeat: adloom run DATA."
        raise RunError("does not say how it was made", where=str(path), fix=fix)
    return found


def slug(text: str) -> str:
    """Lower case, digits, hyphens: what every platform takes in a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def _manifest(job: Job, ads: Sequence[Ad], sheets: dict[str, bytes], told: Sequence[Candidate]) -> dict[str, Any]:
    slates = pl.read_parquet(job.run / "ranking" / "slates.parquet", columns=["policy_hash"])
    return {
        "format": 1,
        "run": job.run_id,
        "code": code_version(("contracts", "flows", "review")),
        "policy_hash": sorted(slates["policy_hash"].unique()),
        "weights_hash": sorted({ad.weights_hash for ad in ads}),
        "simulated": (job.data / "truth").is_dir(),
        "synthetic": {"all": True, "digital_source_types": sorted({ad.digital_source_type for ad in ads})},
        "files": {
            ad.file: {
                "sha256": ad.sha256, "bytes": ad.bytes, "width": ad.width, "height": ad.height,
                "creative_id": ad.creative_id, "main": ad.main, "synthetic": True, "alt_text": ad.alt_text,
                "digital_source_type": ad.digital_source_type,
            }
            for ad in ads
        },
        "sheets": {name: hashlib.sha256(content).hexdigest() for name, content in sheets.items()},
        "approvals": [
            {
                "creative_id": one.creative_id, "decision_id": row.decision_id, "at": row.at.isoformat(), "by": row.reviewer,
                "role": str(row.role), "file_hash": row.file_hash, "comment": row.comment,
            }
            for one in told
            for row in one.decisions
            if row.kind is Kind.APPROVE and row.reviewer in one.standing.approved_by and _counts(row.decision_id, one)
        ],
    }  # fmt: skip


def _counts(decision_id: int, one: Candidate) -> bool:
    """Whether a row was not undone."""
    return all(row.undoes != decision_id for row in one.decisions)
