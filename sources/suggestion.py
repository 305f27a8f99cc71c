"""Turns the columns of somebody's logs into a proposed mapping file: by their names, and by what their values look like."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

import polars as pl

from contracts.tables import ACTIONS, INPUT_TABLES, nullable_columns, polars_schema

_NAMES: dict[str, tuple[str, ...]] = {
    "user_id": ("user", "userid", "uid", "visitorid", "visitor", "customerid", "customer", "memberid", "msno", "clientid",
                "profileid", "cookieid", "deviceid"),
    "at": ("timestamp", "ts", "time", "eventtime", "datetime", "date", "createdat", "occurredat", "servertime", "when"),
    "action": ("event", "eventtype", "eventname", "type", "behavior", "behaviour", "activity"),
    "item_id": ("item", "itemid", "sku", "productid", "product", "articleid", "article", "contentid", "pageid", "newsid"),
    "topics": ("topic", "category", "categories", "categoryid", "categorycode", "cat", "tags", "genres", "genre", "keywords"),
    "dwell_seconds": ("dwell", "dwelltime", "duration", "timespent", "seconds"),
    "device": ("devicetype", "platform", "useragenttype"),
    "concept_id": ("adid", "ad", "concept", "campaign", "campaignid", "offerid", "bannerid", "actionid", "itemid", "item"),
    "impression_id": ("impression", "requestid", "showid", "id", "rowid"),
    "slot": ("position", "pos", "rank", "place"),
    "clicked": ("click", "isclick", "isclicked", "label", "reward"),
    "propensity": ("propensityscore", "pscore", "actionprob", "prob", "probability"),
    "policy": ("behaviorpolicy", "loggingpolicy", "policyname", "variant", "bucket"),
    "creative_id": ("creative", "creativeid", "image", "imageid", "assetid"),
    "advertiser": ("brand", "advertiserid", "seller", "merchant", "company"),
    "headline": ("title", "headlines", "name", "productname"),
    "body": ("description", "abstract", "text", "copy"),
    "call_to_action": ("cta", "button", "buttonlabel"),
    "product_image": ("image", "picture", "photo", "imagepath", "productphoto"),
    "colours": ("colors", "colour", "color", "brandcolors"),
    "landing_url": ("url", "link", "landingpage", "href"),
    "active_from": ("start", "startdate", "validfrom", "from"),
    "active_until": ("end", "enddate", "validuntil", "until"),
    "sensitive": ("issensitive",),
    "personalise": ("consent", "optin", "personalize", "gdprconsent", "marketingconsent"),
    "locale": ("language", "lang"),
    "adult": ("isadult", "over18", "ofage"),
    "file": ("path", "filename", "image", "imagepath"),
}  # fmt: skip
_TABLE_NAMES = {
    "events": ("event", "click stream", "clickstream", "browsing", "behavior", "behaviour", "visits", "log", "actions"),
    "concepts": ("concept", "ads", "items", "products", "catalog", "catalogue", "campaigns", "news"),
    "impressions": ("impression", "views", "exposures", "shown", "served", "bandit"),
    "users": ("user", "customers", "consent", "members", "visitors"),
    "pictures": ("picture", "creatives", "images", "banners"),
    "clicks": ("click",),
}
_ACTIONS = {
    "view": ("pageview", "page_view", "productview", "product_view", "view_item", "detail", "pv", "viewed", "impression", "visit"),
    "click": ("clicked", "select_item", "tap"),
    "cart": ("addtocart", "add_to_cart", "add-to-cart", "basket", "cart_add", "added_to_cart"),
    "purchase": ("transaction", "order", "buy", "bought", "purchased", "checkout", "conversion"),
    "search": ("query", "searched", "site_search"),
    "like": ("fav", "favourite", "favorite", "wishlist", "bookmark", "rating", "liked", "love"),
}  # fmt: skip
_MAY_BE_EMPTY = {("events", "topics"), ("concepts", "body")}
_UNITS = (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))
_FROM_YEAR_2000, _TO_YEAR_2100 = 946_684_800, 4_102_444_800
_ENDINGS = re.compile(r"\.(parquet|csv|tsv|ndjson|jsonl)(\.gz|\.zst)?$")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A proposed mapping.toml, and in words what it could not find."""

    text: str
    unsure: tuple[str, ...]


