"""Turns `adloom schedule` into nights: the batch, started by a cron line until Ctrl-C."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from contracts.errors import SettingsError
from contracts.settings import load_settings, with_renders
from flows.bring_data import data_folder
from flows.console import Cluster, Config, Models, app, out
from flows.job import MODELS, RUNS
from flows.reach_prefect import named_server, quieten_prefect, reachable_server
from flows.spread_work import check_cluster
from sources.far_storage import holds_secret, is_url, shown
from sources.inventory import locate


@app.command
def schedule(
    data: str | None = None,
    *,
    cron: Annotated[str, Parameter(help='When, as a cron line: "0 3 * * *" is every night at three.')],
    timezone: Annotated[str, Parameter(help="Time zone of the cron line.")] = "UTC",
    config: Config = None,
    out_dir: Annotated[Path, Parameter(name="--out", help="Where runs go.")] = RUNS,
    models: Models = MODELS,
    renders: Annotated[int | None, Parameter(help="Personal pictures at most; overrides the settings.")] = None,
    cluster: Cluster = "",
    name: Annotated[str, Parameter(help="Of the deployment; one for each data folder.")] = "nightly",
) -> None:
    """Run the batch on a schedule, until Ctrl-C; a night that is due while another runs waits for its end.

    The Prefect server that PREFECT_API_URL names keeps the schedule; without one, a server of its own, beside the runs.

    Example: adloom schedule data/shop --cron "0 3 * * *" --timezone Europe/Berlin

    Parameters
    ----------
    data: The data folder, or its URL, read as it is when a night begins; the shipped sample when left out.
    """
    with_renders(load_settings(config), renders)
    check_cluster(cluster)
    if data and is_url(data) and holds_secret(data):
        fix = "Put keys into the environment, see docs/sources.md."
        raise SettingsError("carries a secret, which the schedule would keep", where=shown(data), fix=fix)
    where = data_folder(data, out_dir)
    locate(where)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    quieten_prefect(out_dir)
    named_server()
    from flows.serve_batch import nightly_schedule, serve_nights  # noqa: PLC0415 - slow to import

    when = nightly_schedule(cron, timezone)
    parameters = {
        "data": data if data and is_url(data) else str(where.resolve()),
        "config": str(config.resolve()) if config else None,
        "out": str(out_dir.resolve()),
        "models": str(models.resolve()),
        "renders": renders,
        "cluster": cluster,
    }
    with reachable_server(out_dir) as url:
        out.print(f"Schedule  adloom/{name}: {cron} {timezone}  (Ctrl-C stops it)")
        out.print(f"Server    {url.removesuffix('/api')}")
        out.print(f"Now       PREFECT_API_URL={url} prefect deployment run adloom/{name}")
        serve_nights(name, when, parameters, url)
