"""Turns each user's events, replayed in order of time, into what was known of the user at every moment asked for.

The one idea: a state per user (decayed sums by topic, windows, session, embedding) is moved on by the events with
at < moment - delay, then read. What has not been replayed yet cannot be seen. `_learn` adds an event, `_tell_user` and
`_tell_pair` read; one pass over the log serves all features of browsing.

A decayed sum is kept as of the last event that changed it, S <- S * 2^(-gap / half_life) + w: exact for a history of
any length. All terms are >= 0, so its relative error is about 1e-16 times the number of its terms.
"""

from __future__ import annotations

import numpy as np

from contracts.compiled import compiled
from features.history import MICROS_PER_HOUR, Floats, Ints
from features.log import Codes, Concepts, Events, Pairs
from features.space import Vectors
from features.state import NEVER, Repeats, Rows, Rules, State

_FAINT = 1e-300  # smaller sums are 0
_MINUTE = MICROS_PER_HOUR // 60

# places in State.numbers
_TOUCHED, _LAST, _ANCHOR, _PLACED_AT, _SESSION, _BEGAN, _DEPTH, _MATCHES, _WIDTH, _RING, _DEVICE = range(11)
# places in State.levels
_MASS, _DWELL, _DWELLS = range(3)


@compiled
def replay(
    low: int,
    high: int,
    events: Events,
    pairs: Pairs,
    concepts: Concepts,
    rules: Rules,
    rows: Rows,
    repeats: Repeats,
    state: State,
    out: Vectors,
) -> None:
    """Fills the features of browsing of the pairs of users low to high - 1.

    Args:
        repeats: rows of `out` that are copied where they were told at the moment already.
        state: blank.
        out: (F, N) float32, by the pairs' rows; NaN where a thing is not known.
    """
    for user in range(low, high):
        first, stop = pairs.begin[user], pairs.begin[user + 1]
        if first == stop:
            continue
        _forget(state)
        head, end = events.begin[user], events.begin[user + 1]
        state.tails[:] = head
        moment = first
        for pair in range(first, stop):
            at, horizon, row = pairs.at[pair], pairs.horizon[pair], pairs.row[pair]
            if pair > first and at == pairs.at[pair - 1]:
                _repeat(repeats.moment, pairs.row[moment], out, row)
            else:
                moment = pair
                while head < end and events.at[head] < horizon:
                    _learn(head, events, rules, state)
                    head += 1
                _move_windows(head, horizon, events, rules, rows.topic_counts >= 0, state)
                _tell_user(at, horizon, head, rules, rows, state, out, row)
            if pairs.concept[pair] >= 0:
                _tell_pair(moment, at, horizon, pairs.concept[pair], concepts, rules, rows, repeats, state, out, row)


@compiled
def _repeat(features: Ints, told: int, out: Vectors, row: int) -> None:
    for feature in features:
        out[feature, row] = out[feature, told]


@compiled
def _forget(state: State) -> None:
    for place in range(state.numbers[_TOUCHED]):
        topic = state.touched[place]
        state.last[topic] = NEVER
        state.sums[topic] = 0.0
        state.actions[topic] = 0.0
        state.dwell[topic] = 0.0
        state.recent[topic] = 0
        state.session[topic] = 0
    state.total[:] = 0.0
    state.vector[:] = 0.0
    state.levels[:] = 0.0
    state.numbers[:] = 0
    state.numbers[_LAST] = state.numbers[_ANCHOR] = state.numbers[_PLACED_AT] = NEVER
    state.numbers[_DEVICE] = -1


