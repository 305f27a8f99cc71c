"""Turns commands on real experiments into reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from contracts.errors import SettingsError
from contracts.settings import load_settings, parse_settings
from flows.console import Config, Json, app, out


@app.command
def abtest(
    table: Path | None = None,
    *,
    control: Annotated[str | None, Parameter(help="The arm that others are compared with.")] = None,
    outcome: Annotated[
        list[str] | None, Parameter(negative="", help="Column, or clicks/impressions; first decides.")
    ] = None,
    covariate: Annotated[list[str] | None, Parameter(negative="", help="Column known before assignment.")] = None,
    segment: Annotated[
        list[str] | None, Parameter(negative="", help="Column to look for different effects in.")
    ] = None,
    guardrail: Annotated[list[str] | None, Parameter(negative="", help="OUTCOME=MARGIN, such as spend=0.02.")] = None,
    user: Annotated[str | None, Parameter(help="Column of the user.")] = None,
    arm: Annotated[str | None, Parameter(help="Column of the arm.")] = None,
    assigned_at: Annotated[str | None, Parameter(help="Column of the time of assignment.")] = None,
    at: Annotated[str | None, Parameter(help="Column of the time of the outcomes.")] = None,
    planned_users: Annotated[int | None, Parameter(help="Users at which the decision was planned.")] = None,
    creatives: Annotated[Path | None, Parameter(help="Impressions, or creatives with clicks and impressions.")] = None,
    element: Annotated[list[str] | None, Parameter(negative="", help="Column of what a creative is made of.")] = None,
    config: Config = None,
    out_dir: Annotated[Path, Parameter(name="--out", help="Where the report goes.")] = Path("abtest"),
    as_json: Json = False,
) -> None:
    """Analyse a real experiment, creative by creative too: ship, hold, or the data cannot say.

    Example: adloom abtest users.csv --control none --outcome clicked --covariate clicks_before

    Parameters
    ----------
    table: One row a user, or a user's outcomes at a time: Parquet, CSV, TSV or NDJSON.
    """
    if table is None and creatives is None:
        fix = "See: adloom abtest --help"
        raise SettingsError("give a table of users, --creatives, or both", where="adloom abtest", fix=fix)
    settings = load_settings(config)
    given: dict[str, Any] = {
        "control": control, "outcomes": outcome, "covariates": covariate, "segments": segment, "user": user, "arm": arm,
        "assigned_at": assigned_at, "at": at, "planned_users": planned_users,
        "guardrails": None if guardrail is None else dict(map(_margin, guardrail)),
    }  # fmt: skip
    named = {name: value for name, value in given.items() if value is not None}
    whole = settings.model_dump() | {"experiment": settings.experiment.model_dump() | named}
    plan = parse_settings(whole, where="adloom abtest").experiment
    from flows.analyse_experiment import analyse  # noqa: PLC0415 - slow to import

    report = analyse(table, plan, out_dir, seed=settings.seed, creatives=creatives, elements=element or [])
    if as_json:
        print(json.dumps(report))
        return
    if report["verdict"] is not None:
        out.print(report["verdict"]["sentence"])
        for finding in report["table"]["findings"]:
            out.print(f"note: {finding['column']}: {finding['check']}, {finding['count']:,} {finding['unit']}")
    if "sentence" in report["creatives"].get("elements", {}):
        out.print(report["creatives"]["elements"]["sentence"])
    out.print(f"Page {out_dir / 'abtest.html'}")


def _margin(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    try:
        return name, float(number)
    except ValueError:
        fix = "Write OUTCOME=MARGIN, such as spend=0.02."
        raise SettingsError(f"{text!r} is no guardrail", where="--guardrail", fix=fix) from None
