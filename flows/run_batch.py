"""Turns a job into a finished run: six stages, each a Prefect task, skipped where its manifest still matches."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contracts.errors import AdloomError
from contracts.store import StageResult
from flows import build_features, check_sources, draw_creatives, evaluate_run, rank_concepts, train_generator
from flows.choose_painter import look_for_checkpoint
from flows.job import Job, Stage

STAGES: tuple[Stage, ...] = (
    check_sources.STAGE,
    build_features.STAGE,
    rank_concepts.STAGE,
    train_generator.STAGE,
    draw_creatives.STAGE,
    evaluate_run.STAGE,
)

Tell = Callable[[int, Stage, StageResult | None], None]
"""Told when a stage begins (no result yet) and when it ends."""


def run_batch(job: Job, tell: Tell) -> list[StageResult]:
    """Runs or skips every stage, in order; the Prefect server is started only when there is something to do.

    Raises:
        AdloomError: the input, the settings, a model or the run folder is at fault.
    """
    with job.store.locked():
        job.note()
        look_for_checkpoint(job)
        done = finished_stages(job, tell)
        if len(done) == len(STAGES):
            return done
        return done + _as_flow(job, tell, first=len(done))


def finished_stages(job: Job, tell: Tell) -> list[StageResult]:
    """Results of the leading stages that are up to date."""
    done: list[StageResult] = []
    for number, stage in enumerate(STAGES):
        current = job.store.current(stage.key(job))
        if current is None:
            break
        tell(number, stage, current)
        done.append(current)
    return done


def _as_flow(job: Job, tell: Tell, *, first: int) -> list[StageResult]:
    """Runs the stages from `first` on as one Prefect flow run, with retries of what a retry can mend."""
    quieten_prefect(job.runs)
    from prefect import flow, task  # noqa: PLC0415 - slow to import, and not needed when all is up to date
    from prefect.cache_policies import NO_CACHE  # noqa: PLC0415

    faults: list[AdloomError] = []

    def is_transient(_: Any, __: Any, state: Any) -> bool:
        error = state.result(raise_on_failure=False)
        return isinstance(error, OSError)

    def perform(number: int) -> StageResult | None:
        stage = STAGES[number]
        tell(number, stage, None)
        try:
            key = stage.key(job)
            result = job.store.current(key) or job.store.perform(key, lambda folder: stage.work(job, folder))
        except AdloomError as error:
            faults.append(error)
            return None
        tell(number, stage, result)
        return result

    retried: dict[str, Any] = {
        "retries": 2,
        "retry_delay_seconds": [2, 10],
        "retry_condition_fn": is_transient,
        "cache_policy": NO_CACHE,
        "persist_result": False,
    }

    @flow(name="adloom", flow_run_name=job.run_id, persist_result=False, validate_parameters=False)
    def batch() -> list[StageResult]:
        results: list[StageResult] = []
        for number in range(first, len(STAGES)):
            one = task(name=STAGES[number].name, **retried)(perform)
            result = one(number)
            if result is None:
                raise RuntimeError(str(faults[0]))
            results.append(result)
        leave_artifacts(job)
        return results

    try:
        return batch()
    except RuntimeError:
        if faults:
            raise faults[0] from None
        raise


def leave_artifacts(job: Job) -> None:
    """Leaves the intake table, the figures and links to the report with the flow run."""
    from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact  # noqa: PLC0415

    evaluation = job.run / "evaluation"
    create_table_artifact(key="intake", table=check_sources.read_counts(job.run / "sources"), description="Rows read")
    create_markdown_artifact(key="figures", markdown=evaluate_run.figures_markdown(evaluation))
    create_link_artifact(
        key="report",
        link=(evaluation / "report.html").resolve().as_uri(),
        link_text="report.html",
        description="Report",
    )


def quieten_prefect(runs: Path) -> None:
    """Offline defaults: an embedded server with its own database beside the runs, no telemetry; what is set wins."""
    home = (runs / ".prefect").resolve()
    defaults = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
