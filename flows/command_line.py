"""Turns words on the command line into batches and reports; a bad input is one line and exit 2."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from contracts.disk import disk_fault
from contracts.errors import AdloomError, DataError, SettingsError
from contracts.settings import load_settings, with_renders
from contracts.store import write_atomically, write_json
from flows import (
    data_commands,
    experiment_commands,
    feedback_commands,
    model_commands,
    provenance_commands,
    review_commands,
    schedule_commands,
    space_commands,
    train_commands,
)
from flows.bring_data import data_folder
from flows.console import Cluster, Config, Json, Models, app, complain, out
from flows.job import MODELS, RUNS, Job
from flows.keep_log import close_log, open_log
from flows.reach_prefect import BatchServer
from flows.show_progress import Ticker

__all__ = [
    "app",
    "data_commands",
    "execute",
    "experiment_commands",
    "feedback_commands",
    "model_commands",
    "provenance_commands",
    "review_commands",
    "schedule_commands",
    "space_commands",
    "train_commands",
]


def execute(words: list[str]) -> int:
    """Runs one command; returns the exit code. The log that it opens ends with it."""
    try:
        result = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except AdloomError as error:
        return complain(str(error))
    except cyclopts.CycloptsError as error:
        return complain(f"command line: {' '.join(str(error).split())} Try: adloom --help")
    except OSError as error:
        where = Path(error.filename or ".")
        fault = disk_fault(error, where.parent)
        told = f"{where}: {error.strerror or error}. Mend this and repeat the command: it goes on where it stopped."
        return complain(str(fault) if fault else told)
    except KeyboardInterrupt:
        return complain("stopped. Repeat the command to go on where it stopped.", code=130)
    finally:
        close_log()
    return result if isinstance(result, int) else 0


@app.command
def run(
    data: str | None = None,
    *,
    config: Config = None,
    out_dir: Annotated[Path, Parameter(name="--out", help="Where runs go.")] = RUNS,
    models: Models = MODELS,
    renders: Annotated[int | None, Parameter(help="Personal pictures at most; overrides the settings.")] = None,
    cluster: Cluster = "",
    publish: Annotated[str, Parameter(help="Copy the finished run there: s3://, gs://, az://, file:///.")] = "",
    as_json: Json = False,
) -> int:
    """Run the whole batch; stages that are up to date are skipped.

    Example: adloom run data/shop --config configs/default.toml --renders 100

    Parameters
    ----------
    data: The data folder, or its URL; the shipped sample when left out.
    """
    open_log()
    if publish:
        from flows.publish_run import destination, publish_run  # noqa: PLC0415 - slow to import

        destination(publish)
    settings = with_renders(load_settings(config), renders)
    job = Job(data_folder(data, out_dir), settings, out_dir, models, cluster)
    with contextlib.closing(BatchServer(job.runs)) as server:
        if job.store.manifest("evaluation") is None:
            server.begin()  # there is work, so it starts while the stages are imported
        from flows.run_batch import STAGES, run_batch  # noqa: PLC0415 - slow to import
        from flows.sum_up_run import SUMMARY, summary_table  # noqa: PLC0415 - slow to import

        ticker = Ticker(out, len(STAGES), quiet=as_json)
        results = run_batch(job, ticker.tell, server=server)
    published = publish_run(job.run, publish) if publish else ""
    report = job.run / "evaluation" / "report.html"
    if as_json:
        told = [(r.name, r.skipped, r.seconds, r.rows, r.peak_bytes) for r in results]
        stages = [dict(zip(("stage", "skipped", "seconds", "rows", "peak_bytes"), one, strict=True)) for one in told]
        look = json.loads((job.run / SUMMARY).read_text(encoding="utf-8"))["look"]
        more = {"published": published} if publish else {}
        print(json.dumps({"run": str(job.run), "report": str(report), "stages": stages, "look": look, **more}))
        return 0
    if all(result.skipped for result in results):
        out.print("Every stage is up to date.")
    summary = json.loads((job.run / SUMMARY).read_text(encoding="utf-8"))
    out.print(summary_table(summary))
    for reason in summary["look"]:
        out.print(f"Look at this run: {reason}")
    out.print(f"Report    {report}")
    out.print(f"Creatives {job.run / 'generators' / 'images'}")
    if publish:
        out.print(f"Published {published}")
    return 0


@app.command
def evaluate(
    data: str | None = None,
    *,
    run_dir: Annotated[Path | None, Parameter(name="--run", help="A finished run: its report is copied.")] = None,
    against: Annotated[Path | None, Parameter(help="Another finished run, to compare --run with.")] = None,
    slates: Annotated[
        Path | None, Parameter(help="Your slates: user_id, position, concept_id; Parquet or CSV.")
    ] = None,
    config: Config = None,
    out_dir: Annotated[Path, Parameter(name="--out", help="Where the report goes.")] = Path("report"),
    runs: Annotated[Path, Parameter(help="Where runs are.")] = RUNS,
    models: Models = MODELS,
) -> None:
    """Write the offline report of a finished run, alone or against another, or of your own slates on a log.

    Example: adloom evaluate data/shop --slates mine.csv --out report

    Parameters
    ----------
    data: The data folder, or its URL, whose log is used; its batch must have run.
    """
    if (run_dir is None) == (slates is None):
        raise SettingsError("give either --run or --slates", where="adloom evaluate", fix="See: adloom evaluate --help")
    if against is not None and run_dir is None:
        raise SettingsError("needs --run", where="--against", fix="Give both: --run A --against B.")
    reports = {path: _finished_report(path) for path in (run_dir, against) if path is not None}
    out_dir.mkdir(parents=True, exist_ok=True)
    if run_dir is not None:
        for name in ("report.json", "report.html"):
            shutil.copyfile(run_dir / "evaluation" / name, out_dir / name)
    elif slates is not None:
        from evaluation.report import render_html  # noqa: PLC0415 - slow to import
        from flows.evaluate_run import evaluate_slates  # noqa: PLC0415 - slow to import
        from flows.read_slates import read_slates  # noqa: PLC0415 - slow to import

        job = Job(data_folder(data, runs), load_settings(config), runs, models)
        if job.store.manifest("ranking") is None:
            raise DataError("its batch has not run", where=str(job.data), fix=f"Run first: adloom run {job.data}")
        report = evaluate_slates(job, read_slates(slates))
        write_json(out_dir / "report.json", report)
        write_atomically(out_dir / "report.html", render_html(report, {}).encode())
    told: dict[str, Any] = json.loads((out_dir / "report.json").read_text())
    out.print(told["verdict"]["sentence"])
    out.print(f"Report {out_dir / 'report.html'}")
    if run_dir is not None and against is not None:
        from evaluation.comparison import compare, render_comparison  # noqa: PLC0415 - slow to import

        comparison = compare(reports[run_dir], reports[against])
        write_json(out_dir / "comparison.json", comparison)
        write_atomically(out_dir / "comparison.html", render_comparison(comparison).encode())
        out.print(comparison["sentence"])
        out.print(f"Comparison {out_dir / 'comparison.html'}")


def _finished_report(run: Path) -> dict[str, Any]:
    """report.json of a finished run. Raises DataError when there is none."""
    path = run / "evaluation" / "report.json"
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fix = "Finish the run: adloom run DATA."
        raise DataError("there is no finished report", where=str(path), fix=fix) from error
    return report
