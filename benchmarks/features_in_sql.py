"""Turns the definitions of the features into DuckDB SQL over the tables e (events), p (impressions) and c (concepts).

Each distinct moment of a user is joined with the user's earlier events once, and all sums are taken over that; click
rates are running sums, found by as-of joins. Written for planted worlds: every item and concept has a place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

HOUR, DAY = 3_600_000_000, 86_400_000_000
GAP = 30 * 60_000_000
DEPTH, DIMENSIONS = 10, 32
HALVES = (1, 7, 30)
ACTIONS = ("view", "click", "cart", "purchase", "search", "like")


def whole_table(data: Path) -> Iterator[str]:
    """Statements that end in the table `result`."""
    yield from sessions()
    yield from moments(data)
    yield from pairs(data)
    yield from fatigue()
    yield from rates("user", "u", "p")
    yield from rates("concept", "concept_id", "p")
    yield result(data)


def sessions() -> Iterator[str]:
    yield f"""CREATE TABLE es AS SELECT *, min(ts) OVER (PARTITION BY u, sid) AS began FROM (
        SELECT *, sum(starts) OVER (PARTITION BY u ORDER BY ts, eid ROWS UNBOUNDED PRECEDING) AS sid FROM (
            SELECT *, CASE WHEN ts - lag(ts) OVER (PARTITION BY u ORDER BY ts, eid) <= {GAP} THEN 0 ELSE 1 END AS starts FROM e))"""
    yield "DROP TABLE e"
    yield "CREATE TABLE m AS SELECT row_number() OVER () AS mid, u, t FROM (SELECT DISTINCT u, ts AS t FROM p)"
    yield "CREATE TABLE last AS SELECT mid, arg_max(sid, (ts, eid)) AS sid, max(ts) AS ts FROM m JOIN es USING (u) WHERE ts < t GROUP BY mid"


def moments(data: Path) -> Iterator[str]:
    fade = f"exp2((es.ts - t) / {7 * DAY})"
    axes = ", ".join(f"sum(w * {fade} * v{axis}) AS x{axis}" for axis in range(DIMENSIONS))
    windows = ", ".join(f"count(*) FILTER (es.ts >= t - {days * DAY}) AS events_{days}d" for days in (1, 7, 30))
    joined = "FROM m JOIN es USING (u) JOIN last USING (mid)"
    yield f"""CREATE TABLE by_moment AS SELECT mid, {windows}, (any_value(t) - max(es.ts)) / {HOUR} AS hours_since_event,
        sum(dwell * {fade}) / sum({fade}) FILTER (dwell IS NOT NULL) AS dwell_mean,
        arg_max(CASE device WHEN 'phone' THEN 1 WHEN 'desktop' THEN 2 WHEN 'tablet' THEN 3 ELSE 0 END, (es.ts, eid))
            FILTER (device IS NOT NULL) AS device,
        bool_or(last.ts >= t - {GAP}) AS current,
        count(*) FILTER (es.sid = last.sid) AS depth, (max(es.ts) - any_value(es.began) FILTER (es.sid = last.sid)) / {HOUR // 60} AS minutes,
        sum(w * {fade}) AS embedding_mass, {axes}
        {joined} JOIN read_parquet('{data}/item_vectors.parquet') USING (item_id) WHERE es.ts < t GROUP BY mid"""
    halves = ", ".join(f"sum(w * exp2((es.ts - t) / {days * DAY})) AS s{days}" for days in HALVES)
    actions = ", ".join(f"coalesce(sum({fade}) FILTER (action = '{name}'), 0) AS s_{name}" for name in ACTIONS)
    counts = ", ".join(f"count(*) FILTER (es.ts >= t - {days * DAY}) AS n{days}" for days in (1, 7, 30))
    yield f"""CREATE TABLE by_topic AS SELECT mid, topic, {halves}, {actions}, {counts}, max(es.ts) AS latest,
        coalesce(sum(dwell * {fade}), 0) AS dwell, coalesce(sum({fade}) FILTER (dwell IS NOT NULL), 0) AS dwells,
        count(*) FILTER (es.sid = last.sid AND last.ts >= t - {GAP}) AS matches
        FROM m JOIN (SELECT *, unnest(topics) AS topic FROM es) es USING (u) JOIN last USING (mid) WHERE es.ts < t GROUP BY mid, topic"""
    totals = ", ".join(f"sum(s{days}) AS t{days}" for days in HALVES)
    yield f"""CREATE TABLE totals AS SELECT mid, {totals}, ln(sum(s7)) - sum(s7 * ln(s7)) / sum(s7) AS interest_entropy,
        sum(matches) AS mentions, count(*) FILTER (matches > 0) AS session_topics FROM by_topic GROUP BY mid"""
    yield f"""CREATE TABLE latest AS SELECT mid, item_id FROM (SELECT mid, item_id,
        row_number() OVER (PARTITION BY mid ORDER BY es.ts DESC, eid DESC) AS n FROM m JOIN es USING (u) WHERE es.ts < t) WHERE n <= {DEPTH}"""


def pairs(data: Path) -> Iterator[str]:
    dot = " + ".join(f"i.v{axis} * k.v{axis}" for axis in range(DIMENSIONS))
    norm = " + ".join(f"k.v{axis} * k.v{axis}" for axis in range(DIMENSIONS))
    yield f"""CREATE TABLE strengths AS SELECT item_id, concept_id, ({dot}) / sqrt({norm}) AS strength
        FROM read_parquet('{data}/item_vectors.parquet') i, read_parquet('{data}/concept_vectors.parquet') k"""
    yield "CREATE TABLE q AS SELECT pid, mid, t, concept_id FROM p JOIN m ON p.u = m.u AND p.ts = m.t"
    yield """CREATE TABLE covisits AS SELECT pid, avg(strength) AS covisit_mean, max(strength) AS covisit_best
        FROM q JOIN latest USING (mid) JOIN strengths USING (item_id, concept_id) GROUP BY pid"""
    sums = ", ".join(
        f"avg(coalesce(s{d}, 0)) AS a{d}, avg(coalesce(s{d}, 0)) / any_value(t{d}) AS share{d}" for d in HALVES
    )
    actions = ", ".join(f"avg(coalesce(s_{name}, 0)) AS affinity_{name}" for name in ACTIONS)
    counts = ", ".join(f"sum(coalesce(n{days}, 0)) AS topic_events_{days}d" for days in (1, 7, 30))
    yield f"""CREATE TABLE by_pair AS SELECT pid, {sums}, {actions}, {counts}, (any_value(t) - max(latest)) / {HOUR} AS since,
        CASE WHEN sum(dwells) > 0 THEN sum(dwell) / sum(dwells) END AS topic_dwell,
        CASE WHEN any_value(mentions) > 0 THEN sum(coalesce(matches, 0)) / any_value(mentions) END AS session_topic_share,
        any_value(interest_entropy) AS interest_entropy, any_value(session_topics) AS session_topics
        FROM (SELECT pid, mid, t, unnest(topics) AS topic FROM q JOIN c USING (concept_id))
            LEFT JOIN by_topic USING (mid, topic) LEFT JOIN totals USING (mid) GROUP BY pid"""


def fatigue() -> Iterator[str]:
    columns = []
    for what, same in (
        ("user_concept", "a.concept_id = b.concept_id"),
        ("user_advertiser", "a.advertiser = b.advertiser"),
    ):
        columns.append(f"""count(*) FILTER ({same}) AS {what}_shown, coalesce(sum(b.clicked) FILTER ({same}), 0) AS {what}_clicked,
            count(*) FILTER ({same} AND b.ts >= a.ts - {7 * DAY}) AS {what}_shown_7d,
            (any_value(a.ts) - max(b.ts) FILTER ({same})) / {HOUR} AS hours_since_{what}_shown""")
    yield "CREATE TABLE pc AS SELECT pid, u, ts, clicked, slot, concept_id, advertiser FROM p JOIN c USING (concept_id)"
    yield f"CREATE TABLE tired AS SELECT a.pid, {', '.join(columns)} FROM pc a JOIN pc b ON a.u = b.u AND b.ts < a.ts GROUP BY a.pid"


def rates(name: str, key: str, table: str) -> Iterator[str]:
    """Running counts of each group, and the running sums of the prior (N, K, G, sum of n^2, sum of k^2 / n)."""
    yield f"""CREATE TABLE {name}_steps AS SELECT *, k - clicked AS k0, n - 1 AS n0 FROM (SELECT {key}, ts, clicked, slot,
        count(*) OVER w AS n, sum(clicked) OVER w AS k FROM {table} WINDOW w AS (PARTITION BY {key} ORDER BY ts, pid ROWS UNBOUNDED PRECEDING))"""
    yield f"""CREATE TABLE {name}_prior AS SELECT ts, max(n_all) AS n_all, max(k_all) AS k_all, max(g) AS g, max(q) AS q, arg_max(s, n_all) AS s FROM (
        SELECT ts, count(*) OVER w AS n_all, sum(clicked) OVER w AS k_all, sum((n = 1)::INT) OVER w AS g, sum(2 * n - 1) OVER w AS q,
            sum(k * k / n - CASE WHEN n0 > 0 THEN k0 * k0 / n0 ELSE 0 END) OVER w AS s
        FROM {name}_steps WINDOW w AS (ORDER BY ts, {key}, n ROWS UNBOUNDED PRECEDING)) GROUP BY ts"""
    yield f"""CREATE TABLE {name}_counts AS SELECT {key}, ts, max(n) AS n, max(k) AS k, min(min(ts)) OVER (PARTITION BY {key}) AS first,
        sum(sum(slot)) OVER (PARTITION BY {key} ORDER BY ts) / sum(count(slot)) OVER (PARTITION BY {key} ORDER BY ts) AS slot
        FROM {name}_steps GROUP BY {key}, ts"""
    strength = """CASE WHEN k_all = 0 OR k_all = n_all OR room <= 0 OR spread * 10001 <= room THEN 10000
        ELSE greatest(room / spread - 1, 1) END"""
    yield f"""CREATE TABLE {name}_fit AS SELECT ts, k_all / n_all AS mean, {strength} AS strength, k_all FROM (SELECT *,
        n_all - q / n_all - (g - 1) AS room, (s - k_all * k_all / n_all) / nullif(k_all / n_all * (1 - k_all / n_all), 0) - (g - 1) AS spread
        FROM {name}_prior)"""


def result(data: Path) -> str:
    dot = " + ".join(f"x{axis} * v{axis}" for axis in range(DIMENSIONS))
    norms = [" + ".join(f"{name}{axis} * {name}{axis}" for axis in range(DIMENSIONS)) for name in "xv"]
    affinity = ", ".join(f"a{days} AS affinity_{days}d, share{days} AS affinity_share_{days}d" for days in HALVES)
    actions = ", ".join(f"affinity_{name}" for name in ACTIONS)
    windows = ", ".join(f"coalesce(events_{d}d, 0) AS events_{d}d, topic_events_{d}d" for d in (1, 7, 30))
    tired = ", ".join(
        f"coalesce({what}_{count}, 0) AS {what}_{count}"
        for what in ("user_concept", "user_advertiser")
        for count in ("shown", "clicked", "shown_7d")
    )
    return f"""CREATE TABLE result AS WITH r AS (SELECT p.*, p.ts - {7 * DAY} AS week_ago FROM p),
        f AS (SELECT r.pid, r.ts, hour(to_timestamp(0) + to_microseconds(r.ts)) AS hour, isodow(to_timestamp(0) + to_microseconds(r.ts)) AS weekday,
            coalesce(un.n, 0) AS user_shown, (coalesce(un.k, 0) + uf.strength * uf.mean) / (coalesce(un.n, 0) + uf.strength) AS user_click_rate,
            coalesce(cn.n, 0) AS concept_shown, (coalesce(cn.k, 0) + cf.strength * cf.mean) / (coalesce(cn.n, 0) + cf.strength) AS concept_click_rate,
            coalesce(cn.n, 0) - coalesce(c7.n, 0) AS n7, coalesce(cn.k, 0) - coalesce(c7.k, 0) AS k7, cf.strength AS strength, cf.k_all AS k_all,
            (r.ts - cn.first) / {DAY} AS concept_age, cn.slot AS concept_slot
            FROM r ASOF LEFT JOIN user_counts un ON r.u = un.u AND r.ts > un.ts ASOF LEFT JOIN user_fit uf ON r.ts > uf.ts
            ASOF LEFT JOIN concept_counts cn ON r.concept_id = cn.concept_id AND r.ts > cn.ts ASOF LEFT JOIN concept_fit cf ON r.ts > cf.ts
            ASOF LEFT JOIN concept_counts c7 ON r.concept_id = c7.concept_id AND r.week_ago > c7.ts)
    SELECT q.pid, {affinity}, {actions}, {windows}, hours_since_event, since AS hours_since_topic_event, dwell_mean, topic_dwell AS topic_dwell_mean,
        greatest(interest_entropy, 0) AS interest_entropy, CASE WHEN current THEN depth ELSE 0 END AS session_events,
        CASE WHEN current THEN minutes ELSE 0 END AS session_minutes, coalesce(session_topics, 0) AS session_topics, session_topic_share,
        coalesce(embedding_mass, 0) AS embedding_mass, ({dot}) / sqrt({norms[0]}) / sqrt({norms[1]}) AS embedding_cosine, covisit_mean, covisit_best,
        {tired}, hours_since_user_concept_shown, hours_since_user_advertiser_shown, user_shown, user_click_rate, concept_shown, concept_click_rate,
        CASE WHEN k_all > 0 THEN ln((k7 + strength * concept_click_rate) / (n7 + strength) / concept_click_rate) END AS concept_click_trend,
        concept_age, concept_slot, hour, weekday, device
    FROM q LEFT JOIN by_moment USING (mid) LEFT JOIN by_pair USING (pid) LEFT JOIN covisits USING (pid) LEFT JOIN tired USING (pid)
        JOIN f USING (pid) JOIN read_parquet('{data}/concept_vectors.parquet') k USING (concept_id)"""
