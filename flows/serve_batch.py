"""Turns a deployment's parameters into a batch that a Prefect server starts: the flow, and how a schedule serves it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, State
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import FailedRun
from prefect.runner import Runner
from prefect.runtime import flow_run
from prefect.schedules import Cron, Schedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed
from prefect.types.entrypoint import EntrypointType

from contracts.errors import AdloomError, SettingsError
from contracts.settings import load_settings, with_renders
from contracts.store import StageResult
from flows.bring_data import data_folder
from flows.job import Job, Stage
from flows.leave_artifacts import leave_artifacts
from flows.run_batch import STAGES, run_batch

ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
"""A night that is due while another one runs waits for its end."""


@flow(name="adloom", persist_result=False)
def night(
    data: str,
    config: str | None = None,
    out: str = "data/runs",
    models: str = "data/models",
    renders: int | None = None,
    last: str = STAGES[-1].name,
    cluster: str = "",
) -> State[None]:
    """The batch on a data folder as it is when the run starts; stages that are up to date are skipped.

    Args:
        data: the data folder, or its URL, of which what has changed is copied when the run starts.
        config: settings, TOML; None: the defaults.
        out: where runs go. models: where learned models are.
        renders: personal pictures at most; None: as the settings say.
        last: stage to stop after; another deployment with the same folders goes on from there.
        cluster: what `adloom run --cluster` takes.
    """
    logger = get_run_logger()

    def tell(number: int, stage: Stage, result: StageResult | None) -> None:
        if result is not None:
            took = "up to date" if result.skipped else f"{result.seconds:.1f} s"
            logger.info("[%s/%s] %s: %s. %s", number + 1, len(STAGES), stage.name, took, stage.say(result.folder))

    try:
        settings = with_renders(load_settings(Path(config) if config else None), renders)
        job = Job(data_folder(data, Path(out)), settings, Path(out), Path(models), cluster)
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, name=job.run_id)
        results = run_batch(job, tell, last=last)
    except AdloomError as error:
        logging.getLogger("prefect.flow_runs").addFilter(is_news)
        return Failed(message=str(error))
    if all(result.skipped for result in results):
        leave_artifacts(job, [result.name for result in results])
    return Completed(message=str(job.run))


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the flow run's log is more than Prefect's traceback of a night that failed with a message, told before."""
    return not (record.exc_info and isinstance(record.exc_info[1], FailedRun))


def nightly_schedule(cron: str, timezone: str) -> Schedule:
    """The schedule of a cron line. Raises SettingsError when it, or the time zone, makes no sense."""
    try:
        CronSchedule(cron=cron, timezone=timezone)
    except ValueError as error:
        where, fix = (
            f"--cron {cron!r}, --timezone {timezone}",
            'Give five fields and a zone: "0 3 * * *", Europe/Berlin.',
        )
        raise SettingsError("is no schedule", where=where, fix=fix) from error
    return Cron(cron, timezone=timezone)


def serve_nights(name: str, schedule: Schedule, parameters: dict[str, Any], url: str) -> None:
    """Serves the batch on a schedule kept by the server at `url` until it is stopped; then the schedule pauses."""
    with temporary_settings({PREFECT_API_URL: url}):
        deployment = RunnerDeployment.from_flow(
            night,
            name,
            schedule=schedule,
            parameters=parameters,
            concurrency_limit=ONE_AT_A_TIME,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        runner = _Runner()
        runner.add_deployment(deployment)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_started(runner))


async def _started(runner: Runner) -> None:
    asyncio.get_running_loop().set_exception_handler(_faults_alone)
    await runner.start()


def _faults_alone(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Python 3.11 tells of a connection that was closed at the end as of a fault, with a traceback."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


class _Runner(Runner):
    """Prefect's, which SIGTERM stops as Ctrl-C does: its own handler ends whatever runs at that moment, with a traceback."""

    def handle_sigterm(self, *_: Any, **__: Any) -> None:
        """Cancels what runs, then pauses the schedule."""
        signal.raise_signal(signal.SIGINT)
