"""Turns logged impressions of pictures that are labelled as AI-generated, and of others, into what the label costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from contracts.settings import EvaluationSettings
from evaluation.intervals import Terms, bootstrap, percentile

Section = dict[str, Any]

_STRATUM = ("concept_id", "slot")


def labels_section(impressions: pl.DataFrame | None, settings: EvaluationSettings, *, seed: int) -> Section:
    """Click rates of labelled and unlabelled pictures side by side, and their difference within concept and slot.

    The difference is that of Mantel and Haenszel (1959): within each (concept, slot) s with n1 labelled and n0
    unlabelled impressions the difference of click rates, averaged with weights n1 n0 / (n1 + n0); intervals resample
    users. Nobody drew by lot which pictures were labelled: what else differs between them within a concept and slot
    is in the difference too.

    Args:
        impressions: user_id, concept_id, slot, clicked, labelled (null: not known); None: there are no pictures.
        settings: confidence and resamples.
        seed: of the run.
    """
    known = None if impressions is None else impressions.drop_nulls("labelled")
    if known is None or known.is_empty():
        return {"absent": "The log does not say which pictures were labelled as AI-generated (pictures.labelled)."}
    if known["labelled"].n_unique() < 2:
        which = "labelled" if known["labelled"][0] else "without a label"
        return {"absent": f"All logged pictures were {which}: there is nothing to compare."}
    rows = known.sort("user_id").with_columns(
        with_label=pl.col("labelled").sum().over(_STRATUM), without=(~pl.col("labelled")).sum().over(_STRATUM)
    )
    labelled, clicked = rows["labelled"].to_numpy(), rows["clicked"].to_numpy().astype(np.float64)
    one, zero = rows["with_label"].to_numpy().astype(np.float64), rows["without"].to_numpy().astype(np.float64)
    shared = (one > 0) & (zero > 0)
    terms = {
        "labelled": Terms.ratio(clicked * labelled, labelled),
        "unlabelled": Terms.ratio(clicked * ~labelled, ~labelled),
        "difference": Terms.ratio(
            shared * clicked * np.where(labelled, zero, -one) / (one + zero),
            (shared & labelled) * zero / (one + zero),
        ),
    }
    users = rows["user_id"].rle_id().to_numpy().astype(np.int64)
    draws = bootstrap(terms, users, resamples=settings.bootstraps, seed=seed, name="labels")

    def figure(name: str, count: int) -> Section:
        span = percentile(draws[name], settings.confidence) if count and users[-1] > 0 else None
        value = terms[name].value if count else None
        return {
            "value": value,
            "interval": None if span is None else {"low": span.low, "high": span.high},
            "rows": count,
        }

    return {
        "labelled": figure("labelled", int(labelled.sum())),
        "unlabelled": figure("unlabelled", int((~labelled).sum())),
        "difference": figure("difference", int(shared.sum())),
    }
