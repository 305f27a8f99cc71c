"""Turns `adloom train ...` into learned models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.table import Table

from contracts.errors import SettingsError
from contracts.settings import load_settings
from flows.bring_data import data_folder
from flows.console import Config, Json, Models, Runs, app, out
from flows.job import MODELS, RUNS, Job
from flows.show_progress import Bar

train = App(name="train", help="Learn a model.")
app.command(train)


@train.command(name="generator")
def train_generator(
    data: str | None = None,
    *,
    config: Config = None,
    runs: Runs = RUNS,
    models: Models = MODELS,
    steps: Annotated[int, Parameter(help="Optimiser steps of the flow.")] = 2400,
    rows: Annotated[int, Parameter(help="Impressions per step.")] = 16,
    learning_rate: Annotated[float, Parameter(help="Of the flow, at its height.")] = 8e-4,
    codec_steps: Annotated[
        int, Parameter(help="Steps that the known codec learns from these pictures first; 0: it stays as it is.")
    ] = 0,
    from_scratch: Annotated[bool, Parameter(negative="", help="Do not start from known weights.")] = False,
    device: Annotated[Literal["auto", "cpu", "cuda"], Parameter(help="Where to train.")] = "auto",
) -> None:
    """Train the generator on all logged pictures; the same command resumes a stopped training.

    Example: adloom train generator data/world --steps 4000

    Parameters
    ----------
    data: The data folder, or its URL; the shipped sample when left out.
    """
    from flows.train_generator import curriculum_of  # noqa: PLC0415 - slow to import
    from flows.train_models import learn_generator  # noqa: PLC0415 - slow to import

    settings = load_settings(config)
    if codec_steps < 0:
        raise SettingsError("must be 0 or more", where="--codec-steps", fix="Give the number of optimiser steps.")
    chosen = curriculum_of(
        steps=steps, seed=settings.seed, device=device, codec_again=codec_steps, rows=rows, learning_rate=learning_rate
    )
    job = Job(data_folder(data, runs), settings, runs, models)
    with Bar() as bar:
        version = learn_generator(job, chosen, from_scratch=from_scratch, tell=bar.tell)
    out.print(f"Generator {version} is in use.")


@dataclass(frozen=True)
class Pace:
    """How a student is taught.

    Attributes:
        steps: Optimiser steps.
        rows: Scenes per step.
        learning_rate: At its height.
        device: Where to train.
    """

    steps: int = 800
    rows: int = 16
    learning_rate: float = 2e-4
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class GamePace(Pace):
    """How a GAN is taught.

    Attributes:
        steps: Optimiser steps.
        learning_rate: Of the painter, at its height; its discriminator's is twenty times that.
    """

    steps: int = 2800
    learning_rate: float = 5e-5


@train.command(name="student")
def train_student(
    data: str | None = None,
    *,
    config: Config = None,
    runs: Runs = RUNS,
    models: Models = MODELS,
    pace: Annotated[Pace, Parameter(name="*")] = Pace(),
    decoder_steps: Annotated[int, Parameter(help="Optimiser steps of its slim decoder, which is taught first.")] = 3000,
) -> None:
    """Teach a student of the generator in use to paint in 1, 2 or 4 steps; the same command resumes a stopped training.

    Example: adloom train student data/world --steps 2000

    Parameters
    ----------
    data: The data folder, or its URL; the shipped sample when left out.
    """
    if decoder_steps < 1:
        raise SettingsError("must be 1 or more", where="--decoder-steps", fix="Give the number of optimiser steps.")
    _short_cut("student", Job(data_folder(data, runs), load_settings(config), runs, models), pace, decoder_steps)


@train.command(name="gan")
def train_gan(
    data: str | None = None,
    *,
    config: Config = None,
    runs: Runs = RUNS,
    models: Models = MODELS,
    pace: Annotated[GamePace, Parameter(name="*")] = GamePace(),
) -> None:
    """Turn the generator in use into a GAN, which paints in one step; the same command resumes a stopped training.

    Example: adloom train gan data/world --steps 2000

    Parameters
    ----------
    data: The data folder, or its URL; the shipped sample when left out.
    """
    _short_cut("gan", Job(data_folder(data, runs), load_settings(config), runs, models), pace)


def _short_cut(kind: Literal["student", "gan"], job: Job, pace: Pace, decoder_steps: int = 1) -> None:
    """Trains a student or a GAN and says which version is in use."""
    from flows.train_models import learn_short_cut  # noqa: PLC0415 - slow to import
    from generators.training.few_steps import GAN, STUDENT  # noqa: PLC0415 - slow to import
    from generators.training.shorten import schedule_of  # noqa: PLC0415 - slow to import

    game = {"student": STUDENT, "gan": GAN}[kind]
    schedule = schedule_of(game, **asdict(pace), seed=job.settings.seed)
    with Bar() as bar:
        version = learn_short_cut(job, game, schedule, tell=bar.tell, decoder_steps=decoder_steps)
    out.print(f'{kind.capitalize()} {version} is in use; draw with it: generators.way = "{kind}".', markup=False)


@train.command(name="adapter")
def train_adapter(
    data: str | None = None,
    *,
    config: Config = None,
    runs: Runs = RUNS,
    models: Models = MODELS,
    steps: Annotated[int, Parameter(help="Optimiser steps of the users' lesson.")] = 2000,
    rows: Annotated[int, Parameter(help="Impressions per step.")] = 8,
    accumulate: Annotated[int, Parameter(help="Batches whose gradients make one step.")] = 1,
    learning_rate: Annotated[float, Parameter(help="At its height.")] = 1e-4,
    advertiser: Annotated[
        list[str] | None, Parameter(help="Learn a style of this advertiser; may be repeated.")
    ] = None,
    style_steps: Annotated[int, Parameter(help="Optimiser steps of each style.")] = 400,
    spare_memory: Annotated[bool, Parameter(negative="", help="Less GPU memory, a third slower.")] = False,
) -> None:
    """Teach a Stable Diffusion checkpoint who clicks what, see docs/stable-diffusion.md; resumes a stopped training.

    Example: adloom train adapter data/shop --config sd.toml --advertiser Stride

    Parameters
    ----------
    data: The data folder, or its URL; the shipped sample when left out.
    """
    from flows.train_adapter import learn_adapter  # noqa: PLC0415 - slow to import
    from generators.training.adapter_training import Course  # noqa: PLC0415 - slow to import

    settings = load_settings(config)
    course = Course(steps=steps, rows=rows, accumulate=accumulate, learning_rate=learning_rate, seed=settings.seed,
                    warmup_steps=min(100, steps // 4), spare_memory=spare_memory)  # fmt: skip
    style = replace(course, steps=style_steps, warmup_steps=min(50, style_steps // 4))
    with Bar() as bar:
        version = learn_adapter(
            Job(data_folder(data, runs), settings, runs, models), course, style, advertiser or [], bar.tell
        )
    out.print(f"Adapter {version} is in use.")


@train.command(name="space")
def train_space(
    data: str | None = None,
    *,
    kind: Annotated[
        Literal["covisits", "text"] | None,
        Parameter(name="--from", help="What to fit it on; overrides the settings. text needs adloom[text]."),
    ] = None,
    config: Config = None,
    runs: Runs = RUNS,
    models: Models = MODELS,
    as_json: Json = False,
) -> None:
    """Fit a new frozen space, aligned to the one in use, and say what that broke; generators must be trained for it.

    Example: adloom train space data/shop

    Parameters
    ----------
    data: The data folder, or its URL; the shipped sample when left out.
    """
    from flows.train_models import learn_space  # noqa: PLC0415 - slow to import

    settings = load_settings(config)
    if kind is not None:
        settings = settings.model_copy(update={"features": settings.features.model_copy(update={"space": kind})})
    told = learn_space(Job(data_folder(data, runs), settings, runs, models))
    if as_json:
        print(json.dumps(told))
        return
    for line in refit_lines(told):
        out.print(line)


@train.command(name="ranker")
def train_ranker(
    data: str | None = None,
    *,
    config: Config = None,
    runs: Runs = RUNS,
    models: Models = MODELS,
    tune: Annotated[bool, Parameter(negative="", help="Look for better settings first.")] = False,
    trials: Annotated[int, Parameter(help="Settings tried, those of an earlier call included.")] = 40,
) -> None:
    """Train a ranker; it comes into use unless it is worse than the one in use. The same command resumes a search.

    Example: adloom train ranker data/shop --tune --trials 60

    Parameters
    ----------
    data: The data folder, or its URL; the shipped sample when left out.
    """
    from flows.train_ranker import train_ranker as learn  # noqa: PLC0415 - slow to import
    from ranking.tuning import Trial, as_toml, best  # noqa: PLC0415 - slow to import

    if tune and trials < 1:
        raise SettingsError("must be 1 or more", where="--trials", fix="Give the number of settings to try.")
    job = Job(data_folder(data, runs), load_settings(config), runs, models)
    with Bar() as bar:

        def told(trial: Trial, top: Trial, total: int) -> None:
            bar.tell(f"tuning, best NDCG {top.ndcg:.4f}", trial.number + 1, total)

        found = learn(job, trials=trials if tune else 0, stage_told=lambda name: out.print(f"{name} ..."), tell=told)
    if found.trials:
        top = best(found.trials)
        table = Table("trial", "NDCG", "trees", *top.settings)
        for trial in sorted(found.trials, key=lambda one: -one.ndcg):
            mark = " (as set)" if trial.number == 0 else ""
            table.add_row(
                f"{trial.number}{mark}", f"{trial.ndcg:.4f}", str(trial.rounds), *map(str, trial.settings.values())
            )
        out.print(table)
        out.print(f"The best, to paste into your settings (also in {found.settings_file}):")
        out.print(as_toml(top), markup=False)
    out.print(f"Ranker {found.choice.sentence}.")


def refit_lines(told: dict[str, Any]) -> Iterator[str]:
    """What a refit of the space did, for a person."""
    yield f"Space {told['version']} is in use: {told['items']:,} items in {told['dimensions']} dimensions, from {told['kind']}."
    if told["from"] is None:
        return
    if told["same"]:
        yield "Nothing has changed: it is the space that was in use."
        return
    yield f"Against {told['from']}: {told['shared']:,} items shared, {told['gained']:,} new, {told['lost']:,} lost."
    if not told["turned"]:
        yield "Too few items are shared to turn it to where the old one stood: vectors of the two cannot be compared."
    elif told["cosine"] is not None and told["neighbours_kept"] is not None:
        yield (
            f"Turned to it: shared items keep a cosine of {told['cosine']:.2f} to their old place and "
            f"{told['neighbours_kept']:.0%} of their {told['neighbours']} nearest neighbours."
        )
        moved = [f"{row['item_id']} ({row['residual']:.2f})" for row in told["moved_most"][:5]]
        yield f"Moved most (1 - cosine): {', '.join(moved)}."
    if told["lost_items"]:
        more = f" and {told['lost'] - len(told['lost_items']):,} more" if told["lost"] > len(told["lost_items"]) else ""
        yield f"Lost: {', '.join(told['lost_items'])}{more}."
    if told["generators_that_no_longer_fit"]:
        names = ", ".join(told["generators_that_no_longer_fit"])
        yield f"Trained in {told['from']} and not used with this space: generator {names}. Next: adloom train generator"
