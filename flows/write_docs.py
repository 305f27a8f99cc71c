"""Turns the code's own descriptions into the reference pages, and checks that the pages are in step."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dataframely as dy
from pydantic import BaseModel

from contracts.settings import Settings
from contracts.tables import INPUT_TABLES, OPTIONAL_INPUTS, STAGE_TABLES
from evaluation.ab_schema import FIELDS as ABTEST_FIELDS
from evaluation.comparison import FIELDS as COMPARISON_FIELDS
from evaluation.schema import FIELDS
from features.directions import directions_markdown
from features.glossary import features_markdown
from flows.list_licences import licences, licences_markdown
from generators.checking.findings import CHECKS as PICTURE_CHECKS
from generators.typesetting.brand_kits import BRAND_FOLDER, OTHERS, Kit
from generators.typesetting.brand_kits import FILE as BRANDS_FILE
from sources.catalogue import CHECKS

ROOT = Path(__file__).resolve().parents[1]
_BRANDS_EXAMPLE = """```toml
["Harbour Roasters"]
display_font = "brand/Harbour-Bold.ttf"
logos = ["brand/harbour-dark.png", "brand/harbour-white.png"]
clear_space = 0.5
colours = ["#0b6e4f"]
forbidden_colours = ["#d0021b"]

["*"]
inks = ["#ffffff", "#101820"]
```
"""
_MADE = "<!-- made by python -m flows.write_docs -->\n\n"

_PICTURE_CHECKS = """# What a picture must pass

Every finished picture is measured by every check before anybody sees it. `generators/creative_checks.parquet` in the run has
one row for each check of each creative: what was measured, what is allowed, and why it failed or was not checked; the page of a
creative in `adloom review` shows them. The limits are settings under `[checks]`.

A picture that fails in something that another scene may mend is drawn again with a new seed, at most `generators.redraws` times.
One that still fails is dropped: it stays in the table with its reasons, the run names it, and it is never
exported. A concept whose words are rude, or cannot be set, is set aside before anything is drawn for it.

| check | fails when | measured in | drawn again |
|---|---|---|---|
TABLE

## Two of them need more

- `text_illegible` reads the headline with an open OCR network: install `adloom[ocr]`, set `read_headline = true`. Latin, Chinese
  and Japanese letters are read; for others the check says that it did not look.
- `unsafe` asks the open_nsfw network: install `adloom[safety]`, set `unsafe = true`.

Where a setting asks for one that is not installed, the run goes on, says so, and the table says "not checked".

## Diversity

Variety is of a set of pictures, not of one, and of what was painted, not of what is advertised: two products on one scene look
different and bore all the same. So it is measured on the scenes, around the product's box. Two scenes are as far apart as the root
mean square CIE76 colour difference of those of their 16 x 16 mean colours: 2 is just noticeable side by side, black beside white is
100. `generators/diversity.json` has the mean distance of the scenes for each cohort (`audiences`), and of those in the slates (`users`:
median, lowest, share under the limit). Under `audience_distance` and `user_distance` the run warns; nothing is dropped for it.

The limits of 20 come from runs as shipped on three planted worlds (simulated): of 3,431 slates of four pictures the median was 40, one in a
hundred was under 27, and one was under 20; of 36 cohorts with two pictures and more the lowest was 22.

## How well the gate tells

`python -m benchmarks.check_quality`: defects of every kind, planted at a strength drawn at random into pictures of the simulated sample, in all eleven
sizes, and as many sound pictures, each with an innocent word that looks like a rude one and a sibling that it might repeat; 400 of each, headlines read
back with `adloom[ocr]`, seed 2. For diversity, 40 slates of users and 40 sets for audiences, drawn as a run draws them, and as many that stand on one scene.
The bar is 0.858, what a published inspector of generated ad pictures reaches on its own pictures: a bar and not a peer.

| defect | planted | found | false alarms | precision | recall | F1 |
|---|---|---|---|---|---|---|
| `blank_or_flat` | 40 | 30 | 0 | 1.00 | 0.75 | 0.86 |
| `near_duplicate` | 80 | 68 | 0 | 1.00 | 0.85 | 0.92 |
| `product_altered` | 40 | 38 | 0 | 1.00 | 0.95 | 0.97 |
| `text_illegible` | 40 | 40 | 0 | 1.00 | 1.00 | 1.00 |
| `low_contrast` | 40 | 40 | 0 | 1.00 | 1.00 | 1.00 |
| `text_overflow` | 40 | 40 | 0 | 1.00 | 1.00 | 1.00 |
| `profanity` | 40 | 37 | 0 | 1.00 | 0.93 | 0.96 |
| `off_brand` | 40 | 40 | 0 | 1.00 | 1.00 | 1.00 |
| `forbidden_colour` | 40 | 40 | 6 | 0.87 | 1.00 | 0.93 |
| low diversity, users | 40 | 40 | 0 | 1.00 | 1.00 | 1.00 |
| low diversity, audiences | 40 | 40 | 0 | 1.00 | 1.00 | 1.00 |
| any of those on one picture | 400 | 374 | 6 | 0.98 | 0.94 | 0.96 |

