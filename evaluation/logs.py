"""Turns rows of the impression log into arrays of slates, padded to the longest one, and into importance weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import DataError

Floats = npt.NDArray[np.float64]

_OPTIONAL = {
    "propensity": (True, 1.0),
    "target_propensity": (False, 1.0),
    "predicted_chance": (False, 1.0),
    "expected_chance": (False, 1.0),
    "slot_propensity": (True, 1.0),
    "target_slot_propensity": (False, 1.0),
    "marginal_ratio": (False, np.inf),
    "expected_slate": (False, np.inf),
}  # column: whether it must be above 0, and its greatest value


@dataclass(frozen=True, slots=True)
class LoggedSlates:
    """S slates of up to K slots. Absent slots are False in `present` and 0 elsewhere.

    Attributes:
        users: (S,) number of the user who saw the slate, 0 to U-1: the cluster of every interval.
        present: (S, K) whether the slate has this slot; a slate's slots are 0, 1, ... without a gap.
        clicked: (S, K) 0 or 1.
        propensity: (S, K) chance the logging policy gave this concept here, given the earlier slots; None: not logged.
        target_propensity: (S, K) the same for the policy to be judged; None: not known.
        predicted: (S, K) the model's click chance of the logged concept; None: no model.
        expected: (S, K) the model's click chance of the target policy's choice here, given the logged earlier slots.
        left_out: slates whose slots have a gap or a double, in a log with propensities: their weights cannot be known.
            A log without any has nothing to weigh: all its slates are kept, rows of one slot in the order given.
        unlogged_rows: rows of the log that carry no propensity.
        slot_propensity, target_slot_propensity: (S, K) chance of this concept at this slot whatever the earlier ones, under
            the logging policy and the one to be judged; None: not known.
        marginal_ratio: (S, K) target / logged chance of this concept's embedding here, given the earlier slots; None: not
            known.
        expected_slate: (S,) the model's expected clicks of a whole slate of the target policy; None: not known.
    """

    users: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_]
    clicked: Floats
    propensity: Floats | None
    target_propensity: Floats | None
    predicted: Floats | None
    expected: Floats | None
    left_out: int
    unlogged_rows: int
    slot_propensity: Floats | None = None
    target_slot_propensity: Floats | None = None
    marginal_ratio: Floats | None = None
    expected_slate: Floats | None = None

    def __len__(self) -> int:
        return int(self.present.shape[0])

    @property
    def last_slot(self) -> npt.NDArray[np.int64]:
        """(S,) number of each slate's last slot."""
        return np.asarray(self.present.sum(axis=1) - 1, dtype=np.int64)

    def weights(self) -> Floats:
        """(S, K) cumulative importance weights w_k = prod_{j<=k} target / logged propensity; 0 in absent slots.

        Raises:
            DataError: the log carries no propensities, or those of the target policy are missing.
        """
        return self.cumulated(self.ratios())

    def earlier_weights(self) -> Floats:
        """(S, K) w_{k-1}, the weight of the slots before k; w_{-1} = 1; 0 in absent slots. Errors as `weights`."""
        shifted = np.concatenate([np.ones((len(self), 1)), self.weights()[:, :-1]], axis=1)
        return np.where(self.present, shifted, 0.0)

    def slate_weights(self) -> Floats:
        """(S,) weight of the whole slate: w at its last slot. Errors as `weights`."""
        return np.asarray(self.weights()[np.arange(len(self)), self.last_slot], dtype=np.float64)

    def cumulated(self, ratios: Floats) -> Floats:
        """(S, K) products of `ratios` (S, K) down each slate; 0 in absent slots."""
        return np.where(self.present, np.cumprod(np.where(self.present, ratios, 1.0), axis=1), 0.0)

    def model(self) -> tuple[Floats, Floats]:
        """`predicted` and `expected`, each (S, K). Raises DataError when there is no model."""
        if self.predicted is None or self.expected is None:
            raise DataError(
                "no click model was given",
                where="impressions, columns predicted_chance and expected_chance",
                fix="Use the on-policy mean, IPS or SNIPS.",
            )
        return self.predicted, self.expected

    def ratios(self) -> Floats:
        """(S, K) target / logged propensity of each choice, given the earlier ones; 0 in absent slots. Errors as
        `weights`."""
        if self.propensity is None:
            raise DataError(
                f"{self.unlogged_rows:,} rows carry no propensity",
                where="impressions, column propensity",
                fix="Log the chance of every choice; an off-policy value is not defined without it.",
            )
        if self.target_propensity is None:
            raise DataError(
                "the target policy's chances are missing",
                where="impressions, column target_propensity",
                fix="Give the chance of every logged choice under the policy to be judged.",
            )
        return self.target_propensity / np.where(self.present, self.propensity, 1.0)


