"""Turns words on the command line into batches, data folders, models and reports; a bad input is one line and exit 2."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from contracts.errors import AdloomError, DataError, SettingsError
from contracts.settings import Settings, load_settings
from contracts.store import write_atomically, write_json
from flows.job import MODELS, RUNS, SHIPPED, Job
from flows.show_progress import Bar, Ticker

app = App(
    name="adloom",
    help="Browsing logs in; personalised ads that an analyst has approved, and honest evidence of their worth, out.",
    version_flags=["--version"],
)
out = Console(soft_wrap=True, highlight=False)
Config = Annotated[Path | None, Parameter(help="Settings, TOML; see configs/default.toml.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for machines.")]


def execute(words: list[str]) -> int:
    """Runs one command; returns the exit code."""
    try:
        result = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except AdloomError as error:
        return complain(str(error))
    except cyclopts.CycloptsError as error:
        return complain(f"command line: {' '.join(str(error).split())} Try: adloom --help")
    except OSError as error:
        where = error.filename or "disk"
        return complain(
            f"{where}: {error.strerror or error}. Mend this and repeat the command: it goes on where it stopped."
        )
    except KeyboardInterrupt:
        return complain("stopped. Repeat the command to go on where it stopped.", code=130)
    return result if isinstance(result, int) else 0


def complain(line: str, code: int = 2) -> int:
    """One line on stderr."""
    print("adloom: " + " ".join(line.split()), file=sys.stderr)
    return code


@app.command
def run(
    data: Path | None = None,
    *,
    config: Config = None,
    out_dir: Annotated[Path, Parameter(name="--out", help="Where runs go.")] = RUNS,
    models: Annotated[Path, Parameter(help="Where learned models are.")] = MODELS,
    renders: Annotated[int | None, Parameter(help="Personal pictures at most; overrides the settings.")] = None,
    as_json: Json = False,
) -> int:
    """Run the whole batch; stages that are up to date are skipped.

    Example: adloom run data/shop --config configs/default.toml --renders 100

    Parameters
    ----------
    data: The data folder; the shipped sample when left out.
    """
    from flows.run_batch import STAGES, run_batch  # noqa: PLC0415 - slow to import

    job = Job(data or SHIPPED, _settings(config, renders), out_dir, models)
    ticker = Ticker(out, len(STAGES), quiet=as_json)
    results = run_batch(job, ticker.tell)
    report = job.run / "evaluation" / "report.html"
    if as_json:
        stages = [{"stage": r.name, "skipped": r.skipped, "seconds": r.seconds} for r in results]
        print(json.dumps({"run": str(job.run), "report": str(report), "stages": stages}))
        return 0
    if all(result.skipped for result in results):
        out.print("Every stage is up to date.")
    out.print(f"Report    {report}")
    out.print(f"Creatives {job.run / 'generators' / 'images'}")
    return 0


def _settings(config: Path | None, renders: int | None = None) -> Settings:
    settings = load_settings(config)
    if renders is None:
        return settings
    if renders < 0:
        raise SettingsError("must be 0 or more", where="--renders", fix="Give the number of pictures to draw.")
    return settings.model_copy(update={"generators": settings.generators.model_copy(update={"renders": renders})})


@app.command
def world(
    folder: Path,
    *,
    users: Annotated[int, Parameter(help="People in it.")] = 2000,
    days: Annotated[int, Parameter(help="Days of browsing.")] = 30,
    seed: Annotated[int, Parameter(help="Of all that is drawn.")] = 7,
    pictures: Annotated[int, Parameter(help="Logged pictures per concept.")] = 12,
) -> None:
    """Write a planted world, a simulated data folder whose truth is known.

    Example: adloom world data/world --users 5000 --seed 1

    Parameters
    ----------
    folder: A folder that is new or empty.
    """
    from sources.world import write_world  # noqa: PLC0415 - slow to import

    with Bar() as bar:
        made = write_world(folder, users, days, seed, pictures_per_concept=pictures, progress=bar.tell)
    out.print(
        f"{folder}: {made.users:,} users, {made.events:,} events, {made.impressions:,} impressions "
        f"({made.click_rate:.1%} clicked), {made.creatives:,} pictures. All simulated. Next: adloom run {folder}"
    )


@app.command
def fetch(
    source: Literal["movielens"],
    folder: Path,
    *,
    ratings: Annotated[Path, Parameter(help="Folder with u.data and u.item, or the recbole 1.2.1 wheel.")],
    posters: Annotated[Path | None, Parameter(help="Parquet file (item_id, jpeg) or folder of <id>.jpg.")] = None,
) -> None:
    """Turn a published data set into a data folder.

    Example: adloom fetch movielens data/ml100k --ratings ml-100k --posters posters.parquet

    Parameters
    ----------
    source: Which data set.
    folder: A folder that is new or empty.
    """
    from sources.movielens import write_movielens  # noqa: PLC0415 - slow to import

    made = write_movielens(folder, ratings=ratings, posters=posters)
    out.print(
        f"{folder}: {made.users:,} users, {made.films:,} films, {made.events:,} events, {made.impressions:,} impressions, "
        f"{made.posters:,} posters. A rating stands in for a click, see {folder / 'SOURCE.md'}. Next: adloom run {folder}"
    )


@app.command
def check(data: Path, *, as_json: Json = False) -> int:
    """Check a data folder and change nothing; exit 1 and a table of reasons if rows were set aside.

    Example: adloom check data/shop

    Parameters
    ----------
    data: The data folder.
    """
    from sources.intake import inspect_folder  # noqa: PLC0415 - slow to import

    found = inspect_folder(data)
    reasons = found.reasons()
    if as_json:
        tables = [
            {"table": c.table, "read": c.read, "accepted": c.accepted, "rejected": c.rejected} for c in found.counts
        ]
        print(json.dumps({"tables": tables, "reasons": reasons.to_dicts()}))
        return 1 if len(found.rejected) else 0
    table = Table("table", "read", "accepted", "set aside")
    for count in found.counts:
        table.add_row(count.table, f"{count.read:,}", f"{count.accepted:,}", f"{count.rejected:,}")
    out.print(table)
    for count in found.counts:
        for note in count.notes:
            out.print(f"note: {count.table}: {note}")
    if not len(found.rejected):
        out.print(f"{data}: every row keeps the contract.")
        return 0
    table = Table("table", "column", "reason", "rows", "first row")
    for row in reasons.iter_rows(named=True):
        table.add_row(row["table"], row["column"], row["reason"], f"{row['rows']:,}", f"{row['first_row']:,}")
    out.print(table)
    return 1


train = App(name="train", help="Learn a model.")
app.command(train)


@train.command(name="generator")
def train_generator(
    data: Path | None = None,
    *,
    config: Config = None,
    models: Annotated[Path, Parameter(help="Where learned models are.")] = MODELS,
    steps: Annotated[int, Parameter(help="Optimiser steps.")] = 4000,
    rows: Annotated[int, Parameter(help="Impressions per step.")] = 16,
    learning_rate: Annotated[float, Parameter(help="At its height.")] = 1e-3,
    from_scratch: Annotated[bool, Parameter(negative="", help="Do not start from known weights.")] = False,
    device: Annotated[Literal["auto", "cpu", "cuda"], Parameter(help="Where to train.")] = "auto",
) -> None:
    """Train the generator on all logged pictures; the same command resumes a stopped training.

    Example: adloom train generator data/world --steps 4000

    Parameters
    ----------
    data: The data folder; the shipped sample when left out.
    """
    from flows.train_models import learn_generator  # noqa: PLC0415 - slow to import
    from generators.training import TrainConfig  # noqa: PLC0415 - slow to import

    settings = load_settings(config)
    chosen = TrainConfig(steps=steps, rows=rows, learning_rate=learning_rate, seed=settings.seed, device=device,
                         warmup_steps=min(200, steps))  # fmt: skip
    with Bar() as bar:
        version = learn_generator(data or SHIPPED, settings, models, chosen, from_scratch=from_scratch, tell=bar.tell)
    out.print(f"Generator {version} is in use.")


@train.command(name="space")
def train_space(
    data: Path | None = None,
    *,
    config: Config = None,
    models: Annotated[Path, Parameter(help="Where learned models are.")] = MODELS,
) -> None:
    """Fit a new frozen space on the co-visits of a data folder; generators must be trained for it.

    Example: adloom train space data/shop

    Parameters
    ----------
    data: The data folder; the shipped sample when left out.
    """
    from flows.train_models import learn_space  # noqa: PLC0415 - slow to import

    out.print(f"Space {learn_space(data or SHIPPED, load_settings(config), models)} is in use.")


@app.command
def evaluate(
    data: Path | None = None,
    *,
    run_dir: Annotated[Path | None, Parameter(name="--run", help="A finished run: its report is copied.")] = None,
    slates: Annotated[
        Path | None, Parameter(help="Your slates: user_id, position, concept_id; Parquet or CSV.")
    ] = None,
    config: Config = None,
    out_dir: Annotated[Path, Parameter(name="--out", help="Where the report goes.")] = Path("report"),
    runs: Annotated[Path, Parameter(help="Where runs are.")] = RUNS,
    models: Annotated[Path, Parameter(help="Where learned models are.")] = MODELS,
) -> None:
    """Write the offline report of a finished run, or of your own slates on a data folder's log.

    Example: adloom evaluate data/shop --slates mine.csv --out report

    Parameters
    ----------
    data: The data folder whose log is used; its batch must have run.
    """
    if (run_dir is None) == (slates is None):
        raise SettingsError("give either --run or --slates", where="adloom evaluate", fix="See: adloom evaluate --help")
    out_dir.mkdir(parents=True, exist_ok=True)
    if run_dir is not None:
        for name in ("report.json", "report.html"):
            source = run_dir / "evaluation" / name
            if not source.is_file():
                raise DataError(
                    "there is no finished report", where=str(source), fix="Finish the run: adloom run DATA."
                )
            shutil.copyfile(source, out_dir / name)
    elif slates is not None:
        from evaluation.report import render_html  # noqa: PLC0415 - slow to import
        from flows.evaluate_run import evaluate_slates  # noqa: PLC0415 - slow to import
        from flows.read_slates import read_slates  # noqa: PLC0415 - slow to import

        job = Job(data or SHIPPED, load_settings(config), runs, models)
        if job.store.manifest("ranking") is None:
            raise DataError("its batch has not run", where=str(job.data), fix=f"Run first: adloom run {job.data}")
        report = evaluate_slates(job, read_slates(slates))
        write_json(out_dir / "report.json", report)
        write_atomically(out_dir / "report.html", render_html(report, {}).encode())
    told: dict[str, Any] = json.loads((out_dir / "report.json").read_text())
    out.print(told["verdict"]["sentence"])
    out.print(f"Report {out_dir / 'report.html'}")
