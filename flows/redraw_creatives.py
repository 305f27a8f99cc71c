"""Turns a rejected creative and the reasons into new candidates, in the background, as a flow run with progress."""

from __future__ import annotations

import fcntl
import re
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from contracts.decisions import Reason
from contracts.errors import AdloomError, RunError
from contracts.redraw_jobs import RedrawJob, list_jobs, read_job
from contracts.run_creatives import REDRAW_FILE, REDRAWN, run_creatives
from contracts.store import MANIFEST, tree_hashes, write_json
from contracts.tables import CreativeChecks, Creatives, Renditions, polars_schema
from flows.ask_redraw import CANDIDATES
from flows.draw_batches import checks_of, keep, set_up
from flows.draw_creatives import checks_table, creative_rows, renditions_table
from flows.job import Job, job_of
from flows.reach_prefect import BatchServer
from flows.rebuild_orders import OrderBook
from flows.stamp_pictures import Origin
from generators.checking.gate import Gate
from generators.knobs import Knobs, knobs_for, product_lightness, turned, wish
from generators.painting.painters import frame_product, scene_looks
from generators.scorer import Scorer
from generators.studio import Order, make

Floats = npt.NDArray[np.float32]


def redraw(run: Path, job_id: str) -> RedrawJob:
    """Does what was asked for, as a flow run; the job says how far it is, and at the end what became of it.

    Raises:
        AdloomError: it cannot be drawn; the job then says so too.
    """
    job = read_job(run, job_id)
    try:
        with _turn(run):
            return _as_flow(job_of(run), job)
    except AdloomError as error:
        replace(read_job(run, job_id), state="failed", message=str(error)).write(run)
        raise
    except BaseException as error:
        replace(read_job(run, job_id), state="failed", message=f"{type(error).__name__}: {error}").write(run)
        raise


