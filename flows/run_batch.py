"""Turns a job into a finished run: six stages, each a Prefect task, skipped where its manifest still matches."""

from __future__ import annotations

from typing import Any

from contracts.errors import AdloomError, SettingsError
from contracts.store import StageResult
from flows import build_features, check_sources, draw_creatives, evaluate_run, rank_concepts, train_generator
from flows.choose_painter import look_for_checkpoint
from flows.clear_wreckage import claim_flow_run
from flows.job import Job, Stage
from flows.keep_log import adopt_prefect, log
from flows.leave_artifacts import leave_artifacts
from flows.reach_prefect import BatchServer
from flows.spread_work import look_for_cluster
from flows.sum_up_run import Record, Tell
from flows.try_again import is_transient, pauses

STAGES: tuple[Stage, ...] = (
    check_sources.STAGE,
    build_features.STAGE,
    rank_concepts.STAGE,
    train_generator.STAGE,
    draw_creatives.STAGE,
    evaluate_run.STAGE,
)


def run_batch(
    job: Job, tell: Tell, *, last: str = STAGES[-1].name, server: BatchServer | None = None
) -> list[StageResult]:
    """Runs or skips every stage up to the last one wanted, in order.

    Inside a flow run the stages are its tasks. Elsewhere they get a flow run of their own, and a Prefect server is only
    asked for when there is something to do.

    Args:
        job: the batch.
        tell: is told of each stage's begin and end.
        last: the last stage wanted.
        server: one that was begun before; whoever began it ends it.

    Raises:
        AdloomError: the input, the settings, a model, the run folder or the Prefect server is at fault.
    """
    names = [stage.name for stage in STAGES]
    if last not in names:
        raise SettingsError("is no stage", where=f"last stage {last!r}", fix=f"Give one of: {', '.join(names)}.")
    end = names.index(last) + 1
    with job.store.locked(tell=log.warning), Record(job, STAGES[:end], tell) as record:
        job.note()
        look_for_checkpoint(job)
        done = finished_stages(job, record.tell, end=end)
        if len(done) == end:
            return done
        look_for_cluster(job.cluster)
        return done + _as_flow(job, record.tell, range(len(done), end), server)


def finished_stages(job: Job, tell: Tell, *, end: int = len(STAGES)) -> list[StageResult]:
    """Results of the leading stages that are up to date, of the first `end`."""
    done: list[StageResult] = []
    for number, stage in enumerate(STAGES[:end]):
        current = job.store.current(stage.key(job))
        if current is None:
            break
        tell(number, stage, current)
        done.append(current)
    return done


def _as_flow(job: Job, tell: Tell, numbers: range, server: BatchServer | None) -> list[StageResult]:
    """Runs stages as tasks of one Prefect flow run, with retries of what a retry can mend."""
    server = server or BatchServer(job.runs)
    server.begin()
    from prefect import flow, task  # noqa: PLC0415 - slow to import, and not needed when all is up to date
    from prefect.cache_policies import NO_CACHE  # noqa: PLC0415
    from prefect.context import FlowRunContext  # noqa: PLC0415

    adopt_prefect()

    faults: list[AdloomError] = []

    def may_pass(_: Any, __: Any, state: Any) -> bool:
        return is_transient(state.result(raise_on_failure=False))

    def perform(number: int) -> StageResult | None:
        stage = STAGES[number]
        tell(number, stage, None)
        try:
            key = stage.key(job)
            result = job.store.current(key) or job.store.perform(key, lambda folder: stage.work(job, folder))
        except Exception as error:
            if is_transient(error):
                log.warning("%s: %s. It may pass: tried again while nights.retries allows.", stage.name, error)
                raise
            if not isinstance(error, AdloomError):
                raise
            faults.append(error)
            return None
        tell(number, stage, result)
        return result

    retried: dict[str, Any] = {
        "retries": job.settings.nights.retries,
        "retry_delay_seconds": pauses(job.settings.nights),
        "retry_condition_fn": may_pass,
        "cache_policy": NO_CACHE,
        "persist_result": False,
    }

    def batch() -> list[StageResult]:
        results: list[StageResult] = []
        claim_flow_run(job.run)
        for number in numbers:
            one = task(name=STAGES[number].name, **retried)(perform)
            result = one(number)
            if result is None:
                raise RuntimeError(str(faults[0]))
            results.append(result)
        leave_artifacts(job, [stage.name for stage in STAGES[: numbers.stop]])
        return results

    own_run = flow(name="adloom", flow_run_name=job.run_id, persist_result=False, validate_parameters=False)
    try:
        if FlowRunContext.get():
            return batch()
        with server:
            return own_run(batch)()
    except RuntimeError:
        if faults:
            raise faults[0] from None
        raise
