"""The shape of what a report is made of; whatever a data set lacks is None or empty, and the report says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from contracts.settings import EvaluationSettings
from evaluation.judged import JudgedPictures
from evaluation.review_rounds import ReviewRound

Kind = Literal["own", "other", "general", "logged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureCell:
    """One picture of a row.

    Attributes:
        picture: key into the pictures given to `render_html`.
        interests: top interests, in words, of the people it was drawn for; empty for the general and the logged one.
        click_chance: in [0, 1], if known.
    """

    picture: str
    interests: tuple[str, ...] = ()
    click_chance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRow:
    """One concept as one cohort sees it: own, other, general and logged pictures; kinds left out do not exist.

    Attributes:
        concept_id: which concept.
        headline: its headline.
        advertiser: whose ad it is.
        cohort: number of the cohort.
        cohort_users: how many users are in it.
        interests: the cohort's top interests, in words.
        cells: by kind.
        chance_is: whether the cells' click chances are the planted world's truth or a judge's prediction; both are for
            this cohort's users, whomever the picture was drawn for.
    """

    concept_id: str
    headline: str
    advertiser: str
    cohort: int
    cohort_users: int
    interests: tuple[str, ...]
    cells: Mapping[Kind, PictureCell]
    chance_is: Literal["true", "predicted"] = "predicted"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeTable:
    """What became of one input file: accepted + rejected = read.

    Attributes:
        table: such as "events".
        read: rows in the file.
        accepted: rows that keep the contract.
        rejected: rows set aside.
        withheld: accepted rows not used, since the user did not consent.
        reasons: rejected rows by reason.
    """

    table: str
    read: int
    accepted: int
    rejected: int
    withheld: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicProbe:
    """How well a held-out classifier guesses from the embeddings who browsed a sensitive topic.

    Attributes:
        topic: its name.
        users: with an embedding; of these, `holders` browsed the topic.
        auc: 0.5 is guessing, 1 is certain; None when it could not be probed.
        low, high: 95 % interval.
        classifier: the better of those tried.
        reason: why it could not be probed.
    """

    topic: str
    users: int
    holders: int
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    classifier: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelStep:
    """One count on the way from the log to approved pictures, such as ("Events read", 1_200_000)."""

    label: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """How long a stage worked; `skipped` when its earlier result still held."""

    stage: str
    seconds: float
    skipped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything a report is made of. Only the first three are required.

    Attributes:
        name: of the data set, such as "Planted world".
        run: id of the run.
        settings: depth, confidence, resamples, floors.
        seed: of the run.
        simulated: True for a planted world: the report says so loudly.
        logged_policy: name of the policy that made the log.
        target_policy: name of the policy to be judged.
        impressions: the test part of the log, one row per logged impression, any order: user_id, at, slot, clicked;
            optional: propensity, target_propensity (given the earlier slots of the logged slate), predicted_chance
            (model's click chance of the logged concept), expected_chance (model's click chance of the target policy's
            choice at this slot, given the logged earlier slots), and what more estimators take, see
            `evaluation.logs.logged_slates`; score, popularity, oracle (what the ranker, popularity
            and the true click law would order the slate by; higher is better); history_events (events of the user
            known at the impression). A column that is absent or holds a null takes its sections with it.
        propensities_estimated: whether `propensity` was estimated from the log afterwards: the report says so loudly, and
            the verdict is that the data cannot say.
        true_logged: the logged policy's true value, expected clicks per slate, where the world is planted.
        true_target: the target policy's true value, likewise.
        concept_shares: concept_id, target_share (share of the target policy's choices), logged (impressions in the
            whole log).
        catalogue: concept_id, topics (list), logged (impressions in the whole log): every concept that might be shown.
        assortments: by label, slates to compare: user_id, slate (a number), position from 0, concept_id.
        creatives: as contracts.tables.Creatives.
        not_drawn: by concept_id, why a concept of a slate could not be drawn.
        dropped: every failed check of every picture that nobody is to see: creative_id, concept_id, cohort, check, reason,
            redraws (new seeds that were tried).
        creative_truth: user_id, concept_id, own, other, general, logged: true click chances in [0, 1], null where there
            is no such creative.
        judged: what an independent judge expects of the pictures; or, in a sentence, why there is no judge.
        labels: user_id, concept_id, slot, clicked, labelled of logged impressions of pictures; None: no pictures.
        budget: what every personal picture is expected to bring, see `evaluation.budget`, and how many of them were drawn;
            or, in a sentence, why no personal picture could be.
        picture_rows: what to show side by side.
        review_rounds: of review, that the generator has learned from, the first one first.
        space: how well the frozen space explains the log: version, kind, items, guests, days, shares, advice and reasons,
            as in report.json.
        nights: what has moved since the run before, as in report.json; or {"absent": why}.
        intake: one for each input file.
        probes: one for each topic that is marked sensitive.
        explained: what moves the ranker's scores: `importance` and `dependence`, as `ranking.explanations` gives them.
        ranker_choice: which ranker the run used and why: version, kept, sentence, comparison.
        funnel: counts from the log to the pictures, in order.
        settings_used: all settings of the run, JSON values.
        versions: of the libraries and of the code.
        models: hashes of what was learned, by name.
        timings: one for each stage.
    """

    name: str
    run: str
    settings: EvaluationSettings
    seed: int = 0
    simulated: bool = False
    logged_policy: str = "logged policy"
    target_policy: str = "new policy"
    impressions: pl.DataFrame | None = None
    propensities_estimated: bool = False
    true_logged: float | None = None
    true_target: float | None = None
    concept_shares: pl.DataFrame | None = None
    catalogue: pl.DataFrame | None = None
    assortments: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    creatives: pl.DataFrame | None = None
    not_drawn: Mapping[str, str] = field(default_factory=dict)
    dropped: Sequence[Mapping[str, object]] = ()
    creative_truth: pl.DataFrame | None = None
    judged: JudgedPictures | str = "No pictures were judged."
    labels: pl.DataFrame | None = None
    budget: tuple[pl.DataFrame, int] | str = "No personal pictures were planned."
    picture_rows: tuple[PictureRow, ...] = ()
    review_rounds: tuple[ReviewRound, ...] = ()
    space: Mapping[str, object] | None = None
    nights: Mapping[str, object] | None = None
    intake: tuple[IntakeTable, ...] = ()
    probes: tuple[TopicProbe, ...] = ()
    explained: Mapping[str, Any] | None = None
    ranker_choice: Mapping[str, Any] | None = None
    funnel: tuple[FunnelStep, ...] = ()
    settings_used: Mapping[str, object] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    timings: tuple[StageTime, ...] = ()
