"""Turns a held-out log and the candidates of its moments into what model-based estimators need beside the ranker's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from scipy.special import expit

from contracts.errors import ModelError
from contracts.seeds import stream
from flows.part_users import files_of, read_parts
from ranking.frames import Floats, matrix, vectors_of
from ranking.policy import Policy
from ranking.ranker import Ranker
from ranking.reward_model import cross_fit
from ranking.rollout import rolled_out
from ranking.slates import arranged, logit

DRAWS, LEAST_DRAWS, ALL_DRAWS = 16, 2, 400_000
"""Slates drawn per logged slate for the model's value of the new policy: fewer for a long log, so that all of them are about
as many, but never under the least. Each position's chances are exact given what is drawn before it: on the shipped sample
two draws add noise of 0.009 clicks, where a slate's clicks have a standard deviation of 0.48."""
_SLATE = ["user_id", "at"]


def modelled(log: pl.DataFrame, run: Path, features: Sequence[str], *, seed: int) -> pl.DataFrame:
    """The log with expected_slate and marginal_ratio, see `evaluation.logs.logged_slates`, as far as it allows them.

    Args:
        log: ranking/tested.parquet of the run.
        run: finished up to ranking.
        features: names of the ranking features.
        seed: of the run.
    """
    replayed = run / "ranking" / "replayed.parquet"
    if not replayed.exists() or "target_propensity" not in log.columns:
        return log
    concepts = pl.read_parquet(run / "sources" / "concepts.parquet")
    ranker, policy = Ranker.load(run / "ranking" / "ranker"), Policy.load(run / "ranking" / "policy.json")
    log = log.join(
        expected_slates(log, read_parts(replayed), concepts, policy, ranker.slot_offsets, seed),
        on=_SLATE, how="left", maintain_order="left",
    )  # fmt: skip
    known = known_features(log, run, features)
    known = log.select("impression_id").join(known, on="impression_id", how="left", maintain_order="left")
    vectors = pl.read_parquet(run / "features" / "concept_vectors.parquet")
    return log.with_columns(marginal_ratio=marginal_ratios(log, matrix(known, features), vectors, seed))


def known_features(log: pl.DataFrame, run: Path, features: Sequence[str]) -> pl.DataFrame:
    """impression_id and the features of the log's impressions, those of others never in memory."""
    rows = pl.scan_parquet(run / "features" / "logged.parquet").select("impression_id", *features)
    return rows.join(log.lazy().select("impression_id"), on="impression_id", how="semi").collect(engine="streaming")