def logged_slates(impressions: pl.DataFrame) -> LoggedSlates:
    """Slates of a log: rows that share (user_id, at), in order of slot.

    Args:
        impressions: user_id, at, slot, clicked; optional, and taken as missing when any value is null: propensity,
            target_propensity, predicted_chance, expected_chance, slot_propensity, target_slot_propensity,
            marginal_ratio, expected_slate (of which a slate's first row counts). The order of rows does not matter.
            Where no moment has more than one row, each row is a slate of its own, whatever its slot.

    Raises:
        DataError: no rows, a column is missing, a propensity is 0 or above 1, or another chance is outside 0 to 1.
    """
    needed = ["user_id", "at", "slot", "clicked"]
    missing = [name for name in needed if name not in impressions.columns]
    if missing:
        raise DataError(f"no column {', '.join(missing)}", where="impressions", fix=f"Give {', '.join(needed)}.")
    if impressions.is_empty():
        raise DataError("no rows", where="impressions", fix="Give at least one slate.")
    held = [name for name in _OPTIONAL if name in impressions.columns]
    rows = impressions.select(*needed, *held).sort("user_id", "at", "slot", maintain_order=True)
    rows = rows.with_columns(
        slate=pl.struct("user_id", "at").rle_id(), user=pl.col("user_id").rle_id(), place=pl.lit(0, pl.Int64)
    ).with_columns(place=pl.int_range(pl.len(), dtype=pl.Int64).over("slate"))
    weighable = "propensity" in held and rows["propensity"].null_count() < rows.height
    single = rows["slate"].n_unique() == rows.height
    whole = weighable and not single
    kept = rows.filter((pl.col("slot") == pl.col("place")).all().over("slate")) if whole else rows
    if kept.is_empty():
        raise DataError("every slate has a gap or a double slot", where="impressions, column slot", fix="Count from 0.")
    slate = kept["slate"].rle_id().to_numpy().astype(np.int64)
    place = kept["place"].to_numpy()
    shape = (int(slate[-1]) + 1, int(place.max()) + 1)

    def spread(name: str) -> Floats | None:
        if name not in held or kept[name].null_count():
            return None
        values = _in_range(name, kept[name].to_numpy().astype(np.float64))
        table = np.zeros(shape)
        table[slate, place] = values
        return table

    present = np.zeros(shape, dtype=np.bool_)
    present[slate, place] = True
    clicked = np.zeros(shape)
    clicked[slate, place] = kept["clicked"].to_numpy().astype(np.float64)
    ahead = spread("expected_slate")
    users = np.zeros(shape[0], dtype=np.int64)
    users[slate] = kept["user"].rle_id().to_numpy()
    return LoggedSlates(
        users=users,
        present=present,
        clicked=clicked,
        propensity=spread("propensity"),
        target_propensity=spread("target_propensity"),
        predicted=spread("predicted_chance"),
        expected=spread("expected_chance"),
        left_out=rows["slate"].n_unique() - shape[0],
        unlogged_rows=kept["propensity"].null_count() if "propensity" in held else kept.height,
        slot_propensity=spread("slot_propensity"),
        target_slot_propensity=spread("target_slot_propensity"),
        marginal_ratio=spread("marginal_ratio"),
        expected_slate=None if ahead is None else ahead[:, 0],
    )


def _in_range(name: str, values: Floats) -> Floats:
    """The values, when they can be; a chance rounded to just above 1 is forgiven."""
    positive, top = _OPTIONAL[name]
    wrong = ~np.isfinite(values) | (values > top + 1e-9) | ((values <= 0) if positive else (values < 0))
    if wrong.any():
        allowed = f"{'(' if positive else '['}0, {'1]' if top == 1 else 'infinity)'}"
        raise DataError(
            f"{int(wrong.sum()):,} values not in {allowed}, such as {values[wrong][0]:g}",
            where=f"impressions, column {name}",
            fix="A chance that was never possible, or above certain, cannot be reweighted: mend the log.",
        )
    return np.minimum(values, top)
