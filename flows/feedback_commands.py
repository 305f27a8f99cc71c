"""Turns what reviewers decided into exports, a better generator, new drawings and figures of trust: four commands and one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from contracts.decisions import Reason
from contracts.errors import SettingsError
from contracts.settings import load_settings
from flows.console import Config, Json, app, out
from flows.job import job_of
from flows.show_progress import Bar

Database = Annotated[str | None, Parameter(help="URL of the decisions; review.db beside the runs when left out.")]


@app.command
def export(
    run: Path,
    archive: Path,
    *,
    config: Config = None,
    database: Database = None,
    leave_out_stale: Annotated[
        bool, Parameter(negative="", help="Leave out what is stale instead of refusing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the approved creatives of a run as a ZIP with sheets for Google Ads, Display & Video 360 and Meta.

    Example: adloom export data/runs/shop-1a2b3c4d shop.zip

    Parameters
    ----------
    run: The folder of a reviewed run.
    archive: The ZIP to write.
    """
    from flows import export_creatives  # noqa: PLC0415 - slow to import
    from flows.open_reviews import open_log  # noqa: PLC0415 - slow to import

    settings = load_settings(config).export if config is not None else None
    with open_log(run, database) as log:
        found = export_creatives.export(job_of(run), log, archive, settings=settings, leave_out_stale=leave_out_stale)
    if as_json:
        left_out = [vars(one) for one in found.left_out]
        print(json.dumps({"archive": str(found.path), "creatives": found.creatives, "files": found.files, "left_out": left_out}))  # fmt: skip
        return
    out.print(f"{found.path}: {found.creatives} creatives in {found.files} files, with a manifest and four sheets.")
    for one in found.left_out:
        out.print(f"left out  {one.creative_id}: {one.why}", markup=False)