def expected_slates(
    log: pl.DataFrame,
    replayed: Iterable[pl.DataFrame],
    concepts: pl.DataFrame,
    policy: Policy,
    slot_offsets: Floats,
    seed: int,
) -> pl.DataFrame:
    """user_id, at, expected_slate: the ranker's expected clicks of the new policy's slate, as long as the logged one.

    Args:
        log: of whole slates.
        replayed: scores of all candidates of their moments, in parts of whole users in order, at least one.
        concepts, policy, slot_offsets: as `ranking.replay.logged_policy` takes them.
        seed: of the run.
    """
    lengths = log.group_by(_SLATE).agg(slots=pl.len())
    longest = int(lengths["slots"].to_numpy().max(initial=0))
    offsets = slot_offsets[np.minimum(np.arange(longest), len(slot_offsets) - 1)]
    draws = min(DRAWS, max(LEAST_DRAWS, ALL_DRAWS // max(len(lengths), 1)))
    rng, found = stream(seed, "evaluation", "rollout"), []
    for part in replayed:
        rows = arranged(part.join(lengths.select(_SLATE), on=_SLATE, how="semi"), _SLATE, policy)
        odds = logit(rows["click_chance"].to_numpy())
        chances = [expit(odds + offset) for offset in offsets]
        clicks = rolled_out(rows, concepts, chances, policy=policy, draws=draws, rng=rng)
        slates = rows.select(_SLATE).unique(maintain_order=True)
        slates = slates.join(lengths, on=_SLATE, how="left", maintain_order="left")
        inside = np.arange(longest) < slates["slots"].to_numpy()[:, None]
        found.append(slates.select(_SLATE).with_columns(expected_slate=pl.Series((clicks * inside).sum(axis=1))))
    return pl.concat(found)


def marginal_ratios(log: pl.DataFrame, known: Floats, vectors: pl.DataFrame, seed: int) -> pl.Series | None:
    """E[target / logged propensity | ranking features `known` (N, F), concept's vector, slot], cross-fitted by user: the
    weights of MIPS; None without propensities, or with too few users."""
    if "propensity" not in log.columns or log["propensity"].null_count() or log["target_propensity"].null_count():
        return None
    ratio = (log["target_propensity"] / log["propensity"]).to_numpy()
    placed = log.select("concept_id").join(vectors, on="concept_id", how="left", maintain_order="left")["vector"]
    features = np.column_stack([known, vectors_of(placed).astype(np.float64), log["slot"].to_numpy()])
    users = log["user_id"].rank("dense").to_numpy().astype(np.int64)
    try:
        model = cross_fit(features, ratio, users, objective="regression", seed=seed)
    except ModelError:
        return None
    return pl.Series(np.maximum(model.predict(features, users), 0.0))


def rewarded(
    log: pl.DataFrame,
    slates: pl.DataFrame,
    run: Path,
    features: Sequence[str],
    *,
    seed: int,
    made: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
) -> pl.DataFrame:
    """The log with predicted_chance and expected_chance for a policy that shows exactly the given slates, in order.

    A click model is cross-fitted by user on the log itself. After the logged earlier slots the policy shows the first of its
    concepts that has not stood there; expected_chance is 0 where it shows nothing. The log as it is where its moments were not
    prepared for a replay, or it has too few users.

    Args:
        log: ranking/tested.parquet of the run. run: finished up to ranking.
        slates: user_id, position, concept_id.
        features: names of the ranking features.
        seed: of the run.
        made: adds the features to pairs (user_id, at, concept_id; sorted), for a replay that was too large to keep them.
    """
    prepared = run / "features" / "replay.parquet"
    if not prepared.exists():
        return log
    known = known_features(log, run, features)
    seen = log.select("impression_id", "slot").join(known, on="impression_id", how="left", maintain_order="left")
    users = log["user_id"].rank("dense").to_numpy().astype(np.int64)
    columns = [*features, "slot"]
    try:
        model = cross_fit(matrix(seen, columns), log["clicked"].cast(pl.Float64).to_numpy(), users, seed=seed)
    except ModelError:
        return log
    stood = log.select(*_SLATE, "concept_id", stood="slot")
    places = log.select("impression_id", *_SLATE, "slot").with_columns(user=pl.Series(users))
    next_ones = (
        places.join(slates.select("user_id", "position", "concept_id"), on="user_id")
        .join(stood, on=[*_SLATE, "concept_id"], how="left")
        .filter(pl.col("stood").is_null() | (pl.col("stood") >= pl.col("slot")))
        .sort("impression_id", "position")
        .unique("impression_id", keep="first", maintain_order=True)
    )
    pair = [*_SLATE, "concept_id"]
    asked = next_ones.select(pair).unique().sort(pair)
    offered = pl.scan_parquet(files_of(prepared))
    candidates = offered.join(asked.lazy(), on=pair, how="semi", maintain_order="left").collect()
    if made is not None and not set(features) <= set(candidates.columns):
        candidates = made(candidates)
    next_ones = next_ones.join(candidates, on=pair, how="left", maintain_order="left")
    expected = next_ones.select("impression_id").with_columns(
        expected_chance=pl.Series(model.predict(matrix(next_ones, columns), next_ones["user"].to_numpy()))
    )
    predicted = pl.Series("predicted_chance", model.predict(matrix(seen, columns), users))
    return (
        log.with_columns(predicted)
        .join(expected, on="impression_id", how="left", maintain_order="left")
        .with_columns(pl.col("expected_chance").fill_null(0.0))
    )
