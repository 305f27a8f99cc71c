"""Turns ordered rows and LightGBM's parameters into the text of a model: alone, or in step with others that hold other rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightgbm
import polars as pl

from contracts.seeds import seeds_of
from ranking.frames import floats, integers, matrix, run_lengths
from ranking.split import SLATE

START = "_start"
"""Log-odds that the trees of a binary lesson start from."""

_WAIT_MINUTES = 2  # for the other portions to answer
_ADDRESSES = re.compile(r"^\[(machines|local_listen_port): .*\]$", re.MULTILINE)
_ABOUT, _HELD_OUT = "lesson.json", "held_out.parquet"


@dataclass(frozen=True)
class Place:
    """Where one of several portions learns.

    Attributes:
        machines: `host:port` of every portion, in their order.
        rank: of this one.
    """

    machines: Sequence[str]
    rank: int


@dataclass(frozen=True)
class Fitted:
    """A model that was learned.

    Attributes:
        text: of the rounds that are kept.
        rounds: how many those are.
        validation: metrics of the held-out rows after them; none where there are no such rows.
        portions: how many learned it together.
    """

    text: str
    rounds: int
    validation: Mapping[str, float]
    portions: int = 1


@dataclass(frozen=True)
class Lesson:
    """All that decides a model.

    Attributes:
        rows: user_id, at, slot, clicked, the features, and START where the objective is binary; slates in a row.
        held_out: the same columns, to stop by.
        features: in the order the model shall know them.
        parameters: LightGBM's.
        rounds: at most.
        patience: rounds without a better metric before stopping; at least as many are kept.
    """

    rows: pl.DataFrame
    held_out: pl.DataFrame
    features: tuple[str, ...]
    parameters: Mapping[str, Any]
    rounds: int
    patience: int

    def portions(self, count: int) -> list[Lesson]:
        """The lesson with a part of the rows each, whole users by a hash of their id, all with the same held-out rows.

        So all see the same metrics of the same trees, and stop together.
        """
        users = self.rows.select("user_id").unique(maintain_order=True)
        hashes = seeds_of(0, "portion", users["user_id"].cast(pl.String)) % count
        dealt = self.rows.join(users.with_columns(_portion=hashes), on="user_id", how="left", maintain_order="left")
        parts = (dealt.filter(pl.col("_portion") == number).drop("_portion") for number in range(count))
        return [replace(self, rows=rows) for rows in parts]

    def save(self, folder: Path) -> None:
        """Writes all but the rows into `folder`, which is there."""
        about = {name: getattr(self, name) for name in ("features", "parameters", "rounds", "patience")}
        (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        self.held_out.write_parquet(folder / _HELD_OUT)

    def save_rows(self, path: Path) -> None:
        """Writes the rows."""
        self.rows.write_parquet(path)

    @classmethod
    def load(cls, folder: Path, rows: Path) -> Lesson:
        """Reads what `save` and `save_rows` wrote."""
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        features = tuple(about.pop("features"))
        return cls(pl.read_parquet(rows), pl.read_parquet(folder / _HELD_OUT), features, **about)


def fit(lesson: Lesson, place: Place | None = None) -> Fitted:
    """The model of a lesson; with a place, the one that all portions of it agree on, each from another process.

    Several learn one tree after another by LightGBM's data-parallel learner: sums of gradients over the rows of a leaf are
    added up over all portions, so the trees are those of all rows but for three things. Bins are cut where a portion that
    is asked for a feature saw its values; sums are rounded in another order; and each portion learns the biases of the slots
    from its own rows. The same portions in the same order give the same bytes, wherever they are.

    Args:
        lesson: a whole one, or one of `portions`.
        place: of the portion; the call waits for the others, for minutes at most.

    Raises:
        lightgbm.basic.LightGBMError: LightGBM refuses the parameters, or another portion is not there.
    """
    parameters = {**lesson.parameters, **(_network(place) if place else {})}
    ranking = parameters["objective"] == "lambdarank"

    def dataset(rows: pl.DataFrame, reference: lightgbm.Dataset | None) -> lightgbm.Dataset:
        return lightgbm.Dataset(
            matrix(rows, lesson.features),
            label=floats(rows, "clicked"),
            group=run_lengths(rows, SLATE) if ranking else None,
            position=integers(rows, "slot") if ranking and reference is None else None,
            init_score=None if ranking else floats(rows, START),
            feature_name=list(lesson.features),
            params=parameters,
            reference=reference,
        )

    train = dataset(lesson.rows, None)
    if place is None:
        train.construct()  # so that its numbers are kept in bins alone; portions agree on the bins once they are connected
    history: dict[str, dict[str, list[float]]] = {}
    stop: list[Callable[..., Any]] = [
        lightgbm.early_stopping(lesson.patience, verbose=False),
        lightgbm.record_evaluation(history),
    ]
    judged = not lesson.held_out.is_empty()
    booster = lightgbm.train(
        parameters,
        train,
        num_boost_round=lesson.rounds,
        valid_sets=[dataset(lesson.held_out, train)] if judged else None,
        valid_names=["validation"] if judged else None,
        callbacks=stop if judged else None,
        keep_training_booster=judged,  # or the rounds after the best one are dropped here already
    )
    rounds = booster.current_iteration()
    if judged:
        rounds = max(booster.best_iteration, min(lesson.patience, rounds))
    return Fitted(
        text=_ADDRESSES.sub(r"[\1: ]", booster.model_to_string(num_iteration=rounds))
        if place
        else booster.model_to_string(num_iteration=rounds),
        rounds=rounds,
        validation={name: float(values[rounds - 1]) for name, values in history.get("validation", {}).items()},
        portions=len(place.machines) if place else 1,
    )


def _network(place: Place) -> dict[str, Any]:
    return {
        "machines": ",".join(place.machines),
        "num_machines": len(place.machines),
        "local_listen_port": int(place.machines[place.rank].rpartition(":")[2]),
        "time_out": _WAIT_MINUTES,
        "tree_learner": "data",
        "pre_partition": True,
    }