@compiled
def _learn(event: int, events: Events, rules: Rules, state: State) -> None:
    """Moves the state on by one event."""
    at, numbers = events.at[event], state.numbers
    action = events.action[event] if rules.by_action else -1
    dwell = events.dwell[event] if rules.by_dwell else np.nan
    weight = rules.weights[action]
    if numbers[_LAST] == NEVER or at - numbers[_LAST] > rules.gap:
        numbers[_SESSION] += 1
        numbers[_BEGAN] = at
        numbers[_DEPTH] = numbers[_MATCHES] = numbers[_WIDTH] = 0
    numbers[_DEPTH] += 1
    distinct = 0
    if rules.by_topic:
        for place in range(events.first[event], events.last[event]):
            topic = events.topics[place]
            if topic >= 0 and not _repeated(events.topics, events.first[event], place):
                distinct += 1
                _learn_topic(topic, at, action, weight, dwell, rules, state)
        if distinct and weight > 0:
            for half in range(len(rules.rates)):
                fade = np.exp2((numbers[_ANCHOR] - at) * rules.rates[half]) if numbers[_ANCHOR] != NEVER else 0.0
                state.total[half] = state.total[half] * fade + weight * distinct
            numbers[_ANCHOR] = at
    if rules.by_dwell:
        fade = np.exp2((numbers[_LAST] - at) * rules.rates[rules.main]) if numbers[_LAST] != NEVER else 0.0
        state.levels[_DWELL] = state.levels[_DWELL] * fade + (0.0 if np.isnan(dwell) else dwell)
        state.levels[_DWELLS] = state.levels[_DWELLS] * fade + (0.0 if np.isnan(dwell) else 1.0)
    if rules.by_item and weight > 0:
        _learn_place(event, at, weight, events, rules, state)
    if rules.by_device and events.device[event] != -1:
        numbers[_DEVICE] = events.device[event]
    numbers[_LAST] = at


@compiled
def _learn_topic(topic: int, at: int, action: int, weight: float, dwell: float, rules: Rules, state: State) -> None:
    if state.last[topic] == NEVER:
        state.touched[state.numbers[_TOUCHED]] = topic
        state.numbers[_TOUCHED] += 1
        state.last[topic] = at
    gap = state.last[topic] - at
    for half in range(len(rules.rates)):
        fade = np.exp2(gap * rules.rates[half])
        kept = state.sums[topic, half] * fade
        state.sums[topic, half] = (kept if kept > _FAINT else 0.0) + weight
        if half == rules.main:
            for kind in range(state.actions.shape[1]):
                state.actions[topic, kind] *= fade
            state.dwell[topic, 0] *= fade
            state.dwell[topic, 1] *= fade
    state.last[topic] = at
    if action >= 0:
        state.actions[topic, action] += 1.0
    if not np.isnan(dwell):
        state.dwell[topic, 0] += dwell
        state.dwell[topic, 1] += 1.0
    for window in range(len(rules.windows)):
        state.recent[topic, window] += 1
    if state.session[topic, 0] != state.numbers[_SESSION]:
        state.session[topic, 0] = state.numbers[_SESSION]
        state.session[topic, 1] = 0
        state.numbers[_WIDTH] += 1
    state.session[topic, 1] += 1
    state.numbers[_MATCHES] += 1


@compiled
def _learn_place(event: int, at: int, weight: float, events: Events, rules: Rules, state: State) -> None:
    """Adds the item's vector, or the mean of its known topics' vectors, to the embedding."""
    item, known = events.item[event], 0
    if item < 0:
        for place in range(events.first[event], events.last[event]):
            topic = events.topics[place]
            known += topic >= 0 and rules.placed[topic] and not _repeated(events.topics, events.first[event], place)
        if known == 0:
            return
    if state.numbers[_PLACED_AT] != NEVER:
        fade = np.exp2((state.numbers[_PLACED_AT] - at) * rules.rates[rules.main])
        state.levels[_MASS] *= fade
        for axis in range(len(state.vector)):
            state.vector[axis] *= fade
    state.levels[_MASS] += weight
    state.numbers[_PLACED_AT] = at
    if item >= 0:
        for axis in range(len(state.vector)):
            state.vector[axis] += weight * rules.items[item, axis]
        state.ring[state.numbers[_RING] % rules.depth] = item
        state.numbers[_RING] += 1
        return
    for place in range(events.first[event], events.last[event]):
        topic = events.topics[place]
        if topic >= 0 and rules.placed[topic] and not _repeated(events.topics, events.first[event], place):
            for axis in range(len(state.vector)):
                state.vector[axis] += weight / known * rules.places[topic, axis]


@compiled
def _repeated(topics: Codes, first: int, place: int) -> bool:
    """Whether the topic at `place` stands in its event's list before."""
    for other in range(first, place):  # noqa: SIM110 - compiled
        if topics[other] == topics[place]:
            return True
    return False


