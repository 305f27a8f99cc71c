"""The ranking table against plain Python, pair by pair, on random logs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import features.browsing
import features.exposure
import features.log
import features.table
from contracts.errors import DataError, SettingsError
from contracts.settings import FeatureSettings, Settings
from contracts.tables import ACTIONS
from features.exposure import MAX_STRENGTH, MIN_STRENGTH
from features.glossary import COSTS, FEATURES, features_markdown, features_of
from features.log import DEVICES
from features.space import Space
from features.table import ranking_table, shown

SECOND, DAY = 1_000_000, 86_400_000_000
START = 1_200_000_000 * SECOND
WEIGHTS = Settings().features.action_weights
TOPIC_NAMES = ["coffee", "hiking", "music", "travel"]

instants = st.one_of(
    st.integers(0, 5).map(lambda n: START + n * SECOND),  # same second, ties
    st.integers(0, 40).map(lambda n: START + n * 600 * SECOND),  # sessions
    st.integers(0, 60).map(lambda n: START + n * DAY),
    st.integers(0, 20 * 365).map(lambda n: START + n * DAY),
)
event_rows = st.tuples(
    st.sampled_from(["u0", "u1", "u2"]),
    instants,
    st.sampled_from(ACTIONS),
    st.sampled_from(["i0", "i1", "i2", "new"]),
    st.lists(st.sampled_from(TOPIC_NAMES), max_size=3),
    st.none() | st.floats(0, 600, width=32),
    st.sampled_from(["phone", "desktop", "tablet", "fridge", None]),
)
pair_rows = st.tuples(
    st.sampled_from(["u0", "u1", "u2", "*"]),
    instants,
    st.sampled_from(["c0", "c1", "c2", "i1", "unknown"]),
    st.booleans(),
    st.none() | st.integers(0, 3),
)
INSTANT = pl.Datetime("us", "UTC")
EVENT = ("user_id", "at", "action", "item_id", "topics", "dwell_seconds", "device")
IMPRESSION = ("user_id", "at", "concept_id", "clicked", "slot")
EVENTS = dict(
    zip(EVENT, (pl.String, INSTANT, pl.String, pl.String, pl.List(pl.String), pl.Float64, pl.String), strict=True)
)
IMPRESSIONS = dict(zip(IMPRESSION, (pl.String, INSTANT, pl.String, pl.Boolean, pl.Int32), strict=True))
Row = dict[str, Any]
HOUR = 3_600 * SECOND


def plain_features(pair: Row, log: dict[str, Any], settings: FeatureSettings) -> dict[str, float | None]:
    """Every default feature of one pair, the slow and obvious way."""
    horizon = pair["at"] - round(settings.delay_seconds * SECOND)
    known = sorted(
        (e for e in log["events"] if e["user_id"] == pair["user_id"] and e["at"] < horizon), key=lambda e: e["at"]
    )
    shown = [i for i in log["impressions"] if i["at"] < horizon]
    concept = log["concepts"].get(pair["concept_id"])
    topics = list(dict.fromkeys(concept["topics"])) if concept else []
    return {
        **plain_affinities(pair, known, topics, settings),
        **plain_browsing(pair, horizon, known, topics, settings),
        **plain_space(pair, known, concept, log["space"], settings),
        **plain_exposure(pair, horizon, shown, concept, log["concepts"]),
        "hour": pair["at"] // HOUR % 24,
        "weekday": (pair["at"] // DAY + 3) % 7 + 1,  # 1 January 1970 was a Thursday
        "device": next(
            (
                float(DEVICES.index(e["device"]) + 1 if e["device"] in DEVICES else 0)
                for e in known[::-1]
                if e["device"]
            ),
            None,
        ),
    }


def topic_sums(known: list[Row], half_life: float, weight: Callable[[Row], float]) -> dict[str, float]:
    """Decayed sums by topic, as of the user's last event with one: shares of them do not depend on the moment."""
    terms: dict[str, list[float]] = defaultdict(list)
    anchor = last_topical(known)
    for e in known:
        for topic in set(e["topics"]):
            terms[topic].append(weight(e) * 2.0 ** ((e["at"] - anchor) / (half_life * DAY)))
    return {topic: math.fsum(values) for topic, values in terms.items()}


def last_topical(known: list[Row]) -> int:
    return max((int(e["at"]) for e in known if e["topics"]), default=0)