@dataclass
class _Guess:
    table: str
    place: str
    columns: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def suggest(samples: dict[str, pl.DataFrame]) -> Suggestion:
    """A mapping for the tables of a folder.

    Args:
        samples: name of file or folder -> its first rows, as read.
    """
    guesses = [
        (place, frame, _guess(table, place, frame)) for place, frame in samples.items() for table in INPUT_TABLES
    ]
    ranked = sorted(guesses, key=lambda one: -_score(one[2], one[1]))
    chosen: dict[str, tuple[pl.DataFrame, _Guess]] = {}
    for place, frame, guess in ranked:
        taken = {one.place for _, one in chosen.values()}
        if guess.table not in chosen and place not in taken and _score(guess, frame) > 0:
            chosen[guess.table] = (frame, guess)
    lines: list[str] = ["# Proposed from the columns and first rows; read it before you use it."]
    unsure: list[str] = []
    for table in INPUT_TABLES:
        if table in chosen:
            section = _lines(*chosen[table])
            lines += ["", *section] if len(section) > 1 else []
            unsure += [f"{table}.{name}: no column looks like it" for name in chosen[table][1].missing]
        elif table in ("events", "concepts", "impressions"):
            unsure.append(f"{table}: nothing here looks like it")
    return Suggestion("\n".join(lines) + "\n", tuple(unsure))


def _guess(table: str, place: str, frame: pl.DataFrame) -> _Guess:
    guess = _Guess(table, place)
    free = list(frame.columns)
    for name in INPUT_TABLES[table].columns():
        found = next((theirs for theirs in free if theirs == name), None)
        if found is None:
            for alias in (name.replace("_", ""), *_NAMES.get(name, ())):
                found = next(
                    (theirs for theirs in free if _bare(theirs) == alias and _can_be(name, frame[theirs])), None
                )
                if found is not None:
                    guess.why[name] = f"named {found!r}"
                    break
        if found is None:
            found = next((theirs for theirs in free if _looks_like(name, frame[theirs])), None)
            if found is not None:
                guess.why[name] = "by its values"
        if found is not None:
            guess.columns[name] = found
            free.remove(found)
        elif name not in nullable_columns(INPUT_TABLES[table]):
            guess.missing.append(name)
    return guess


def _score(guess: _Guess, frame: pl.DataFrame) -> float:
    """Higher is likelier; 0 or less: not that table."""
    needed = [
        name for name in INPUT_TABLES[guess.table].columns() if name not in nullable_columns(INPUT_TABLES[guess.table])
    ]
    share = 1 - len(guess.missing) / len(needed)
    bare = _bare(_ENDINGS.sub("", guess.place))
    named = any(_bare(word) in bare for word in (guess.table.removesuffix("s"), *_TABLE_NAMES[guess.table]))
    exact = bare == guess.table
    used = len(guess.columns) / max(frame.width, 1)
    return (
        share
        + 0.3 * used
        + (0.6 if exact else 0.3 if named else 0)
        - (0.55 if guess.table == "clicks" and not named else 0.4)
    )


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _values(column: pl.Series) -> list[str]:
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        return []
    return column.drop_nulls().cast(pl.String, strict=False).drop_nulls().head(500).to_list()


def _can_be(name: str, column: pl.Series) -> bool:
    """Whether the values do not speak against it."""
    values = [value for value in _values(column) if value != ""]
    if name in ("clicked", "personalise", "adult", "sensitive"):
        return bool(values) and {value.lower() for value in values} <= {"0", "1", "true", "false"}
    if name in ("propensity", "dwell_seconds", "slot"):
        return bool(values) and all(_number(value) is not None for value in values)
    if name == "at" or name.startswith("active_"):
        return (
            isinstance(column.dtype, (pl.Datetime, pl.Date))
            or _unit(column) is not None
            or any("-" in v or "/" in v for v in values)
        )
    return True


