"""Turns a folder of runs into creatives that can be looked up, filtered and shown, always as the files are now."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from contracts.errors import AdloomError, RunError
from contracts.run_creatives import REDRAWN, run_creatives
from contracts.store import MANIFEST, file_hash
from contracts.tables import GENERAL_COHORT
from review.decisions import Subject

log = logging.getLogger(__name__)
CHECK_SECONDS = 3.0
"""Run folders are looked at again when the last look is older; the thread of `Shelf.watch` rests so long between two looks."""

PREPARED = "review"
"""Folder in a run with what was worked out for the pages: controls.parquet, controls/, reasons.parquet."""


@dataclass(frozen=True, slots=True)
class Creative:
    """A creative and what the pages say of it.

    Attributes:
        file: its picture, relative to the run. file_hash: sha256 as it is now; empty: there is no such file.
        chance: predicted click chance in [0, 1]; None: not known.
        interests: of its cohort, the strongest first. cohort_users: people in it.
        extra_clicks: expected of drawing it, when it is a personal one.
        replaces: the creative it was drawn again for.
    """

    run_id: str
    creative_id: str
    concept_id: str
    cohort: int
    generator: str
    weights_hash: str
    seed: int
    file: str
    file_hash: str
    checks: tuple[str, ...]
    chance: float | None
    topics: tuple[str, ...]
    advertiser: str
    headline: str
    body: str
    call_to_action: str
    landing_url: str
    sensitive: bool
    interests: tuple[str, ...]
    cohort_users: int
    extra_clicks: float | None
    replaces: str | None
    reasons: tuple[str, ...]
    scene: str

    @property
    def subject(self) -> Subject:
        """What its standing depends on."""
        return Subject(self.run_id, self.creative_id, self.file_hash, self.sensitive)

    @property
    def audience(self) -> str:
        """For whom, in words."""
        if self.cohort == GENERAL_COHORT:
            return "general"
        return f"cohort {self.cohort}" + (f": {', '.join(self.interests)}" if self.interests else "")

    @property
    def alt(self) -> str:
        """What a person who does not see the picture is told."""
        return f"Ad of {self.advertiser}: {self.headline}, for {self.audience}"


@dataclass(frozen=True)
class Run:
    """One run's creatives, and the tables beside them where the run has them."""

    run_id: str
    folder: Path
    creatives: tuple[Creative, ...]
    made_at: float
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)

    @cached_property
    def by_id(self) -> dict[str, Creative]:
        """Creatives by id."""
        return {one.creative_id: one for one in self.creatives}

    @cached_property
    def facets(self) -> dict[str, Counter[str]]:
        """How many creatives have each value that can be filtered by."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for one in self.creatives:
            found["concept"][one.concept_id] += 1
            found["topic"].update(one.topics)
            found["generator"][one.generator] += 1
            found["check"].update(one.checks or ("passed",))
            found["check"]["failed"] += bool(one.checks)
            found["cohort"]["general" if one.cohort == GENERAL_COHORT else "personal"] += 1
            if one.cohort != GENERAL_COHORT:
                found["cohort"][str(one.cohort)] += 1
        return found

    @cached_property
    def cohort_names(self) -> dict[str, str]:
        """What each cohort is called, by its number."""
        return {str(one.cohort): one.audience for one in self.creatives if one.cohort != GENERAL_COHORT}

    def rows(self, table: str, **equal: object) -> list[dict[str, Any]]:
        """Rows of a table in which every named column has the value; none where the run has no such table."""
        frame = self.tables.get(table)
        if frame is None or not set(equal) <= set(frame.columns):
            return []
        return frame.filter(
            pl.lit(value=True).and_(*(pl.col(name) == value for name, value in equal.items()))
        ).to_dicts()


class Shelf:
    """Every run below a folder, as it was found at the last look: new, changed, half-written and replaced files are noticed.

    Who asks waits for a look when the last one is old; once `watch` was called, a thread of its own looks and nobody waits.
    """

    def __init__(self, runs: Path) -> None:
        self.folder = runs
        self.problems: dict[str, str] = {}
        self._found: dict[str, tuple[object, Run]] = {}
        self._in_order: list[Run] = []
        self._hashes: dict[str, tuple[tuple[int, int, int], str]] = {}
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._watched = False
        self._enough = threading.Event()

    def watch(self) -> None:
        """Looks once, and from then on in the background, until `rest`."""
        self.look()
        self._watched = True
        threading.Thread(target=self._keep_looking, daemon=True).start()

    def rest(self) -> None:
        """Ends the watch."""
        self._enough.set()

    def look(self) -> None:
        """Looks at all folders and files now."""
        with self._lock:
            self._look()
            self._looked_at = time.monotonic()

    def runs(self) -> list[Run]:
        """The runs that can be shown, the newest first; `problems` says of the others why not."""
        if not self._watched and time.monotonic() - self._looked_at > CHECK_SECONDS:
            self.look()
        return self._in_order

    def run(self, run_id: str) -> Run:
        """One run. Raises RunError when there is none of this name."""
        for run in self.runs():
            if run.run_id == run_id:
                return run
        fix = self.problems.get(run_id, "Go back to the gallery and choose another.")
        raise RunError("there is no such run", where=run_id[:80], fix=fix)

    def creative(self, run_id: str, creative_id: str) -> Creative:
        """One creative, with the hash of its picture as it is at this moment. Raises RunError when there is none."""
        run = self.run(run_id)
        one = run.by_id.get(creative_id)
        if one is None:
            fix = "The run was drawn again without it. Go back to the gallery."
            raise RunError("there is no such creative", where=f"{run_id} {creative_id[:80]}", fix=fix)
        return self.now(one)

    def now(self, one: Creative) -> Creative:
        """The creative with the hash of its picture as it is at this moment."""
        value = self._hash(f"{self.folder}/{one.run_id}/{one.file}", None, 0)
        return one if value == one.file_hash else replace(one, file_hash=value)

    def _keep_looking(self) -> None:
        while not self._enough.wait(CHECK_SECONDS):
            try:
                self.look()
            except Exception:
                log.exception("the folder of runs could not be looked at")

    def _look(self) -> None:
        problems: dict[str, str] = {}
        found: dict[str, tuple[object, Run]] = {}
        try:
            folders = sorted(path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError as error:
            problems[str(self.folder)] = f"cannot be read ({error.strerror}). Run first: adloom run DATA."
            folders = []
        for folder in folders:
            if not (folder / "generators" / MANIFEST).is_file():
                problems[folder.name] = "its creatives are not finished; the batch is running, or was stopped."
                continue
            try:
                mark = _mark(folder)
                held = self._found.get(folder.name)
                run = held[1] if held is not None and held[0] == mark else read_run(folder)
                found[folder.name] = (mark, self._hashed(run))
            except (AdloomError, OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
                problems[folder.name] = f"cannot be read ({' '.join(str(error).split())[:200]})."
        self.problems, self._found = problems, found
        self._in_order = sorted((run for _, run in found.values()), key=lambda run: (-run.made_at, run.run_id))

    def _hashed(self, run: Run) -> Run:
        """The run with every picture's hash as the file is now."""
        known: dict[str, tuple[dict[str, str], int]] = {}
        creatives, changed, root = [], False, str(run.folder)
        for one in run.creatives:
            part = "generators" if one.file.startswith("generators/") else "/".join(one.file.split("/")[:2])
            if part not in known:
                known[part] = _written(run.folder / part)
            outputs, written_at = known[part]
            value = self._hash(f"{root}/{one.file}", outputs.get(one.file[len(part) + 1 :]), written_at)
            changed = changed or value != one.file_hash
            creatives.append(one if value == one.file_hash else replace(one, file_hash=value))
        return replace(run, creatives=tuple(creatives)) if changed else run

    def _hash(self, path: str, promised: str | None, written_at: int) -> str:
        """Of a file; what the manifest promises counts while the file has not been touched since it was written."""
        try:
            about = os.stat(path)  # noqa: PTH116 - ten thousand times every few seconds: Path.stat takes four times as long
            mark = (about.st_size, about.st_mtime_ns, about.st_ctime_ns)
            held = self._hashes.get(path)
            if held is None or held[0] != mark:
                value = promised if promised and about.st_ctime_ns <= written_at else file_hash(Path(path))
                held = self._hashes[path] = (mark, value)
            return held[1]
        except OSError:
            return ""