@app.command
def learn(
    run: Path, *, config: Config = None, database: Database = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Learn from the decisions on a run: a new version of the generator that draws more of what is approved, as varied as before.

    Example: adloom learn data/runs/shop-1a2b3c4d

    Parameters
    ----------
    run: The folder of a reviewed run.
    """
    from flows import learn_reviews  # noqa: PLC0415 - slow to import
    from flows.open_reviews import open_log  # noqa: PLC0415 - slow to import

    job = job_of(run)
    if config is not None:
        job = job.with_learning(load_settings(config).learning)
    with open_log(run, database) as log, Bar() as bar:
        found = learn_reviews.learn(job, log.table(), bar.tell)
    if as_json:
        print(json.dumps(found.as_json()))
        return
    out.print(
        f"Generator {found.version} is in use: learned from {found.decisions} decisions and {found.preferences} preferences"
        + (f"; {found.stale} were left out, their files are gone or have changed" if found.stale else "")
        + "."
    )
    out.print(
        f"Expected approval {found.approval_before:.1%} -> {found.approval:.1%}; diversity {found.diversity:.1%} of before "
        f"({found.diversity_held_out:.1%} on looks it was not fitted to); moved {found.kl:.2f} nats; AUC {found.auc:.2f}."
    )
    table = Table("reviewers approve", "log-odds per standard deviation", "95 % interval")
    for name, weight, low, high in found.likes:
        table.add_row(name.replace("_", " "), f"{weight:+.2f}", f"{low:+.2f} to {high:+.2f}")
    out.print(table)
    out.print(f"Draw with it: adloom run {job.data}. Go back: adloom models use generator {found.went_from}")


@app.command
def redraw(
    run: Path,
    creative_id: str | None = None,
    *,
    reason: Annotated[tuple[Reason, ...], Parameter(help="Why; may be given more than once.", negative="")] = (),
    by: Annotated[str, Parameter(help="Who asks.")] = "command line",
    job: Annotated[str | None, Parameter(help="A redraw that was asked for already, instead of a creative.")] = None,
    as_json: Json = False,
) -> None:
    """Draw a creative again, with what the reasons change; the old one stays.

    Example: adloom redraw data/runs/shop-1a2b3c4d shoe-1-0f3a9c2b --reason too_dark

    Parameters
    ----------
    run: The folder of a run.
    creative_id: What to draw again.
    """
    from flows import ask_redraw, redraw_creatives  # noqa: PLC0415 - slow to import

    if (creative_id is None) == (job is None):
        raise SettingsError("give a creative, or --job", where="adloom redraw", fix="See: adloom redraw --help")
    if creative_id is not None:
        job = ask_redraw.request(run, creative_id, reason, by).job_id
    assert job is not None
    done = redraw_creatives.redraw(run, job)
    if as_json:
        print(json.dumps({"job": done.job_id, "made": list(done.made)}))
        return
    out.print(f"{len(done.made)} new candidates for {done.creative_id}: {', '.join(done.made)}", markup=False)


@app.command
def trust(run: Path, *, database: Database = None, as_json: Json = False) -> None:
    """Say how far reviewers agree with themselves and with each other.

    Example: adloom trust data/runs/shop-1a2b3c4d

    Parameters
    ----------
    run: The folder of a reviewed run.
    """
    from flows.open_reviews import open_log  # noqa: PLC0415 - slow to import
    from review.trust import trust_of  # noqa: PLC0415 - slow to import

    with open_log(run, database) as log:
        found = trust_of(log.table(run.resolve().name))
    if as_json:
        print(json.dumps(found.as_json()))
        return
    rates = {name: (count, share) for name, count, share in found.rates}
    table = Table("reviewer", "decisions", "approved", "shown again", "said the same", "95 % interval")
    for one in found.repeats:
        count, share = rates[one.reviewer]
        again = (f"{one.share:.0%}", f"{one.low:.0%} to {one.high:.0%}") if one.repeats else ("", "")
        table.add_row(one.reviewer, str(count), f"{share:.0%}", str(one.repeats), *again)
    out.print(table)
    for pair in found.pairs:
        kappa = pair.agreement
        out.print(f"{pair.first} and {pair.second}: Cohen's kappa {kappa.kappa:.2f} ({kappa.low:.2f} to {kappa.high:.2f}) on {kappa.items} pictures.")  # fmt: skip
    if found.all.items:
        out.print(f"All: Fleiss' kappa {found.all.kappa:.2f} ({found.all.low:.2f} to {found.all.high:.2f}) on {found.all.items} pictures.")  # fmt: skip


@app.command(name="auto-approve")
def auto_approve(
    run: Path,
    *,
    config: Config = None,
    database: Database = None,
    record: Annotated[
        bool, Parameter(negative="", help="Write the approvals down; else only say what would be.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Approve without a person where past decisions bound the error; off unless approval.most_error is set.

    Example: adloom auto-approve data/runs/shop-1a2b3c4d --config configs/shop.toml --record

    Parameters
    ----------
    run: The folder of a run.
    """
    from flows import approve_unseen  # noqa: PLC0415 - slow to import
    from flows.open_reviews import open_log  # noqa: PLC0415 - slow to import

    job = job_of(run)
    settings = load_settings(config).approval if config is not None else job.settings.approval
    with open_log(run, database) as log:
        found = approve_unseen.approve_unseen(job, log, settings, record=record)
    if as_json:
        said = [
            {"creative_id": one.creative_id, "to_people": one.to_people, "comment": one.comment}
            for one in found.approvals
        ]
        print(json.dumps({"recorded": found.recorded, "approvals": said}))
        return
    table = Table("topic", "generator", "checks", "decided", "rejected", "at most", "passes")
    for tier in found.tiers:
        kind = tier.stratum
        table.add_row(kind.topic, kind.generator, kind.checks or "passed", str(tier.decided), str(tier.rejected), f"{tier.bound:.2%}", "yes" if tier.passes else "")  # fmt: skip
    out.print(table)
    seen = sum(one.to_people for one in found.approvals)
    verb = "are approved" if record else "would be approved (--record writes it down)"
    out.print(f"{len(found.approvals) - seen} creatives {verb}; {seen} more pass and are left to people all the same.")