def _looks_like(name: str, column: pl.Series) -> bool:
    values = [value for value in _values(column) if value != ""]
    if name == "at":
        return isinstance(column.dtype, pl.Datetime) or _unit(column) is not None
    if name == "action":
        known = {*ACTIONS, *(word for words in _ACTIONS.values() for word in words)}
        return bool(values) and {value.lower() for value in values} <= known
    if name == "propensity":
        numbers = [_number(value) for value in values]
        return (
            len(set(values)) > 1 and all(n is not None and 0 < n <= 1 for n in numbers) and any(n != 1 for n in numbers)
        )
    return False


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _unit(column: pl.Series) -> str | None:
    """The unit of numbers that are times of this century, since 1970; None when they are not."""
    numbers = [_number(value) for value in _values(column)]
    known = [number for number in numbers if number is not None]
    if not known or len(known) < len(numbers):
        return None
    for unit, per_second in _UNITS:
        if all(_FROM_YEAR_2000 * per_second <= number < _TO_YEAR_2100 * per_second for number in known):
            return unit
    return None


def _lines(frame: pl.DataFrame, guess: _Guess) -> list[str]:
    lines = [f"[{guess.table}]"]
    if _ENDINGS.sub("", guess.place) != guess.table:
        lines.append(f"path = {json.dumps(guess.place)}")
    renamed = {ours: theirs for ours, theirs in guess.columns.items() if ours != theirs}
    lines += [f"# {ours}: {guess.why[ours]}" for ours in renamed if ours in guess.why]
    if renamed:
        inner = ", ".join(f"{ours} = {json.dumps(theirs, ensure_ascii=False)}" for ours, theirs in renamed.items())
        lines.append(f"columns = {{ {inner} }}")
    lines += _time_lines(frame, guess)
    if "action" in guess.columns:
        lines += _action_lines(frame[guess.columns["action"]])
    topics = frame[guess.columns["topics"]] if "topics" in guess.columns else None
    if topics is not None and topics.dtype == pl.String:
        separator = _separator([value for value in _values(topics) if value])
        if separator:
            lines.append(f"topic_separator = {json.dumps(separator)} # topics hold it")
    empty = [name for name in guess.missing if (guess.table, name) in _MAY_BE_EMPTY]
    if empty:
        inner = ", ".join(f'{name} = ""' for name in empty)
        lines.append(f"constants = {{ {inner} }} # no column looks like it; it may be empty")
        guess.missing = [name for name in guess.missing if name not in empty]
    if "impression_id" in guess.missing:
        lines.append("# impression_id: no column; give each row an id of its own where the log is made")
    lines += [f"# ? {name}: no column looks like it; name it under columns, or give one value under constants"
              for name in guess.missing if name != "impression_id"]  # fmt: skip
    return lines


def _time_lines(frame: pl.DataFrame, guess: _Guess) -> list[str]:
    schema = polars_schema(INPUT_TABLES[guess.table])
    for ours, theirs in guess.columns.items():
        if not isinstance(schema[ours], pl.Datetime):
            continue
        column = frame[theirs]
        unit = _unit(column)
        if unit is not None:
            return [f'time_unit = "{unit}" # numbers of {theirs} are such units since 1970']
        naive = isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is None
        local = [v for v in _values(column) if re.fullmatch(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?", v)]
        if naive or (column.dtype == pl.String and local):
            return ['time_zone = "UTC" # ? times have no offset: put the zone of the clock that wrote them']
    return []


def _action_lines(column: pl.Series) -> list[str]:
    found = sorted(set(_values(column)) - set(ACTIONS) - {""})
    known = {word: ours for ours, words in _ACTIONS.items() for word in (*words, ours)}
    mapped = {value: known[value.lower()] for value in found if value.lower() in known}
    lines = [
        f"# ? the action {json.dumps(value)} is none of {', '.join(ACTIONS)}"
        for value in found[:20]
        if value not in mapped
    ]
    if mapped:
        inner = ", ".join(f"{json.dumps(theirs)} = {json.dumps(ours)}" for theirs, ours in mapped.items())
        lines.append(f"actions = {{ {inner} }}")
    return lines


def _separator(values: list[str]) -> str | None:
    if not values or any(value.startswith("[") or "|" in value for value in values):
        return None
    counts = {mark: sum(mark in value for value in values) for mark in (",", ";", "/", ".", ">")}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] >= 0.3 * len(values) else None