@compiled
def _move_windows(head: int, horizon: int, events: Events, rules: Rules, by_topic: bool, state: State) -> None:
    """Lets go of the events that are older than each window."""
    for window in range(len(rules.windows)):
        edge, tail = horizon - rules.windows[window], state.tails[window]
        while tail < head and events.at[tail] < edge:
            if by_topic:
                for place in range(events.first[tail], events.last[tail]):
                    topic = events.topics[place]
                    if topic >= 0 and not _repeated(events.topics, events.first[tail], place):
                        state.recent[topic, window] -= 1
            tail += 1
        state.tails[window] = tail


@compiled
def _tell_user(
    at: int, horizon: int, head: int, rules: Rules, rows: Rows, state: State, out: Vectors, row: int
) -> None:
    """Writes what does not depend on the concept."""
    numbers, levels = state.numbers, state.levels
    if rows.counts >= 0:
        for window in range(len(rules.windows)):
            out[rows.counts + window, row] = head - state.tails[window]
    if rows.recency >= 0 and numbers[_LAST] != NEVER:
        out[rows.recency, row] = (at - numbers[_LAST]) / MICROS_PER_HOUR
    if rows.dwell >= 0 and levels[_DWELLS] > _FAINT:
        out[rows.dwell, row] = levels[_DWELL] / levels[_DWELLS]
    if rows.diversity >= 0 and numbers[_ANCHOR] != NEVER:
        out[rows.diversity, row] = _entropy(rules, state)
    if rows.session >= 0:
        current = numbers[_LAST] != NEVER and horizon - numbers[_LAST] <= rules.gap
        out[rows.session, row] = numbers[_DEPTH] if current else 0.0
        out[rows.session + 1, row] = (numbers[_LAST] - numbers[_BEGAN]) / _MINUTE if current else 0.0
        out[rows.session + 2, row] = numbers[_WIDTH] if current else 0.0
    if rows.mass >= 0:
        fade = np.exp2((numbers[_PLACED_AT] - at) * rules.rates[rules.main]) if numbers[_PLACED_AT] != NEVER else 0.0
        out[rows.mass, row] = levels[_MASS] * fade
    if rows.device >= 0 and numbers[_DEVICE] != -1:
        out[rows.device, row] = max(numbers[_DEVICE] + 1, 0)


@compiled
def _entropy(rules: Rules, state: State) -> float:
    """-sum of s * ln(s) over topic shares s: ln(total) - sum of v * ln(v) / total, with v = s * total."""
    total, spread = 0.0, 0.0
    for place in range(state.numbers[_TOUCHED]):
        topic = state.touched[place]
        value = state.sums[topic, rules.main] * np.exp2(
            (state.last[topic] - state.numbers[_ANCHOR]) * rules.rates[rules.main]
        )
        if value > _FAINT:
            total += value
            spread += value * np.log(value)
    return float(max(np.log(total) - spread / total, 0.0))


@compiled
def _tell_pair(
    moment: int,
    at: int,
    horizon: int,
    concept: int,
    concepts: Concepts,
    rules: Rules,
    rows: Rows,
    repeats: Repeats,
    state: State,
    out: Vectors,
    row: int,
) -> None:
    """Writes what depends on the concept; `moment` is a number that no other moment has."""
    alike, place = concepts.alike[concept], concepts.place[concept]
    if state.told_topics[alike, 0] == moment:
        _repeat(repeats.topics, state.told_topics[alike, 1], out, row)
    else:
        topics = concepts.topics[concepts.begin[concept] : concepts.begin[concept + 1]]
        if rules.by_topic and len(topics):
            if state.numbers[_ANCHOR] != NEVER:
                _tell_affinities(at, topics, rules, rows, state, out, row)
            _tell_topics(at, horizon, topics, rules, rows, state, out, row)
        state.told_topics[alike, 0], state.told_topics[alike, 1] = moment, row
    if state.told_places[place, 0] == moment:
        _repeat(repeats.place, state.told_places[place, 1], out, row)
    else:
        _tell_place(concepts.vectors[concept], rules, rows, state, out, row)
        state.told_places[place, 0], state.told_places[place, 1] = moment, row


