"""Turns commands on the frozen space into what it makes of a log, and of one user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from contracts.settings import load_settings
from flows.bring_data import data_folder
from flows.console import Config, Json, Models, Runs, app, out
from flows.job import MODELS, RUNS, Job

_STANDINGS = {"own": "", "guest": "placed by co-visits", "topics": "placed by its topics"}


@app.command
def drift(
    data: str | None = None,
    *,
    config: Config = None,
    runs: Runs = RUNS,
    models: Models = MODELS,
    as_json: Json = False,
) -> int:
    """Say how well the space in use still explains a data folder, day by day; exit 1 when it should be refitted.

    Example: adloom drift data/shop

    Parameters
    ----------
    data: The data folder, or its URL; the shipped sample when left out.
    """
    from flows.measure_drift import measure_drift  # noqa: PLC0415 - slow to import

    told = measure_drift(Job(data_folder(data, runs), load_settings(config), runs, models))
    if as_json:
        print(json.dumps(told))
        return int(told["advice"] != "keep")
    table = Table()
    table.add_column("day", no_wrap=True)
    for name in ("events", "explained", "users", "explained", "items", "explained", "mean moved"):
        table.add_column(name, justify="right")
    for row in told["days"]:
        cells = [f"{row['events']:,}", f"{row['events_explained']:.1%}", f"{row['users']:,}", f"{row['users_explained']:.1%}",
                 f"{row['items']:,}", f"{row['items_explained']:.1%}", _number(row["mean_shift"])]  # fmt: skip
        table.add_row(row["day"], *cells)
    out.print(table)
    out.print(
        f"Space {told['version']}, last {told['recent_days']} days: {told['events_explained']:.1%} of events, "
        f"{told['users_explained']:.1%} of users, {told['items_explained']:.1%} of items explained; "
        f"co-visits spanned, over a refit's: {_number(told['spectrum_kept'])}; "
        f"mean moved: {_number(told['mean_shift'])} standard deviations."
    )
    if told["advice"] == "keep":
        out.print("Keep it.")
        return 0
    out.print(f"Refit: {'; '.join(told['reasons'])}. Next: adloom train space {data or ''}".rstrip())
    return 1


@app.command
def explain(
    user_id: str,
    data: str | None = None,
    *,
    config: Config = None,
    runs: Annotated[Path, Parameter(help="Where runs are.")] = RUNS,
    models: Models = MODELS,
    key_file: Annotated[Path | None, Parameter(help="Key of the pseudonyms.")] = None,
    top: Annotated[int, Parameter(help="Events listed for each interest.")] = 5,
    as_json: Json = False,
) -> None:
    """Say which events made which interest of a user, and the embedding, as of the last batch.

    Example: adloom explain customer-4711 data/shop

    Parameters
    ----------
    user_id: The id as it stands in the logs, or its pseudonym.
    data: The data folder, or its URL, whose batch must have run; the shipped sample when left out.
    """
    from flows.explain_user import explain_user  # noqa: PLC0415 - slow to import

    told = explain_user(Job(data_folder(data, runs), load_settings(config), runs, models), user_id, key_file, top=top)
    if as_json:
        print(json.dumps(told))
        return
    concepts = ", ".join(told["slate"]["concepts"])
    if not told["events"]:
        out.print(
            "No event of this user may be used (new, without consent, erased, or misspelt): no interests, no embedding; "
            f"the slate of everyone: {concepts}."
        )
        return
    out.print(f"{told['user_id']}: {told['events']:,} events as of {told['as_of'][:16]}.")
    for interest in told["interests"]:
        out.print(_contributions(f"{interest['topic']}: {interest['weight']:.1%} of the interest", interest))
    if told["embedding"]:
        out.print(_contributions("The embedding; pull: along its direction", told["embedding"]))
    out.print(f"Slate ({'personal' if told['slate']['personal'] else 'that of everyone'}): {concepts}.")


def _contributions(title: str, found: dict[str, Any]) -> Table:
    with_pull = "pull" in found["top"][0]
    table = Table(
        "share", *(["pull"] if with_pull else []), "when", "action", "item", title=title, title_justify="left"
    )
    for row in found["top"]:
        stands = _STANDINGS.get(row.get("standing", ""), "")
        item = f"{row['item_id']} ({stands})" if stands else row["item_id"]
        pull = [_number(row["pull"])] if with_pull else []
        table.add_row(f"{row['share']:.1%}", *pull, row["at"][:16].replace("T", " "), row["action"], item)
    left = found["events"] - len(found["top"])
    if left:
        table.add_row(f"{found['rest']:.1%}", *([""] if with_pull else []), "", "", f"{left:,} more")
    return table


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
