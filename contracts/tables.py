"""Turns the promise between stages into schemas: every table, its columns, units, bounds and keys. Nowhere else."""

from __future__ import annotations

from typing import Any

import dataframely as dy
import polars as pl

from contracts.decisions import COMMENT_LIMIT, Kind, Reason, Role

EVERYONE = "*"
"""The user_id of the general slate: what people get who are unknown or did not consent."""

GENERAL_COHORT = -1
"""The cohort of a concept's general creative, drawn for nobody in particular."""

ACTIONS = ("view", "click", "cart", "purchase", "search", "like")


def _instant(description: str, *, nullable: bool = False) -> dy.Datetime:
    return dy.Datetime(time_zone="UTC", time_unit="us", nullable=nullable, description=description)


def _name(description: str, **kwargs: Any) -> dy.String:
    return dy.String(min_length=1, description=description, **kwargs)


class Events(dy.Schema):
    """Browsing: what a user did with an item, and when. Input."""

    user_id = _name("who")
    at = _instant("when, UTC microseconds")
    action = dy.String(check=lambda c: c.is_in(ACTIONS), description="one of " + ", ".join(ACTIONS))
    item_id = _name("with what")
    topics = dy.List(dy.String(min_length=1), description="topics of the item; may be empty")
    dwell_seconds = dy.Float64(nullable=True, min=0.0, description="seconds spent, if known")
    device = dy.String(nullable=True, description="phone, desktop, ...")


class Concepts(dy.Schema):
    """Ad concepts that may be shown: a product, its copy and its rules. Input."""

    concept_id = _name("key", primary_key=True)
    advertiser = _name("whose ad it is")
    topics = dy.List(dy.String(min_length=1), min_length=1, description="topics, at least one")
    headline = dy.List(dy.String(min_length=1), min_length=1, description="headlines, at least one; the first is set")
    body = dy.String(description="one sentence under the headline; may be empty")
    call_to_action = _name("label of the button")
    product_image = dy.String(nullable=True, description="path of the product picture, relative to the data folder")
    colours = dy.List(
        dy.String(regex=r"^#[0-9a-fA-F]{6}$"),
        nullable=True,
        description="brand colours #rrggbb, the first is the button",
    )
    landing_url = _name("where a click leads")
    active_from = _instant("shown from this moment on", nullable=True)
    active_until = _instant("shown before this moment", nullable=True)
    sensitive = dy.Bool(description="true: never personalised")


class Impressions(dy.Schema):
    """Ads shown and whether they were clicked. Rows with equal (user_id, at) are one slate. Input."""

    impression_id = _name("key", primary_key=True)
    user_id = _name("who saw it")
    at = _instant("when, UTC microseconds")
    slot = dy.Int32(min=0, description="place in the slate, from 0")
    concept_id = _name("which concept")
    creative_id = dy.String(nullable=True, description="which picture of it, if known")
    clicked = dy.Bool(description="clicked")
    propensity = dy.Float64(
        nullable=True, min_exclusive=0.0, max=1.0, description="chance of this concept here, given the earlier slots"
    )
    policy = dy.String(nullable=True, description="name of the policy that chose it")


class Clicks(dy.Schema):
    """Clicks that were logged apart from the impressions; `impressions` then has no column `clicked`. Input, optional."""

    impression_id = _name("which impression was clicked")
    at = _instant("when, UTC microseconds, if known", nullable=True)


class Users(dy.Schema):
    """Consent and locale. Input, optional."""

    user_id = _name("key", primary_key=True)
    personalise = dy.Bool(description="consent to personalised ads")
    locale = dy.String(nullable=True, description="BCP 47 tag")
    adult = dy.Bool(nullable=True, description="of age, if known; false is treated as no consent")


class Pictures(dy.Schema):
    """What the logged creatives look like, and where the product stands in them. Input, optional."""

    creative_id = _name("key", primary_key=True)
    concept_id = _name("which concept it advertises")
    file = _name("path of the picture, relative to the data folder")
    box_left = dy.Float64(
        nullable=True, min=0.0, max=1.0, description="product box, share of the width; null: not known"
    )
    box_top = dy.Float64(nullable=True, min=0.0, max=1.0, description="product box, share of the height")
    box_width = dy.Float64(nullable=True, min=0.0, max=1.0, description="product box, share of the width")
    box_height = dy.Float64(nullable=True, min=0.0, max=1.0, description="product box, share of the height")
    labelled = dy.Bool(nullable=True, description="carries a visible label that it is AI-generated, if known")


class RejectedRows(dy.Schema):
    """Rows of the input that were set aside, each with its reason. accepted + rejected = read."""

    source = _name("file the row stands in")
    row = dy.Int64(min=1, description="row number in that file, from 1, the header not counted")
    column = dy.String(description="column at fault; empty: the row as a whole")
    reason = _name("what is wrong with it")
    check = _name("name of the check that found it, see docs/checks.md")
    raw = dy.String(
        description="the row as it was read, JSON; user ids as pseudonyms; withheld where it may name a person"
    )


class Interests(dy.Schema):
    """Decayed topic interests of each consenting user. Made by features."""

    user_id = _name("who", primary_key=True)
    topic = _name("what", primary_key=True)
    weight = dy.Float64(min=0.0, max=1.0 + 1e-9, description="share of the user's interest; sums to 1 for a user")
    as_of = _instant("at which moment")


class Embeddings(dy.Schema):
    """A user's place in the frozen space: the decayed mean of item vectors. Made by features."""

    user_id = _name("key", primary_key=True)
    vector = dy.List(dy.Float32(), min_length=1, description="coordinates; all rows have the same length")
    events = dy.Int64(min=0, description="how many events made it")