The limit of `blank_or_flat` was 1.5 levels then and is 3 now: the missed ones kept 3 to 6 % of their scene's contrast, and of 300 creatives of
three sample runs the calmest varies by 15. What is missed of repeats is mostly in flat sizes, where type is most of the picture. Sound pictures that fail
for a forbidden colour do hold it, by chance. Sets that vary too little keep up to 35 % of what sets their scenes apart; sets that are
less alike than that were not tried. Indecent pictures are not among them: none is at hand.
"""


def pages() -> dict[str, str]:
    """Every generated page by path."""
    return {
        "docs/data-contracts.md": data_contracts(),
        "docs/checks.md": checks(),
        "docs/picture-checks.md": picture_checks(),
        "docs/features.md": _MADE + "# The ranking features\n\n" + features_markdown() + directions_markdown(),
        "docs/report.md": fields("report.json", FIELDS),
        "docs/comparison.md": fields("comparison.json", COMPARISON_FIELDS),
        "docs/abtest-fields.md": fields("abtest.json", ABTEST_FIELDS),
        "docs/brand-kit.md": brand_kit(),
        "docs/licences.md": _MADE + licences_markdown(licences(ROOT / "requirements")),
        "configs/default.toml": default_settings(),
    }


def data_contracts() -> str:
    """The tables: what comes in, what stages make."""
    parts = [
        _MADE,
        "# Data contracts\n\nTimes are UTC microseconds. Columns marked with ? may be null, or left out of a file.\n",
    ]
    for title, tables in (("What comes in", INPUT_TABLES), ("What stages make", STAGE_TABLES)):
        parts.append(f"\n## {title}\n")
        for name, schema in tables.items():
            optional = " (optional)" if name in OPTIONAL_INPUTS else ""
            parts.append(
                f"\n### `{name}`{optional}\n\n{schema.__doc__}\n\n| column | type | key | bounds | meaning |\n|---|---|---|---|---|\n"
            )
            parts += [_column_row(column, about) for column, about in schema.columns().items()]
    return "".join(parts)


def _column_row(name: str, about: dy.Column) -> str:
    mark = "?" if about.nullable else ""
    return f"| `{name}`{mark} | {about.dtype} | {'key' if about.primary_key else ''} | {_bounds(about)} | {about.description or ''} |\n"


def _bounds(about: Any) -> str:
    signs = {"min": ">= ", "min_exclusive": "> ", "max": "<= ", "max_exclusive": "< "}
    found = [
        f"{sign}{getattr(about, name):g}"
        for name, sign in signs.items()
        if isinstance(getattr(about, name, None), int | float)
    ]
    return ", ".join(found)


def checks() -> str:
    """The catalogue of checks."""
    lead = (
        "# What the check of a data folder can find\n\nAn error sets the row aside, with its reason; a warning is counted "
        "and the row is kept. A check marked * may be tolerated: named under `tolerate` in the settings, it is a warning.\n\n"
        "| check | severity | what it means | what to do |\n|---|---|---|---|\n"
    )
    rows = "".join(
        f"| `{name}`{'*' if check.can_be_tolerated else ''} | {check.severity} | {check.meaning} | {check.fix} |\n"
        for name, check in CHECKS.items()
    )
    return _MADE + lead + rows


def picture_checks() -> str:
    """What a picture must pass."""
    rows = "".join(
        f"| `{name}` | {check.fails_when} | {check.unit} | {'yes' if check.another_seed else 'no'} |\n"
        for name, check in PICTURE_CHECKS.items()
    )
    return _MADE + _PICTURE_CHECKS.replace("TABLE\n", rows)


def brand_kit() -> str:
    """Every key of brands.toml."""
    lead = (
        f"# Brand kits\n\nA data folder may hold `{BRANDS_FILE}`: a table for each advertiser, under the name that it has in "
        f'`concepts`, and one under `"{OTHERS}"` for all that have none. Fonts and logos stand in the folder `{BRAND_FOLDER}/` '
        "beside it. What is wrong with the file is said at once, all of it, before anything is computed. "
        "[Typesetting](typesetting.md) shows what comes of it.\n\n"
        f"{_BRANDS_EXAMPLE}\n| key | default | meaning |\n|---|---|---|\n"
    )
    rows = "".join(
        f"| `{name}` | {'' if field.default is None else f'`{_toml(field.default)}`'} | {field.description} |\n"
        for name, field in Kit.model_fields.items()
    )
    return _MADE + lead + rows


def fields(name: str, described: Mapping[str, str]) -> str:
    """Every field of a report for machines."""
    rows = "".join(f"| `{path}` | {meaning} |\n" for path, meaning in described.items())
    return f"{_MADE}# {name}\n\n| field | meaning |\n|---|---|\n{rows}"


def default_settings() -> str:
    """The settings file with every default and its meaning."""
    lines = ["# Every setting with its default and its meaning. Made by python -m flows.write_docs."]
    lines += ["", *_setting_lines(Settings, nested=False)]
    for name, field in Settings.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            lines += ["", f"[{name}] # {model.__doc__}", *_setting_lines(model, nested=True)]
    return "\n".join(lines) + "\n"


def _setting_lines(model: type[BaseModel], *, nested: bool) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            continue
        mark = "# " if field.default is None else ""
        yield f"{mark}{name} = {_toml(field.default)} # {field.description}"


def _toml(value: Any) -> str:
    if value is None:
        return '""'
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_toml(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return repr(value)


def main() -> None:
    """Writes every page; with --check only says which are out of step, exit 1."""
    stale = [
        path
        for path, text in pages().items()
        if not (ROOT / path).exists() or (ROOT / path).read_text(encoding="utf-8") != text
    ]
    if "--check" not in sys.argv:
        for path in stale:
            (ROOT / path).write_text(pages()[path], encoding="utf-8")
            print(f"wrote {path}")
    elif stale:
        print(f"out of step with the code: {', '.join(stale)}. Run: python -m flows.write_docs", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