@contextmanager
def _turn(run: Path) -> Any:
    """Redraws of a run are drawn one after another: the machine has no more cores for two."""
    with (run / REDRAWN / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _as_flow(job: Job, wanted: RedrawJob) -> RedrawJob:
    server = BatchServer(job.runs)
    server.begin()
    from prefect import flow, task  # noqa: PLC0415 - slow to import
    from prefect.cache_policies import NO_CACHE  # noqa: PLC0415

    faults: list[AdloomError] = []

    def perform() -> RedrawJob | None:
        try:
            return draw_again(job, wanted)
        except AdloomError as error:
            faults.append(error)
            return None

    @flow(name="adloom redraw", flow_run_name=wanted.job_id, persist_result=False, validate_parameters=False)
    def again() -> RedrawJob:
        done = task(name="redraw", cache_policy=NO_CACHE, persist_result=False)(perform)()
        if done is None:
            raise RuntimeError(str(faults[0]))
        return done

    try:
        with server:
            return again()
    except RuntimeError:
        if faults:
            raise faults[0] from None
        raise


def draw_again(job: Job, wanted: RedrawJob) -> RedrawJob:
    """Draws the candidates and keeps them beside the batch's creatives; the rejected one stays.

    Raises:
        RunError: the run has changed since, or cannot be read.
    """
    run = job.run
    replace(wanted, state="drawing").write(run)
    known = run_creatives(run)
    row = known.filter(pl.col("creative_id") == wanted.creative_id).row(0, named=True)
    reasons = [Reason(reason) for reason in wanted.reasons]
    attempt, times = _earlier(run, wanted)
    knobs = knobs_for(reasons, times=times)
    settings = job.settings.generators
    painter, scorer, personal = set_up(job, knobs)
    book = OrderBook(job, knows_space=personal)
    rejected = book.order(wanted.creative_id, row["concept_id"], row["cohort"], row["seed"])
    concept = book.concepts.filter(pl.col("concept_id") == row["concept_id"]).row(0, named=True)
    siblings = known.filter(pl.col("concept_id") == row["concept_id"])
    looks = _looks(run, siblings, rejected.product)
    appeal = _Wishful(scorer, knobs, looks, wanted.creative_id, tuple(concept["colours"] or ()))
    gate = _gate(job, known, wanted.creative_id)
    origin = Origin.of(run, row["generator"], painter.weights_hash)
    folder = run / REDRAWN / f"{wanted.job_id}.part"
    for name in ("images", "scenes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    headlines: dict[str, str] = {}
    for number in range(CANDIDATES):
        name = f"{_root(wanted.creative_id)}~{attempt}{'abcdefgh'[number]}"
        order = turned(rejected, knobs, _headlines(concept, row), name=name, number=attempt * CANDIDATES + number)
        finished = make(
            painter, [order], side=settings.side, redraws=settings.redraws, candidates=max(settings.candidates, 8),
            appeal=appeal, gate=gate,
        )[0]  # fmt: skip
        rows.append(keep(folder, row["cohort"], row["concept_id"], finished, settings.sizes, origin, gate))
        headlines[name] = finished.order.copy.headline
        appeal.avoid(scene_looks(finished.scene[None], order.product)[0])
        replace(wanted, state="drawing", done=number + 1).write(run)
    same = {"generator": row["generator"], "weights_hash": painter.weights_hash,
            "predicted_click_chance": row["predicted_click_chance"]}  # fmt: skip
    table = creative_rows(rows).with_columns(pl.lit(value).alias(name) for name, value in same.items())
    Creatives.validate(
        table.select(pl.col(name).cast(kind) for name, kind in polars_schema(Creatives).items())
    ).write_parquet(folder / "creatives.parquet")
    CreativeChecks.validate(checks_table(rows)).write_parquet(folder / "creative_checks.parquet")
    Renditions.validate(renditions_table(rows)).write_parquet(folder / "renditions.parquet")
    said = {
        "replaces": wanted.creative_id, "reasons": list(wanted.reasons), "requested_by": wanted.requested_by, "at": wanted.at,
        "knobs": asdict(knobs), "attempt": attempt, "headlines": headlines,
    }  # fmt: skip
    write_json(folder / REDRAW_FILE, said)
    write_json(folder / MANIFEST, {"outputs": tree_hashes(folder)})
    folder.rename(folder.with_suffix(""))
    done = replace(wanted, state="done", done=CANDIDATES, made=tuple(one["creative_id"] for one in rows))
    done.write(run)
    return done


class _Wishful:
    """What the scorer thinks of candidate scenes, and how far they answer the reasons."""

    def __init__(
        self, scorer: Scorer, knobs: Knobs, looks: dict[str, Floats], rejected: str, brand: tuple[str, ...]
    ) -> None:
        self._scorer, self._knobs, self._brand = scorer, knobs, brand
        self._rejected = looks[rejected]
        self._avoid = [look for name, look in looks.items() if name != rejected]

    def avoid(self, look: Floats) -> None:
        """Nothing of this look any more."""
        self._avoid.append(look)

    def __call__(self, order: Order, scenes: npt.NDArray[np.uint8]) -> Floats:
        """(N,) the larger, the better."""
        taste = self._scorer.taste
        scale = taste.scale if taste is not None else scene_looks(scenes, order.product).std(axis=0) + 1e-3
        return self._scorer(order, scenes) + wish(
            self._knobs, scenes, self._rejected, scale=scale, brand=self._brand,
            product_lightness=product_lightness(order.product),
            avoid=np.stack(self._avoid) if self._avoid and self._knobs.apart else None,
            mask=frame_product(order.product, scenes.shape[1])[1],
        )  # fmt: skip


def _earlier(run: Path, wanted: RedrawJob) -> tuple[int, int]:
    """Number of this attempt on the creative it all began with, and how often it failed for one of these reasons."""
    root = _root(wanted.creative_id)
    others = [one for one in list_jobs(run) if _root(one.creative_id) == root and one.job_id < wanted.job_id]
    attempt = 1 + len(others)
    return attempt, 1 + sum(bool(set(one.reasons) & set(wanted.reasons)) for one in others)


def _root(creative_id: str) -> str:
    """The creative of the batch that a redrawn one goes back to."""
    return re.sub(r"~\d+[a-h]$", "", creative_id)


def _headlines(concept: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """The concept's headlines, beginning with the one that was set."""
    every = list(concept["headline"])
    at = every.index(row["headline"]) if row["headline"] in every else 0
    return every[at:] + every[:at]


def _looks(run: Path, siblings: pl.DataFrame, product: npt.NDArray[np.uint8] | None) -> dict[str, Floats]:
    """What each of the concept's scenes looks like, by creative_id. Raises RunError when one cannot be read."""
    found = {}
    for row in siblings.iter_rows(named=True):
        try:
            with Image.open(run / row["scene"]) as opened:
                scene = np.asarray(opened.convert("RGB"), np.uint8)
        except OSError as error:
            fix = "Finish the run: adloom run DATA."
            raise RunError("a scene cannot be read", where=str(run / row["scene"]), fix=fix) from error
        found[row["creative_id"]] = scene_looks(scene[None], product)[0]
    return found


def _gate(job: Job, known: pl.DataFrame, rejected: str) -> Gate:
    """The checks of the run, which know every picture that passed, and the rejected one."""
    gate = Gate.open(checks_of(job))
    wanted = known.filter((pl.col("checks").list.len() == 0) | (pl.col("creative_id") == rejected))
    for name, cohort, file in wanted.select("creative_id", "cohort", "file").iter_rows():
        with Image.open(job.run / file) as opened:
            gate.remember(name, cohort, opened)
    return gate