def plain_affinities(
    pair: Row, known: list[Row], topics: list[str], settings: FeatureSettings
) -> dict[str, float | None]:
    row: dict[str, float | None] = {}
    some = bool(topics) and any(e["topics"] for e in known)
    for half_life in settings.affinity_half_lives_days:
        of, label = topic_sums(known, half_life, lambda e: WEIGHTS[e["action"]]), f"{half_life:g}d"
        mine = math.fsum(of.get(topic, 0.0) for topic in topics)
        fade = 2.0 ** ((last_topical(known) - pair["at"]) / (half_life * DAY))
        row[f"affinity_{label}"] = mine * fade / len(topics) if some else None
        row[f"affinity_share_{label}"] = mine / math.fsum(of.values()) / len(topics) if some else None
    for action in ACTIONS:
        fade = 2.0 ** ((last_topical(known) - pair["at"]) / (settings.half_life_days * DAY))
        of = topic_sums(known, settings.half_life_days, lambda e, action=action: float(e["action"] == action))  # type: ignore[misc]
        row[f"affinity_{action}"] = math.fsum(of.get(t, 0.0) for t in topics) * fade / len(topics) if some else None
    of = topic_sums(known, settings.half_life_days, lambda e: WEIGHTS[e["action"]])
    total = math.fsum(of.values())
    row["interest_entropy"] = -math.fsum(s / total * math.log(s / total) for s in of.values() if s > 0) if of else None
    return row


def plain_browsing(
    pair: Row, horizon: int, known: list[Row], topics: list[str], settings: FeatureSettings
) -> dict[str, float | None]:
    t, row = pair["at"], dict[str, float | None]()
    for days in (1, 7, 30):
        inside = [e for e in known if e["at"] >= horizon - days * DAY]
        row[f"events_{days}d"] = len(inside)
        row[f"topic_events_{days}d"] = sum(t in e["topics"] for e in inside for t in topics) if topics else None
    row["hours_since_event"] = (t - known[-1]["at"]) / HOUR if known else None
    matches = [e for e in known for topic in topics if topic in e["topics"]]
    row["hours_since_topic_event"] = min(((t - e["at"]) / HOUR for e in matches), default=None)

    def dwell(some: list[Row]) -> float | None:
        timed = [e for e in some if e["dwell_seconds"] is not None]
        weights = [2.0 ** ((e["at"] - known[-1]["at"]) / (settings.half_life_days * DAY)) for e in timed]
        if math.fsum(weights) < 1e-290:
            return None
        return math.fsum(w * e["dwell_seconds"] for w, e in zip(weights, timed, strict=True)) / math.fsum(weights)

    row["dwell_mean"], row["topic_dwell_mean"] = dwell(known), dwell(matches)
    gap, session = settings.session_gap_minutes * 60 * SECOND, list[Row]()
    for e in known:
        session = [*session, e] if session and e["at"] - session[-1]["at"] <= gap else [e]
    if session and horizon - session[-1]["at"] > gap:
        session = []
    mentions = [topic for e in session for topic in set(e["topics"])]
    row["session_events"] = len(session)
    row["session_minutes"] = (session[-1]["at"] - session[0]["at"]) / (60 * SECOND) if session else 0
    row["session_topics"] = len(set(mentions))
    share = sum(topic in topics for topic in mentions) / len(mentions) if mentions and topics else None
    row["session_topic_share"] = share
    return row


def plain_exposure(
    pair: Row, horizon: int, shown: list[Row], concept: Row | None, concepts: dict[str, Row]
) -> dict[str, float | None]:
    t, row = pair["at"], dict[str, float | None]()
    own = [i for i in shown if i["user_id"] == pair["user_id"]]
    advertisers = {name: c["advertiser"] for name, c in concepts.items()}
    chosen = {
        "user_concept": [i for i in own if i["concept_id"] == pair["concept_id"]],
        "user_advertiser": [i for i in own if concept and advertisers.get(i["concept_id"]) == concept["advertiser"]],
    }
    for name, some in chosen.items():
        row[f"{name}_shown"] = len(some) if concept else None
        row[f"{name}_clicked"] = sum(i["clicked"] for i in some) if concept else None
        row[f"{name}_shown_7d"] = sum(i["at"] >= horizon - 7 * DAY for i in some) if concept else None
        row[f"hours_since_{name}_shown"] = min(((t - i["at"]) / HOUR for i in some), default=None) if concept else None
    row["user_shown"] = len(own)
    row["user_click_rate"] = smoothed(own, prior(shown, "user_id"))
    same = [i for i in shown if i["concept_id"] == pair["concept_id"]]
    fitted = prior([i for i in shown if i["concept_id"] in concepts], "concept_id")
    rate = smoothed(same, fitted) if concept else None
    row["concept_shown"] = len(same) if concept else None
    row["concept_click_rate"] = rate
    lately = smoothed([i for i in same if i["at"] >= horizon - 7 * DAY], (rate, fitted[1])) if rate and fitted else None
    row["concept_click_trend"] = math.log(lately / rate) if lately and rate else None
    row["concept_age"] = max(((t - i["at"]) / DAY for i in same), default=None) if concept else None
    slots = [i["slot"] for i in same if i["slot"] is not None]
    row["concept_slot"] = sum(slots) / len(slots) if slots and concept else None
    return row


