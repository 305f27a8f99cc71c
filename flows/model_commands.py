"""Turns `adloom models ...` and `adloom explain-score` into what is learned, what is in use, and why a score is what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.table import Table

from contracts.settings import load_settings
from flows.bring_data import data_folder
from flows.console import Config, Json, Models, app, out
from flows.job import MODELS, RUNS, Job

models_app = App(name="models", help="What is learned, and what is in use.")
app.command(models_app)

Kind = Literal["space", "generator", "student", "gan", "adapter", "ranker"]


@models_app.command(name="list")
def list_models(*, models: Models = MODELS, as_json: Json = False) -> None:
    """List every version of every kind, and which is in use.

    Example: adloom models list
    """
    from flows.list_models import list_versions  # noqa: PLC0415 - slow to import

    found = list_versions(models)
    if as_json:
        print(json.dumps([vars(one) for one in found]))
        return
    table = Table("kind", "version", "in use", "made by", "what it is")
    for one in found:
        table.add_row(one.kind, one.version, "yes" if one.in_use else "", one.made_by, one.about)
    out.print(table if found else "Nothing is learned yet: adloom run DATA.")


@models_app.command(name="use")
def use_model(kind: Kind, version: str, *, models: Models = MODELS) -> None:
    """Put a version in use; a ranker for the space it was trained in. The next run that trains a ranker compares with it.

    Example: adloom models use ranker 0f3a9c2b7d11

    Parameters
    ----------
    kind: Space, generator, student, gan, adapter or ranker.
    version: As `adloom models list` shows it; its first letters are enough.
    """
    from flows.list_models import put_in_use  # noqa: PLC0415 - slow to import

    out.print(f"{kind.capitalize()} {put_in_use(models, kind, version)} is in use.")


@models_app.command(name="compare")
def compare_models(
    new: str,
    old: str,
    data: str | None = None,
    *,
    config: Config = None,
    runs: Annotated[Path, Parameter(help="Where runs are.")] = RUNS,
    models: Models = MODELS,
    as_json: Json = False,
) -> None:
    """Compare two rankers on the last days of a data folder, with paired intervals.

    Example: adloom models compare 0f3a9c2b7d11 77ab01ce9a02 data/shop

    Parameters
    ----------
    new: Version of a ranker.
    old: Version of another.
    data: The data folder, or its URL, whose run is finished up to features; the shipped sample when left out.
    """
    from flows.list_models import compare_versions  # noqa: PLC0415 - slow to import

    found = compare_versions(Job(data_folder(data, runs), load_settings(config), runs, models), new, old)
    if as_json:
        print(json.dumps(found.as_json()))
        return
    table = Table("", new, old, "difference", "95 % interval")
    for name, one in (("NDCG, more is better", found.ndcg), ("log loss, less is better", found.log_loss)):
        known = "" if one.interval is None else f"{one.interval.low:+.4f} to {one.interval.high:+.4f}"
        table.add_row(name, f"{one.new:.4f}", f"{one.old:.4f}", f"{one.difference:+.4f}", known)
    out.print(table)
    out.print(f"{found.slates:,} slates with a click, {found.impressions:,} impressions of {found.users:,} users.")
    out.print(f"{new} is worse beyond noise: {found.worse}." if found.worse else f"{new} is not worse beyond noise.")


@app.command(name="explain-score")
def explain_score(
    user_id: str,
    concept_id: str,
    data: str | None = None,
    *,
    config: Config = None,
    runs: Annotated[Path, Parameter(help="Where runs are.")] = RUNS,
    models: Models = MODELS,
    reasons: Annotated[int, Parameter(help="Reasons shown.")] = 8,
    as_json: Json = False,
) -> None:
    """Say why a user's score for a concept is what it is today, in plain words; the parts sum to the score.

    Example: adloom explain-score u00001 c003 data/shop

    Parameters
    ----------
    user_id: The id as it stands in the logs.
    concept_id: A concept that was a candidate for the user.
    data: The data folder, or its URL, whose batch has run; the shipped sample when left out.
    """
    from flows.explain_score import explain  # noqa: PLC0415 - slow to import

    found = explain(Job(data_folder(data, runs), load_settings(config), runs, models), user_id, concept_id)
    if as_json:
        print(json.dumps(found.as_json()))
        return
    out.print(
        f"{found.headline}: click chance {100 * found.click_chance:.1f} % in the first slot, "
        f"place {found.place} of {found.candidates} candidates."
    )
    table = Table("adds", "because")
    for one in found.reasons[:reasons]:
        table.add_row(f"{one.adds:+.3f}", one.words)
    rest = sum(one.adds for one in found.reasons[reasons:])
    if len(found.reasons) > reasons:
        table.add_row(f"{rest:+.3f}", f"{len(found.reasons) - reasons} more features")
    table.add_row(f"{found.base:+.3f}", "where every score starts")
    table.add_row(f"{found.score:+.3f}", "score")
    out.print(table)
