"""Turns a job's data folder into the rows that may be worked on: checked, consented to, under pseudonyms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from contracts.settings import SourceSettings
from contracts.store import RunStore, code_version
from flows.job import Job
from sources.intake import take_in
from sources.outcome import Intake


def admit(job: Job, out: Path) -> Intake:
    """The job's rows in `out`, a folder to make; what was made of each file is kept for the next time.

    Raises:
        DataError: a file cannot be read, or a table lost more than `sources.max_rejected_share` of its rows.
    """
    with RunStore(job.parts).locked():
        intake = _take_in(job, out, job.parts, job.settings.sources)
    intake.require(max_rejected_share=job.settings.sources.max_rejected_share)
    return intake


@contextmanager
def admitted_for_now(job: Job, settings: SourceSettings | None = None) -> Iterator[Path]:
    """A folder of the job's rows that is gone afterwards; with other settings nothing of them is kept either."""
    with TemporaryDirectory() as name:
        out = Path(name) / "out"
        if settings is None:
            admit(job, out)
        else:
            _take_in(job, out, Path(name) / "parts", settings)
        yield out


def _take_in(job: Job, out: Path, parts: Path, settings: SourceSettings) -> Intake:
    return take_in(
        job.data,
        out,
        parts,
        settings,
        pseudonyms=job.pseudonyms,
        barred=job.barred,
        code=code_version(("contracts", "sources")),
    )