def prior(shown: list[Row], key: str) -> tuple[float, float] | None:
    """Mean and strength of the Beta prior by the method of moments, in exact fractions."""
    if not shown:
        return None
    groups = [
        (len(clicks), sum(clicks))
        for name in {i[key] for i in shown}
        for clicks in [[int(i["clicked"]) for i in shown if i[key] == name]]
    ]
    total = sum(n for n, _ in groups)
    mean = Fraction(sum(k for _, k in groups), total)
    if mean in (0, 1):
        return float(mean), MAX_STRENGTH
    spread = sum(n * (Fraction(k, n) - mean) ** 2 for n, k in groups) / (mean * (1 - mean)) - (len(groups) - 1)
    room = total - Fraction(sum(n * n for n, _ in groups), total) - (len(groups) - 1)
    overlap = spread / room if room > 0 else Fraction(0)
    strength = MAX_STRENGTH if overlap <= 0 else min(max(float(1 / overlap) - 1, MIN_STRENGTH), MAX_STRENGTH)
    return float(mean), strength


def smoothed(some: list[Row], fitted: tuple[float, float] | None) -> float | None:
    if fitted is None:
        return None
    mean, strength = fitted
    return (sum(i["clicked"] for i in some) + strength * mean) / (len(some) + strength)


def plain_space(
    pair: Row, known: list[Row], concept: Row | None, space: Space, settings: FeatureSettings
) -> dict[str, float | None]:
    items = dict(zip(space.item_ids, space.vectors.astype(float), strict=True))
    topics = dict(zip(space.topics, space.topic_vectors.astype(float), strict=True))

    def place(name: str, of: list[str]) -> Any:
        if name in items:
            return items[name]
        found = [topics[topic] for topic in dict.fromkeys(of) if topic in topics]
        return np.mean(found, axis=0) if found else None

    def cosine(left: Any, right: Any) -> float | None:
        length = float(np.linalg.norm(left) * np.linalg.norm(right))
        return float(left @ right) / length if length > 1e-9 else None

    placed = [(e, v) for e in known for v in [place(e["item_id"], e["topics"])] if v is not None]
    scale = settings.half_life_days * DAY
    row: dict[str, float | None] = dict.fromkeys(("embedding_cosine", "covisit_mean", "covisit_best"))
    row["embedding_mass"] = math.fsum(WEIGHTS[e["action"]] * 2.0 ** ((e["at"] - pair["at"]) / scale) for e, _ in placed)
    target = place(pair["concept_id"], concept["topics"]) if concept else None
    if target is None:
        return row
    if placed:
        anchor = placed[-1][0]["at"]
        user = sum(WEIGHTS[e["action"]] * 2.0 ** ((e["at"] - anchor) / scale) * v for e, v in placed)
        row["embedding_cosine"] = cosine(user, target)
    strengths = [cosine(items[e["item_id"]], target) or 0.0 for e in known if e["item_id"] in items]
    if strengths:
        last = strengths[-settings.covisit_window :]
        row["covisit_mean"], row["covisit_best"] = sum(last) / len(last), max(last)
    return row


@pytest.mark.parametrize("delay", [0.0, 1.0, 86_400.0])
def test_every_feature_equals_plain_python(make: dict[str, Callable[..., Any]], delay: float) -> None:
    settings = Settings().features.model_copy(update={"delay_seconds": delay})

    @hypothesis_settings(max_examples=40, deadline=None)
    @given(
        st.lists(event_rows, max_size=25),
        st.lists(pair_rows, min_size=1, max_size=15),
        st.lists(pair_rows, max_size=12),
    )
    def check(events: list[Any], wanted: list[Any], shown: list[Any]) -> None:
        pairs = pl.DataFrame(wanted, schema=IMPRESSIONS, orient="row")
        frame = ranking_table(
            pairs,
            events=pl.DataFrame(events, schema=EVENTS, orient="row"),
            impressions=pl.DataFrame(shown, schema=IMPRESSIONS, orient="row"),
            concepts=make["concepts"](),
            space=make["space"](),
            settings=settings,
        )
        log = {
            "events": [dict(zip(EVENT, e, strict=True)) for e in events],
            "impressions": [dict(zip(IMPRESSION, i, strict=True)) for i in shown],
            "concepts": {c["concept_id"]: c for c in make["concepts"]().to_dicts()},
            "space": make["space"](),
        }
        for pair, row in zip(wanted, frame.to_dicts(), strict=True):
            asked = dict(zip(IMPRESSION, pair, strict=True))
            expected = plain_features(asked, log, settings)
            assert set(expected) == {feature.name for feature in FEATURES}
            for name, value in expected.items():
                assert (row[name] is None) == (value is None), (name, row[name], value)
                if value is not None:
                    assert row[name] == pytest.approx(value, rel=2e-6, abs=2e-7), name

    check()


