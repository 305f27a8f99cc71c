"""What a batch does in a bad night: kills, faults that pass and faults that do not, disks, clocks, a second process."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

import flows.run_batch as batch
from contracts.store import StageResult
from flows.clear_wreckage import tag_of
from flows.job import Job, Stage
from flows.keep_log import log
from flows.run_batch import STAGES, run_batch
from tests.flows.small_run import small_settings

pytestmark = pytest.mark.usefixtures("prefect_server")


def quiet(number: int, stage: Stage, result: StageResult | None) -> None:
    pass


def spoilt(monkeypatch: pytest.MonkeyPatch, number: int, faults: list[Exception]) -> None:
    """Lets a stage fail with the given faults, one an attempt, before it works."""
    stage = STAGES[number]

    def work(job: Job, folder: Path) -> None:
        if faults:
            raise faults.pop(0)
        stage.work(job, folder)

    changed = (*STAGES[:number], replace(stage, work=work), *STAGES[number + 1 :])
    monkeypatch.setattr(batch, "STAGES", changed)


def test_a_resumed_run_marks_the_flow_run_that_was_killed_and_tries_a_passing_fault_again(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.states import Running

    @flow(name="adloom")
    def killed() -> None: ...

    with get_client(sync_client=True) as client:
        dead = client.create_flow_run(killed, tags=[tag_of(job.run)], state=Running())
        other = client.create_flow_run(killed, tags=[tag_of(job.run.parent / "other")], state=Running())
    patient = {"retries": 2, "first_pause_seconds": 0.0}
    changed = Job(job.data, small_settings(evaluation={"bootstraps": 60}, nights=patient), job.runs, job.models)
    spoilt(monkeypatch, 5, [OSError(errno.EIO, os.strerror(errno.EIO)), TimeoutError("no answer")])
    monkeypatch.setattr(log, "handlers", [caplog.handler])  # Prefect, imported here, empties the root logger
    monkeypatch.setattr(log, "propagate", False)
    results = run_batch(changed, quiet)
    assert [result.skipped for result in results] == [True] * 5 + [False]
    assert caplog.text.count("tried again") == 2
    with get_client(sync_client=True) as client:
        marked = client.read_flow_run(dead.id)
        assert marked.state_type == StateType.CRASHED
        assert "taken up again" in str(marked.state and marked.state.message)
        assert client.read_flow_run(other.id).state_type == StateType.RUNNING, "another run's may well be alive"


def test_bad_input_and_bugs_are_not_tried_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = Job(job.data, small_settings(evaluation={"bootstraps": 70}), job.runs, job.models)
    faults: list[Exception] = [ValueError("a bug"), ValueError("the same bug")]
    spoilt(monkeypatch, 5, faults)
    with pytest.raises(ValueError, match="a bug"):
        run_batch(changed, quiet)
    assert len(faults) == 1