def _written(folder: Path) -> tuple[dict[str, str], int]:
    """The hashes that a stage's manifest promises, and when it was written (nanoseconds)."""
    path = folder / MANIFEST
    try:
        outputs: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["outputs"]
        return outputs, path.stat().st_ctime_ns
    except (OSError, ValueError, KeyError):
        return {}, 0


def _mark(folder: Path) -> object:
    """Changes when the run's creatives, or what was prepared for the pages, do."""
    watched = [
        folder / "generators" / MANIFEST,
        folder / REDRAWN,
        folder / PREPARED / MANIFEST,
        folder / "sources" / MANIFEST,
    ]
    return tuple((path.stat().st_mtime_ns, path.stat().st_ino) if path.exists() else None for path in watched)


def read_run(folder: Path) -> Run:
    """A run's creatives with words of their concepts and cohorts; the hashes of files are filled in later.

    Raises:
        RunError, OSError, ValueError, PolarsError: the run is half written or damaged.
    """
    creatives = run_creatives(folder)
    concepts = {row["concept_id"]: row for row in pl.read_parquet(folder / "sources" / "concepts.parquet").to_dicts()}
    cohorts = {row["cohort"]: row for row in json.loads((folder / "generators" / "cohorts.json").read_text())}
    renders = folder / "generators" / "renders.parquet"
    extra = {}
    if renders.is_file():
        rows = pl.read_parquet(renders).select("cohort", "concept_id", "expected_extra_clicks").iter_rows()
        extra = {(cohort, concept): value for cohort, concept, value in rows}
    found = []
    for row in creatives.iter_rows(named=True):
        concept = concepts.get(row["concept_id"], {})
        cohort = cohorts.get(row["cohort"], {})
        found.append(
            Creative(
                run_id=folder.name,
                creative_id=row["creative_id"],
                concept_id=row["concept_id"],
                cohort=row["cohort"],
                generator=row["generator"],
                weights_hash=row["weights_hash"],
                seed=row["seed"],
                file=row["file"],
                file_hash="",
                checks=tuple(row["checks"]),
                chance=row["predicted_click_chance"],
                topics=tuple(concept.get("topics", ())),
                advertiser=concept.get("advertiser", "?"),
                headline=row["headline"] or next(iter(concept.get("headline", ())), row["concept_id"]),
                body=concept.get("body") or "",
                call_to_action=concept.get("call_to_action") or "",
                landing_url=concept.get("landing_url") or "",
                sensitive=concept.get("sensitive", True),
                interests=tuple(cohort.get("interests", ())),
                cohort_users=cohort.get("users", 0),
                extra_clicks=extra.get((row["cohort"], row["concept_id"])),
                replaces=row["replaces"],
                reasons=tuple(row["reasons"] or ()),
                scene=row["scene"],
            )
        )
    made_at = (folder / "generators" / MANIFEST).stat().st_mtime
    return Run(folder.name, folder, tuple(found), made_at, _tables(folder, _OPTIONAL))


_OPTIONAL = {
    "renditions": ("generators/renditions.parquet", f"{REDRAWN}/*/renditions.parquet"),
    "checks": ("generators/creative_checks.parquet", f"{REDRAWN}/*/creative_checks.parquet"),
    "controls": (f"{PREPARED}/controls.parquet",),
    "reasons": (f"{PREPARED}/reasons.parquet",),
}


def _tables(folder: Path, wanted: dict[str, tuple[str, ...]]) -> dict[str, pl.DataFrame]:
    """The tables of a run that are there, by name, the parts of each one after the other."""
    found = {}
    for name, patterns in wanted.items():
        paths = [path for pattern in patterns for path in sorted(folder.glob(pattern)) if path.parent.suffix != ".part"]
        if paths:
            found[name] = pl.concat([pl.read_parquet(path, glob=False, memory_map=False) for path in paths])
    return found


def siblings(run: Run, one: Creative) -> Iterable[Creative]:
    """Other creatives of the same concept, in the run's order."""
    return (other for other in run.creatives if other.concept_id == one.concept_id and other is not one)
