"""Turns commands on data folders into worlds, published logs, checks and erasures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.table import Table

from contracts.settings import load_settings
from flows.bring_data import data_folder
from flows.console import Config, Json, Models, app, out
from flows.job import MODELS, RUNS
from flows.show_progress import Bar


@app.command
def world(
    folder: Path,
    *,
    users: Annotated[int, Parameter(help="People in it.")] = 2000,
    days: Annotated[int, Parameter(help="Days of browsing.")] = 30,
    seed: Annotated[int, Parameter(help="Of all that is drawn.")] = 7,
    pictures: Annotated[int, Parameter(help="Logged pictures per concept.")] = 12,
    slates: Annotated[int, Parameter(help="Slates shown to a user, on average.")] = 8,
) -> None:
    """Write a planted world, a simulated data folder whose truth is known.

    Example: adloom world data/world --users 5000 --seed 1

    Parameters
    ----------
    folder: A folder that is new or empty.
    """
    from sources.world import write_world  # noqa: PLC0415 - slow to import

    with Bar() as bar:
        made = write_world(folder, users, days, seed, pictures_per_concept=pictures, slates=slates, progress=bar.tell)
    out.print(
        f"{folder}: {made.users:,} users, {made.events:,} events, {made.impressions:,} impressions "
        f"({made.click_rate:.1%} clicked), {made.creatives:,} pictures. All simulated. Next: adloom run {folder}"
    )


fetch = App(name="fetch", help="Turn a published data set into a data folder with a SOURCE.md.")
app.command(fetch)


@fetch.command(name="movielens")
def fetch_movielens(
    folder: Path,
    *,
    ratings: Annotated[Path, Parameter(help="Folder with u.data and u.item, or the recbole 1.2.1 wheel.")],
    posters: Annotated[Path | None, Parameter(help="Parquet file (item_id, jpeg) or folder of <id>.jpg.")] = None,
) -> None:
    """MovieLens-100K: ratings stand in for clicks.

    Example: adloom fetch movielens data/ml100k --ratings ml-100k --posters posters.parquet

    Parameters
    ----------
    folder: A folder that is new or empty.
    """
    from sources.movielens import write_movielens  # noqa: PLC0415 - slow to import

    _tell(folder, asdict(write_movielens(folder, ratings=ratings, posters=posters)))


@fetch.command(name="open-bandit")
def fetch_open_bandit(
    folder: Path,
    *,
    source: Annotated[Path, Parameter(help="Folder with <policy>/<campaign>/, or the obp 0.4.1 wheel.")],
    campaign: Annotated[Literal["all", "men", "women"], Parameter(help="Which campaign.")] = "all",
    policy: Annotated[Literal["random", "bts"], Parameter(help="Which logging policy.")] = "random",
) -> None:
    """Open Bandit: fashion recommendations with their true propensities.

    Example: adloom fetch open-bandit data/obd --source obp-0.4.1-py3-none-any.whl --policy bts

    Parameters
    ----------
    folder: A folder that is new or empty.
    """
    from sources.open_bandit import write_open_bandit  # noqa: PLC0415 - slow to import

    _tell(folder, asdict(write_open_bandit(folder, data=source, campaign=campaign, policy=policy)))


@fetch.command(name="hillstrom")
def fetch_hillstrom(folder: Path, *, source: Annotated[Path, Parameter(help="hillstrom.csv.")]) -> None:
    """Hillstrom: an e-mail campaign put to customers at random.

    Example: adloom fetch hillstrom data/hillstrom --source hillstrom.csv

    Parameters
    ----------
    folder: A folder that is new or empty.
    """
    from sources.hillstrom import write_hillstrom  # noqa: PLC0415 - slow to import

    _tell(folder, asdict(write_hillstrom(folder, data=source)))


@fetch.command(name="msweb")
def fetch_msweb(folder: Path, *, source: Annotated[Path, Parameter(help="Folder with anonymous-msweb.data.")]) -> None:
    """One week of visits to a large site; the slates are invented.

    Example: adloom fetch msweb data/msweb --source msweb

    Parameters
    ----------
    folder: A folder that is new or empty.
    """
    from sources.msweb import write_msweb  # noqa: PLC0415 - slow to import

    _tell(folder, asdict(write_msweb(folder, data=source)))


@fetch.command(name="s3rec")
def fetch_s3rec(folder: Path, *, source: Annotated[Path, Parameter(help="Folder with <Name>.txt.")]) -> None:
    """Sequences of S3-Rec (Beauty, LastFM); the slates are invented.

    Example: adloom fetch s3rec data/beauty --source s3rec_beauty

    Parameters
    ----------
    folder: A folder that is new or empty.
    """
    from sources.s3rec import write_s3rec  # noqa: PLC0415 - slow to import

    _tell(folder, asdict(write_s3rec(folder, data=source)))


@fetch.command(name="mind")
def fetch_mind(
    folder: Path, *, source: Annotated[Path, Parameter(help="Folder with behaviors.tsv and news.tsv.")]
) -> None:
    """Microsoft News: slates as shown, in shuffled order.

    Example: adloom fetch mind data/mind --source MINDsmall_train

    Parameters
    ----------
    folder: A folder that is new or empty.
    """
    from sources.mind import write_mind  # noqa: PLC0415 - slow to import

    _tell(folder, asdict(write_mind(folder, data=source)))


def _tell(folder: Path, made: dict[str, int | float]) -> None:
    counts = ", ".join(f"{number:,} {name}" for name, number in made.items() if isinstance(number, int))
    out.print(f"{folder}: {counts}. What stands for what: {folder / 'SOURCE.md'}. Next: adloom run {folder}")


@app.command
def check(
    data: str,
    *,
    config: Config = None,
    page: Annotated[Path, Parameter(name="--out", help="The page to write.")] = Path("check.html"),
    suggest_mapping: Annotated[bool, Parameter(negative="", help="Propose a mapping.toml instead.")] = False,
    as_json: Json = False,
) -> int:
    """Check a data folder and change nothing in it; exit 1 and the reasons if rows were set aside or brands.toml is faulty.

    Example: adloom check data/shop

    Parameters
    ----------
    data: The data folder, or its URL.
    """
    from flows.inspect_data import inspect, propose_mapping  # noqa: PLC0415 - slow to import

    folder = data_folder(data, RUNS)
    if suggest_mapping:
        proposal = propose_mapping(folder)
        print(proposal.text, end="")
        for line in proposal.unsure:
            print(f"# ? {line}")
        return 0
    with Bar() as bar:
        summary = inspect(folder, load_settings(config).sources, page, tell=bar.tell)
    faulty = bool(summary["brands"]) or any(table["rejected"] for table in summary["tables"])
    if as_json:
        print(json.dumps(summary))
        return 1 if faulty else 0
    table = Table("table", "read", "accepted", "set aside", "left out")
    for row in summary["tables"]:
        left_out = row["withheld"] + row["sensitive"]
        table.add_row(
            row["table"], *(f"{number:,}" for number in (row["read"], row["accepted"], row["rejected"], left_out))
        )
    out.print(table)
    for row in summary["tables"]:
        for note in row["notes"]:
            out.print(f"note: {row['table']}: {note}")
    if summary["findings"]:
        out.print(_findings(summary["findings"]))
    out.print(summary["verdict"])
    out.print(f"Page {page}")
    return 1 if faulty else 0


def _findings(findings: list[dict[str, Any]]) -> Table:
    """One line or more a finding: how many rows, which check, what is wrong, and where it was seen first."""
    table = Table()
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("what was found, and where first", overflow="fold")
    for row in findings:
        first = row["examples"][0]
        what = f"{row['table']}: {row['column']} {row['reason']}".replace(":  ", ": ")
        kept = " (a warning)" if row["severity"] == "warning" else ""
        table.add_row(f"{row['rows']:,}", row["check"], f"{what}{kept}\n{first['source']}, row {first['row']:,}")
    return table


@app.command
def erase(
    user_id: str,
    *,
    runs: Annotated[Path, Parameter(help="Where runs are.")] = RUNS,
    models: Models = MODELS,
    key_file: Annotated[Path | None, Parameter(help="Key of the pseudonyms.")] = None,
    as_json: Json = False,
) -> None:
    """Forget a user everywhere that Adloom keeps rows, and stay forgetful; leaves a receipt without personal data.

    Example: adloom erase customer-4711

    Parameters
    ----------
    user_id: The id as it stands in the logs.
    """
    from flows.erase_user import erase_user  # noqa: PLC0415 - slow to import

    receipt = erase_user(user_id, runs, models, key_file)
    if as_json:
        print(json.dumps(vars(receipt)))
        return
    if not receipt.files:
        out.print("Nothing is left of this user. Later runs leave out what the data folders may still hold.")
        return
    table = Table("where", "rows removed")
    for kind, rows in sorted(receipt.rows.items()):
        table.add_row(kind, f"{rows:,}")
    out.print(table)
    for model in receipt.retrain:
        out.print(f"Retrain: {model}")
    out.print("The data folders are yours: remove the user there too. Until then, runs leave those rows out.")