def build(log: Any, settings: FeatureSettings, pairs: pl.DataFrame) -> pl.DataFrame:
    return ranking_table(
        pairs,
        events=log.events,
        impressions=log.impressions,
        concepts=log.concepts,
        space=log.space,
        settings=settings,
    )


def test_pairs_keep_their_order_and_their_columns(log: Any, settings: FeatureSettings) -> None:
    pairs = log.impressions.sample(fraction=1.0, shuffle=True, seed=5).with_row_index("mark")
    table = build(log, settings, pairs)
    assert table.columns == [*pairs.columns, *(feature.name for feature in FEATURES)]
    assert table.select(pairs.columns).equals(pairs)
    assert all(table[feature.name].dtype == pl.Float32 for feature in FEATURES)
    assert not any(table[feature.name].is_nan().any() for feature in FEATURES)


def test_a_row_does_not_depend_on_the_pairs_beside_it(log: Any, settings: FeatureSettings) -> None:
    whole = build(log, settings, log.impressions)
    half = build(log, settings, log.impressions.gather_every(2))
    for feature in FEATURES:
        ours, theirs = half[feature.name].to_numpy(), whole[feature.name].gather_every(2).to_numpy()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0, err_msg=feature.name)


def test_a_nobody_in_an_empty_log_has_nulls_and_true_zeros(make: dict[str, Callable[..., Any]], settings: Any) -> None:
    pairs = make["impressions"]([("*", START, "c0", False)])
    nothing = make["log"](events=0, slates=0)
    row = build(nothing, settings, pairs).row(0, named=True)
    unknown = {name for name, value in row.items() if value is None}
    assert {"affinity_7d", "affinity_share_7d", "hours_since_event", "interest_entropy"} <= unknown
    assert {"embedding_cosine", "concept_click_rate", "user_click_rate"} <= unknown
    assert row["events_30d"] == row["user_shown"] == row["embedding_mass"] == 0.0
    assert build(nothing, settings, pairs.clear()).height == 0


def test_shares_and_embedding_outlive_the_sums_in_a_far_future(log: Any, settings: Any, make: Any) -> None:
    late = START + 600_000 * DAY
    row = build(log, settings, make["impressions"]([("u1", late, "c0", False)])).row(0, named=True)
    assert row["affinity_1d"] == 0.0
    assert 0.0 < row["affinity_share_1d"] < 1.0
    assert row["interest_entropy"] > 0.0
    assert row["embedding_cosine"] is not None


def test_the_place_of_a_row_changes_none_of_its_features(log: Any, settings: FeatureSettings) -> None:
    moved = log.impressions.with_columns(slot=7 - pl.col("slot"))
    ours, theirs = (build(log, settings, pairs).drop("slot") for pairs in (log.impressions, moved))
    assert ours.equals(theirs)


def test_a_scan_of_files_gives_the_same_bytes(log: Any, settings: FeatureSettings, tmp_path: Path) -> None:
    log.events.write_parquet(tmp_path / "events.parquet", row_group_size=100)
    scan = replace(log, events=pl.scan_parquet(tmp_path / "events.parquet"))
    assert build(scan, settings, log.impressions).equals(build(log, settings, log.impressions))


