"""Nights on a schedule: refused in one line what cannot be served; never two at once; on any Prefect server."""

from __future__ import annotations

import contextlib
import http.server
import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image

from flows.command_line import execute
from flows.job import Job
from flows.leave_artifacts import CELL, COLUMNS, figures, picture_sheet
from tests.flows.processes import BIN, CLIENT, ROOT, plain_environment, running, until
from tests.flows.small_run import SMALL
from tests.own_postgresql import free_port, own_postgresql


def ask(url: str, path: str, **body: object) -> Any:
    """Asks the server's API, again where its database is busy, as Prefect's client does."""
    for _ in range(30):
        answer = CLIENT.post(f"{url}/{path}", json=body)
        if answer.status_code != 503:
            break
        time.sleep(1)
    answer.raise_for_status()
    return answer.json()


def started(url: str, deployment: str, **parameters: object) -> str:
    """Starts a run of a deployment; returns its id."""
    known = CLIENT.get(f"{url}/deployments/name/adloom/{deployment}").raise_for_status().json()
    state = {"type": "SCHEDULED"}
    return str(ask(url, f"deployments/{known['id']}/create_flow_run", parameters=parameters, state=state)["id"])


def ended(url: str, run: str) -> dict[str, Any]:
    """The run, once it has ended."""

    def look() -> dict[str, Any] | None:
        told: dict[str, Any] = CLIENT.get(f"{url}/flow_runs/{run}").json()
        return told if told["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    return until(look)  # type: ignore[no-any-return]


def states(url: str, run: str) -> list[str]:
    """Names of the states that the run was in."""
    told = CLIENT.get(f"{url}/flow_run_states/", params={"flow_run_id": run}).json()
    return [state["name"] for state in sorted(told, key=lambda state: state["timestamp"])]


def changed(home: Path, bootstraps: int) -> str:
    """A settings file with which the run's report has to be made again."""
    path = home / f"with-{bootstraps}.toml"
    tables = {**SMALL, "evaluation": {"bootstraps": bootstraps}}
    lines = [
        f"[{name}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
        for name, table in tables.items()
    ]
    path.write_text("\n".join(lines))
    return str(path)


def bootstraps_of(job: Job) -> int:
    """With how many the run's report was made."""
    manifest = job.store.manifest("evaluation")
    assert manifest is not None
    return int(manifest["settings"]["evaluation"]["bootstraps"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cron", "61 3 * * *"], "--cron '61 3 * * *'"),
        (["--cron", "0 3 * * *", "--timezone", "Nowhere/X"], "Nowhere/X: is no schedule"),
        (["no/such", "--cron", "0 3 * * *"], "no/such: is no folder"),
        (["--cron", "0 3 * * *", "--renders", "-1"], "--renders"),
        ([], "--cron"),
    ],
)
def test_what_cannot_be_scheduled_is_one_line_and_exit_2(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["schedule", *words, "--out", str(tmp_path / "runs")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert said in line


@pytest.mark.parametrize("words", [["schedule", "--cron", "0 3 * * *"], pytest.param(["run"], marks=pytest.mark.slow)])
def test_a_server_that_does_not_answer_is_one_line_and_exit_2(words: list[str], tmp_path: Path) -> None:
    # a process of its own each: Prefect reads the environment once. About 10 s.
    env = plain_environment(tmp_path / "prefect", PREFECT_API_URL="http://127.0.0.1:9/api")
    command = [sys.executable, "-m", "flows", *words, "--out", str(tmp_path / "runs"), "--models", str(tmp_path / "m")]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "PREFECT_API_URL http://127.0.0.1:9/api: no Prefect server answers there" in done.stderr


def test_the_sheet_shows_what_passed_and_the_figures_leave_out_what_is_not_known(
    shared_run: Job, tmp_path: Path
) -> None:
    import io

    import polars as pl

    folder = shared_run.run / "generators"
    creatives = pl.read_parquet(folder / "creatives.parquet")
    passed = creatives.filter(pl.col("checks").list.len() == 0)
    with Image.open(io.BytesIO(picture_sheet(folder) or b"")) as sheet:
        assert sheet.width == min(len(passed), COLUMNS) * CELL
        assert len(sheet.convert("L").crop((0, 0, CELL, CELL)).getcolors(256) or []) > 10, "there is a picture in it"
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    creatives.with_columns(checks=pl.lit(["contrast"])).write_parquet(spoilt / "creatives.parquet")
    assert picture_sheet(spoilt) is None

    report = json.loads((shared_run.run / "evaluation" / "report.json").read_text())
    rows = {row["figure"]: row["value"] for row in figures(report)}
    assert rows["held-out slates"] == f"{report['trust']['slates']:,}"
    interval = report["primary"]["difference_interval"]
    assert rows["difference, interval"] == f"{interval['low']:.4g} to {interval['high']:.4g}"
    report["primary"]["difference_interval"] = None
    assert len(figures(report)) == len(rows) - 1


def test_the_deployments_fit_the_flow_and_never_overlap() -> None:
    from flows.run_batch import STAGES
    from flows.serve_batch import ONE_AT_A_TIME, night

    told = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert {one["work_pool"]["name"] for one in told["deployments"]} == {"adloom-cpu", "adloom-gpu"}
    for one in told["deployments"]:
        assert one["entrypoint"] == f"{night.fn.__module__}.{night.fn.__name__}"
        assert set(one["parameters"]) <= set(signature(night.fn).parameters)
        assert one["parameters"]["last"] in [stage.name for stage in STAGES]
        limit, strategy = one["concurrency_limit"]["limit"], one["concurrency_limit"]["collision_strategy"]
        assert (limit, strategy) == (ONE_AT_A_TIME.limit, ONE_AT_A_TIME.collision_strategy.value)
    assert told["deployments"][-1]["parameters"]["last"] == STAGES[-1].name


def test_a_night_that_failed_with_a_message_is_told_without_a_traceback_and_others_with_theirs() -> None:
    from prefect.exceptions import FailedRun

    from flows.serve_batch import is_news

    def record(fault: Exception | None) -> logging.LogRecord:
        told = (type(fault), fault, None) if fault else None
        return logging.LogRecord("prefect.flow_runs", logging.ERROR, "x", 1, "ended", (), told)  # type: ignore[arg-type]

    assert not is_news(record(FailedRun("gone: is no folder")))
    assert is_news(record(ValueError("a fault of ours")))
    assert is_news(record(None))


def check_two_nights(url: str, deployment: str, job: Job) -> None:
    """Two nights asked for at once, the first with work to do: the second waits for its place, then finds all done."""
    mine = changed(job.runs.parent, 60)
    runs = [started(url, deployment, config=mine) for _ in range(2)]
    told = sorted((ended(url, run) for run in runs), key=lambda run: str(run["start_time"]))
    assert [run["state_type"] for run in told] == ["COMPLETED"] * 2, told
    assert told[0]["end_time"] <= told[1]["start_time"], "they overlapped"
    assert "AwaitingConcurrencySlot" in states(url, told[1]["id"])
    assert [run["name"] for run in told] == [job.run_id] * 2
    assert bootstraps_of(job) == 60
    for run in told:  # every night leaves them, one with nothing to do too
        artifacts = ask(url, "artifacts/filter", artifacts={"flow_run_id": {"any_": [run["id"]]}})
        left = {one["key"]: one for one in artifacts}
        assert {"intake", "pictures", "verdict", "figures", "report"} == set(left)
        assert left["pictures"]["data"].startswith("data:image/jpeg;base64,")
    bad = ended(url, started(url, deployment, data=str(job.runs / "gone")))
    assert (bad["state_type"], bad["state"]["message"].count("\n")) == ("FAILED", 0)
    assert "gone: is no folder" in bad["state"]["message"]


@pytest.mark.slow  # two minutes: a new database, and four nights in processes of their own
@pytest.mark.timeout(1200)  # the shared run, if this test is the one that makes it, counts too
def test_with_a_server_of_its_own_nights_run_one_after_another(job: Job, tmp_path: Path) -> None:
    env, log = plain_environment(tmp_path / "prefect"), tmp_path / "log"
    words = [sys.executable, "-m", "flows", "schedule", str(job.data), "--cron", "0 3 * * *",
             "--out", str(job.runs), "--models", str(job.models)]  # fmt: skip
    with running(words, env, log) as first:
        url = until(lambda: re.search(r"PREFECT_API_URL=(\S+) ", log.read_text()))[1]
        until(lambda: CLIENT.get(f"{url}/deployments/name/adloom/nightly").raise_for_status())
        planned = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        nights = until(lambda: ask(url, "flow_runs/filter", **planned))
        assert {one["expected_start_time"][11:16] for one in nights} == {"03:00"}, "by its cron line"
        second = subprocess.run(
            [*words, "--name", "other"], env=env, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert second.returncode == 2
        assert "another schedule has its own server here" in second.stderr
        check_two_nights(url, "nightly", job)
        last = started(url, "nightly", config=changed(job.runs.parent, 80))
        until(lambda: states(url, last)[-1] == "Running")  # and is stopped in the middle of it
    assert first.returncode == 0
    assert "Traceback" not in log.read_text()
    with pytest.raises(httpx.ConnectError):
        CLIENT.get(f"{url}/health")


@pytest.mark.slow  # a minute: three starts of a server
@pytest.mark.timeout(1200)
def test_no_server_outlives_its_schedule(tmp_path: Path) -> None:
    env, log = plain_environment(tmp_path / "prefect"), tmp_path / "log"
    words = [sys.executable, "-m", "flows", "schedule", "--cron", "0 3 * * *", "--out", str(tmp_path / "runs")]
    notes = tmp_path / "prefect" / "servers"
    with running(words, env, log) as early:
        until(lambda: list(notes.glob("*.json")))
    assert early.returncode == 130, "stopped while its server starts"
    assert left_of(tmp_path) == []
    with log.open("ab") as output:
        killed = subprocess.Popen(words, env=env, cwd=ROOT, stdout=output, stderr=output)
    until(lambda: list(notes.glob("*.json")))
    killed.kill()
    killed.wait()
    (orphan,) = left_of(tmp_path)
    with running(words, env, log):
        until(lambda: "PREFECT_API_URL" in log.read_text())
        assert orphan not in left_of(tmp_path), "ended by the next"
    assert left_of(tmp_path) == []
    assert "Traceback" not in log.read_text()


def left_of(home: Path) -> list[int]:
    """Processes whose Prefect home is below a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"PREFECT_HOME={home}".encode() in place.read_bytes():
                found.append(int(place.parent.name))
    return found


@contextmanager
def listening() -> Iterator[tuple[str, list[Any]]]:
    """A webhook on loopback: its URL, and what was sent there."""
    heard: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", heard
    finally:
        server.shutdown()


@pytest.mark.slow  # three minutes: a server on PostgreSQL, the deployments of prefect.yaml, two workers, five nights
@pytest.mark.timeout(1800)
def test_on_postgresql_the_pools_share_a_night_and_a_failed_one_is_told(job: Job, tmp_path: Path) -> None:
    port = free_port()
    url, log = f"http://127.0.0.1:{port}/api", tmp_path / "log"
    prefect = str(BIN / "prefect")
    with own_postgresql() as address, listening() as (hook, heard):
        database = f"postgresql+asyncpg://{address}/postgres"
        env = plain_environment(tmp_path / "prefect", PREFECT_API_URL=url, PREFECT_API_DATABASE_CONNECTION_URL=database)
        with running(
            [prefect, "server", "start", "--host", "127.0.0.1", "--port", str(port)], env, tmp_path / "server"
        ):
            until(lambda: CLIENT.get(f"{url}/health").raise_for_status())
            deploy_by_the_page(job, tmp_path, env)
            notify = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "schedule.md").read_text(), re.DOTALL)[-1]
            (tmp_path / "notify.py").write_text(notify)
            subprocess.run(
                [sys.executable, str(tmp_path / "notify.py"), hook], env=env, check=True, capture_output=True
            )
            workers = [[prefect, "worker", "start", "--pool", f"adloom-{kind}"] for kind in ("cpu", "gpu")]
            with running(workers[0], env, log), running(workers[1], env, log):
                check_pools(url, job)
                check_two_nights(url, "drawing", job)
                said = until(lambda: [one for one in heard if " is Failed. " in one["text"]])
            assert len(said) == 1, "and, where the machine is slow, that the night which waited is late"
            assert "gone: is no folder" in said[0]["text"]


def deploy_by_the_page(job: Job, home: Path, env: dict[str, str]) -> None:
    """The commands of docs/schedule.md, on a prefect.yaml whose folders are the job's."""
    text = (ROOT / "prefect.yaml").read_text().replace("/srv/adloom", str(ROOT))
    for name, folder in (("data/shop", job.data), ("data/runs", job.runs), ("data/models", job.models)):
        assert name in text
        text = text.replace(name, str(folder))
    text = text.replace("    out:", f"    config: {changed(home, 70)}\n    out:")
    (home / "prefect.yaml").write_text(text)
    page = (ROOT / "docs" / "schedule.md").read_text()
    commands = re.findall(r"\.venv/bin/(prefect (?:work-pool create|--no-prompt deploy).*)", page)
    assert len(commands) == 3
    for words in commands:
        subprocess.run([str(BIN / "prefect"), *words.split()[1:]], env=env, cwd=home, check=True, capture_output=True)


def check_pools(url: str, job: Job) -> None:
    """The night runs on one pool up to the slates; its end starts the drawing on the other, which makes the report."""
    first = ended(url, started(url, "night"))
    assert first["state_type"] == "COMPLETED", first
    deployed = {"deployments": {"name": {"any_": ["drawing"]}}}
    second = ended(url, until(lambda: ask(url, "flow_runs/filter", **deployed))[0]["id"])
    assert (second["state_type"], second["work_pool_name"]) == ("COMPLETED", "adloom-gpu"), second
    assert second["start_time"] >= first["end_time"]
    assert bootstraps_of(job) == 70