class Scores(dy.Schema):
    """The ranker's word on every (user, concept) that may be shown. Made by ranking."""

    user_id = _name("who", primary_key=True)
    concept_id = _name("which concept", primary_key=True)
    score = dy.Float64(description="ranking score, higher is better, no unit")
    click_chance = dy.Float64(min=0.0, max=1.0, description="calibrated click chance in slot 0")


class Slates(dy.Schema):
    """What each user is to be shown, drawn by Plackett-Luce. Made by ranking."""

    user_id = _name("who; * is the general slate", primary_key=True)
    position = dy.Int32(min=0, primary_key=True, description="place, from 0")
    concept_id = _name("which concept")
    score = dy.Float64(description="ranking score")
    propensity = dy.Float64(min_exclusive=0.0, max=1.0, description="chance of this choice given the earlier positions")
    policy_hash = _name("model and slate settings that drew it")


class Creatives(dy.Schema):
    """Pictures drawn, and what the checks say of them. Made by generators."""

    creative_id = _name("key", primary_key=True)
    cohort = dy.Int32(min=GENERAL_COHORT, description="group of users it is for; -1: the general creative")
    concept_id = _name("which concept")
    generator = _name("how it was drawn")
    weights_hash = _name("sha256 of the weights that drew it")
    seed = dy.Int64(min=0, description="seed it was drawn with")
    file = _name("path of the picture, relative to the stage folder")
    checks = dy.List(dy.String(), description="names of failed checks; empty: passed")
    predicted_click_chance = dy.Float64(
        nullable=True, min=0.0, max=1.0, description="calibrated click chance of the concept, mean over the cohort"
    )


class Renditions(dy.Schema):
    """Creatives in further sizes; those that failed a check, or for whose words there is no room, are left out. Made by
    generators.
    """

    creative_id = _name("which creative", primary_key=True)
    format = _name("which size, such as 300x250 or 9:16", primary_key=True)
    width = dy.Int32(min=1, description="pixels")
    height = dy.Int32(min=1, description="pixels")
    file = _name("path of the picture, relative to the stage folder")
    bytes = dy.Int64(min=1, description="of the file")


class Decisions(dy.Schema):
    """What reviewers said, one row each, in order; nothing is changed or removed afterwards. Made by review."""

    decision_id = dy.Int64(min=1, primary_key=True, description="key; later decisions have larger ones")
    at = _instant("when, UTC microseconds")
    reviewer = _name("who")
    role = dy.String(check=lambda c: c.is_in(list(Role)), description="role then: one of " + ", ".join(Role))
    run_id = _name("run of the creative")
    creative_id = _name("on which creative; of a pair, the preferred one")
    file_hash = dy.String(regex=r"^[0-9a-f]{64}$", description="sha256 of the picture that was seen")
    kind = dy.String(check=lambda c: c.is_in(list(Kind)), description="one of " + ", ".join(Kind))
    reason = dy.String(
        nullable=True,
        check=lambda c: c.is_in(list(Reason)),
        description="of a rejection: one of " + ", ".join(Reason),
    )
    rating = dy.Int32(nullable=True, min=1, max=5, description="of a rating, 5 is best")
    comment = dy.String(nullable=True, max_length=COMMENT_LIMIT, description="what was written")
    other_creative_id = dy.String(nullable=True, description="of a pair, the one that was not preferred; same run")
    other_file_hash = dy.String(nullable=True, regex=r"^[0-9a-f]{64}$", description="sha256 of that one's picture")
    undoes = dy.Int64(nullable=True, description="of an undo, the decision that no longer counts")
    batch = dy.String(nullable=True, description="decisions made together share it")


class CreativeChecks(dy.Schema):
    """What every check measured on every creative. Made by generators."""

    creative_id = _name("which creative", primary_key=True)
    check = _name("name of the check, see docs/picture-checks.md", primary_key=True)
    passed = dy.Bool(nullable=True, description="null: not checked, the reason says why")
    value = dy.Float64(nullable=True, description="what was measured, in the unit of the check")
    limit = dy.Float64(nullable=True, description="what is allowed")
    reason = dy.String(description="why it failed, or was not checked; empty: passed")
    redraws = dy.Int32(min=0, description="new seeds that were tried for the creative")


INPUT_TABLES: dict[str, type[dy.Schema]] = {
    "events": Events,
    "concepts": Concepts,
    "impressions": Impressions,
    "users": Users,
    "pictures": Pictures,
    "clicks": Clicks,
}
OPTIONAL_INPUTS = frozenset({"users", "pictures", "clicks"})
LARGE_INPUTS = ("events", "impressions", "clicks")
"""Tables that may be larger than memory; the others fit."""

STAGE_TABLES: dict[str, type[dy.Schema]] = {
    "rejected_rows": RejectedRows,
    "interests": Interests,
    "embeddings": Embeddings,
    "scores": Scores,
    "slates": Slates,
    "creatives": Creatives,
    "decisions": Decisions,
    "creative_checks": CreativeChecks,
    "renditions": Renditions,
}


def polars_schema(schema: type[dy.Schema]) -> dict[str, pl.DataType]:
    """Column names and Polars dtypes of a table, in order."""
    return {name: column.dtype for name, column in schema.columns().items()}


def nullable_columns(schema: type[dy.Schema]) -> frozenset[str]:
    """Columns that may be null; an input file may leave them out."""
    return frozenset(name for name, column in schema.columns().items() if column.nullable)