@compiled
def _tell_place(target: Vectors, rules: Rules, rows: Rows, state: State, out: Vectors, row: int) -> None:
    """Writes how near the user, and the items visited last, are to where the concept stands."""
    if (rows.cosine < 0 and rows.covisit < 0) or not np.any(target):
        return
    if rows.cosine >= 0:
        length = np.sqrt(_dot(state.vector, state.vector))
        if length > 0:
            out[rows.cosine, row] = min(max(_dot(state.vector, target) / length, -1.0), 1.0)
    if rows.covisit >= 0 and state.numbers[_RING] > 0:
        kept, total, best = min(state.numbers[_RING], rules.depth), 0.0, -2.0
        for place in range(kept):
            strength = _dot(rules.items[state.ring[place]], target)
            total += strength
            best = max(best, strength)
        out[rows.covisit, row] = total / kept
        out[rows.covisit + 1, row] = best


@compiled
def _tell_affinities(at: int, topics: Codes, rules: Rules, rows: Rows, state: State, out: Vectors, row: int) -> None:
    """Writes decayed sums, means over the topics of the concept."""
    anchor, main = state.numbers[_ANCHOR], rules.rates[rules.main]
    for half in range(rules.told):
        total, rate = 0.0, rules.rates[half]
        for topic in topics:
            if state.sums[topic, half] > _FAINT:
                total += state.sums[topic, half] * np.exp2((state.last[topic] - anchor) * rate)
        if rows.affinity >= 0:
            out[rows.affinity + half, row] = total * np.exp2((anchor - at) * rate) / len(topics)
        if rows.affinity_share >= 0:
            out[rows.affinity_share + half, row] = total / state.total[half] / len(topics)
    if rows.action_affinity >= 0:
        for kind in range(state.actions.shape[1]):
            total = 0.0
            for topic in topics:
                if state.actions[topic, kind] > _FAINT:
                    total += state.actions[topic, kind] * np.exp2((state.last[topic] - at) * main)
            out[rows.action_affinity + kind, row] = total / len(topics)


@compiled
def _tell_topics(
    at: int, horizon: int, topics: Codes, rules: Rules, rows: Rows, state: State, out: Vectors, row: int
) -> None:
    """Writes what else is known of the topics of the concept."""
    numbers = state.numbers
    last, dwell, dwells, matches = NEVER, 0.0, 0.0, 0
    for topic in topics:
        last = max(last, state.last[topic])
        if state.dwell[topic, 1] > _FAINT:
            fade = np.exp2((state.last[topic] - numbers[_LAST]) * rules.rates[rules.main])
            dwell += state.dwell[topic, 0] * fade
            dwells += state.dwell[topic, 1] * fade
        if state.session[topic, 0] == numbers[_SESSION]:
            matches += state.session[topic, 1]
    if rows.topic_recency >= 0 and last != NEVER:
        out[rows.topic_recency, row] = (at - last) / MICROS_PER_HOUR
    if rows.topic_dwell >= 0 and dwells > _FAINT:
        out[rows.topic_dwell, row] = dwell / dwells
    if rows.session_share >= 0 and numbers[_MATCHES] > 0 and horizon - numbers[_LAST] <= rules.gap:
        out[rows.session_share, row] = matches / numbers[_MATCHES]
    if rows.topic_counts >= 0:
        for window in range(len(rules.windows)):
            found = 0
            for topic in topics:
                found += state.recent[topic, window]
            out[rows.topic_counts + window, row] = found


@compiled
def _dot(left: Floats | Vectors, right: Floats | Vectors) -> float:
    """Inner product in four running sums, in a fixed order."""
    whole = len(left) // 4 * 4
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for axis in range(0, whole, 4):
        a += left[axis] * np.float64(right[axis])
        b += left[axis + 1] * np.float64(right[axis + 1])
        c += left[axis + 2] * np.float64(right[axis + 2])
        d += left[axis + 3] * np.float64(right[axis + 3])
    for axis in range(whole, len(left)):
        a += left[axis] * np.float64(right[axis])
    return float((a + b) + (c + d))