def test_users_in_parts_and_any_number_of_tasks_give_the_same_bytes(
    log: Any, settings: FeatureSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(log, settings, log.impressions)
    for name, value in (("PART_EVENTS", 100), ("_TASKS", 1), ("_TASKS", 50)):
        monkeypatch.setattr(features.table, name, value)
        assert build(log, settings, log.impressions).equals(whole)


def test_nothing_that_is_given_is_changed(log: Any, settings: FeatureSettings) -> None:
    before = log.space.vectors.copy()
    build(log, settings, log.impressions)
    assert log.space.vectors.flags.writeable
    assert np.array_equal(log.space.vectors, before)


def test_the_order_of_the_log_changes_nothing_but_ties(log: Any, settings: FeatureSettings) -> None:
    one_at_a_time = log.events.unique(["user_id", "at"], keep="first", maintain_order=True)
    calm = replace(log, events=one_at_a_time)
    mixed = replace(
        calm,
        events=one_at_a_time.sample(fraction=1.0, shuffle=True, seed=2),
        impressions=log.impressions.sample(fraction=1.0, shuffle=True, seed=3),
    )
    assert build(mixed, settings, log.impressions).equals(build(calm, settings, log.impressions))


@pytest.mark.parametrize("group", sorted(COSTS))
def test_a_group_can_be_left_out_or_be_alone(group: str, log: Any, settings: FeatureSettings) -> None:
    whole = build(log, settings, log.impressions)
    mine = [feature.name for feature in FEATURES if feature.group == group]
    alone = build(log, settings.model_copy(update={"groups": (group,)}), log.impressions)
    assert alone.equals(whole.select(*log.impressions.columns, *mine))
    others = tuple(name for name in settings.groups if name != group)
    rest = build(log, settings.model_copy(update={"groups": others}), log.impressions)
    assert rest.equals(whole.drop(mine))


def test_the_daily_batch_and_the_log_are_made_by_the_same_code(log: Any, settings: FeatureSettings) -> None:
    # what the batch would have said at that moment, from a log that ends there, is what training sees
    for moment in log.impressions["at"].unique().sort()[[20, 60, 100]]:
        ended = replace(
            log,
            events=log.events.filter(pl.col("at") < moment),
            impressions=log.impressions.filter(pl.col("at") < moment),
        )
        now = log.impressions.filter(pl.col("at") == moment)
        daily = now.select("user_id", "concept_id", "at")
        names = [feature.name for feature in FEATURES]
        training = build(log, settings, log.impressions).filter(pl.col("at") == moment)
        assert build(ended, settings, daily).select(names).equals(training.select(names))


def test_compiled_code_calls_compiled_code_of_its_own_file_alone() -> None:
    # the cache of compiled code watches one file: a change in another one would not be seen
    for module in (features.browsing, features.exposure, features.log):
        for name, value in vars(module).items():
            if hasattr(value, "py_func"):
                assert value.py_func.__module__ == module.__name__, name


def test_every_feature_is_documented_once() -> None:
    text = features_markdown()
    assert all(text.count(f"| `{feature.name}` |") == 1 and feature.unit and feature.formula for feature in FEATURES)
    assert text.count("\n| `") == len(FEATURES)


def test_other_half_lives_make_other_columns(log: Any, settings: FeatureSettings) -> None:
    other = settings.model_copy(update={"affinity_half_lives_days": (0.5, 90.0), "half_life_days": 3.0})
    names = [feature.name for feature in features_of(other)]
    assert names[:4] == ["affinity_0p5d", "affinity_90d", "affinity_share_0p5d", "affinity_share_90d"]
    assert build(log, other, log.impressions).columns[-len(names) :] == names


def test_equal_half_lives_are_refused(settings: FeatureSettings) -> None:
    with pytest.raises(SettingsError, match="differ"):
        features_of(settings.model_copy(update={"affinity_half_lives_days": (7.0, 7.0)}))


def test_a_pair_column_named_like_a_feature_is_refused(log: Any, settings: FeatureSettings) -> None:
    with pytest.raises(DataError, match="user_shown"):
        build(log, settings, log.impressions.with_columns(user_shown=pl.lit(1)))


def test_many_tables_of_one_log_equal_those_made_alone(log: Any, settings: FeatureSettings) -> None:
    together = shown(log.impressions, log.concepts)
    moments = log.impressions["at"].sort()
    order = (len(moments) // 2, len(moments) - 1, 3, len(moments) - 1, 0, len(moments) // 3)
    concepts = log.concepts.select("concept_id")
    for moment in (moments[place] for place in order):
        known = log.impressions.filter(pl.col("at") >= moment).head(30)
        pairs = pl.concat([known.select("user_id", "at"), known.select("user_id", at=pl.lit(moment))]).join(
            concepts, how="cross"
        )
        made = ranking_table(
            pairs,
            events=log.events,
            impressions=together,
            concepts=log.concepts,
            space=log.space,
            settings=settings,
        )
        assert made.equals(build(log, settings, pairs))
        one_by_one = [build(log, settings, pairs[row : row + 1]) for row in range(0, len(pairs), len(pairs) // 7)]
        assert made[:: len(pairs) // 7].equals(pl.concat(one_by_one))
