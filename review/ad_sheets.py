"""Turns approved ads into the spreadsheets that ad platforms take in bulk: Google Ads, Display & Video 360, Meta, plain.

Columns are named as the platforms name them:

| sheet | columns of |
|---|---|
| google_ads.csv | Google Ads Editor Help, "CSV file columns" (answer 57747): image ads, one row a size |
| dv360.csv | Display & Video 360 API, resource advertisers.creatives, hosted standard creatives: one row a size |
| meta.csv | Meta Ads Manager, the sheet of "Export and import ads in bulk": one row an ad, its image by file name |
| creatives.csv | none but ours: everything that is known, one row a size |

A cell that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, "CSV Injection").
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from contracts.errors import DataError

_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")
_PAUSED = "Paused"  # what is uploaded never spends money before somebody says so


@dataclass(frozen=True)
class Ad:
    """One file of one approved creative.

    Attributes:
        creative_id, concept_id, advertiser, cohort, generator, weights_hash: as in the tables.
        topics: of the concept.
        headline, body, call_to_action, alt_text: the words.
        landing: landing URL with UTM parameters, by platform: "google_ads", "dv360", "meta", "generic".
        display_url: host of the landing page.
        campaign: name of the campaign to put it in; ad_group: of the group in that.
        file: path in the archive. sha256, bytes: of its content. width, height: pixels.
        main: whether this size is the creative's main one.
        digital_source_type: as the file itself says it, see `contracts.provenance`.
    """

    creative_id: str
    concept_id: str
    advertiser: str
    cohort: int
    generator: str
    weights_hash: str
    topics: tuple[str, ...]
    headline: str
    body: str
    call_to_action: str
    alt_text: str
    landing: Mapping[str, str]
    display_url: str
    campaign: str
    ad_group: str
    file: str
    sha256: str
    bytes: int
    width: int
    height: int
    main: bool
    digital_source_type: str

    @property
    def name(self) -> str:
        """Of the ad on a platform: stable, and unique for a size."""
        return f"{self.creative_id}_{self.width}x{self.height}"


Row = dict[str, str]


def google_ads(ads: Sequence[Ad]) -> list[Row]:
    """Rows for Google Ads Editor."""
    return [
        {
            "Campaign": ad.campaign,
            "Ad group": ad.ad_group,
            "Ad type": "Image ad",
            "Image": ad.file,
            "Image name": ad.name,
            "Image size": f"{ad.width} x {ad.height}",
            "Display URL": ad.display_url,
            "Final URL": ad.landing["google_ads"],
            "Ad status": _PAUSED,
            "Labels": "Adloom;AI-generated",
        }
        for ad in ads
    ]


def dv360(ads: Sequence[Ad]) -> list[Row]:
    """Rows for Display & Video 360: upload the asset, then create the creative with these fields."""
    return [
        {
            "displayName": ad.name,
            "entityStatus": "ENTITY_STATUS_PAUSED",
            "creativeType": "CREATIVE_TYPE_STANDARD",
            "hostingSource": "HOSTING_SOURCE_HOSTED",
            "dimensions.widthPixels": str(ad.width),
            "dimensions.heightPixels": str(ad.height),
            "assets.role": "ASSET_ROLE_MAIN",
            "assets.filename": ad.file,
            "exitEvents.type": "EXIT_EVENT_TYPE_DEFAULT",
            "exitEvents.url": ad.landing["dv360"],
            "integrationCode": ad.creative_id,
            "notes": f"{ad.alt_text} AI-generated: {ad.digital_source_type}",
        }
        for ad in ads
    ]


def meta(ads: Sequence[Ad]) -> list[Row]:
    """Rows for Meta Ads Manager, one a creative: in its main size."""
    return [
        {
            "Campaign Name": ad.campaign,
            "Ad Set Name": ad.ad_group,
            "Ad Name": ad.name,
            "Ad Status": "PAUSED",
            "Creative Type": "Link Page Post Ad",
            "Title": ad.headline,
            "Body": ad.body,
            "Link": ad.landing["meta"],
            "Display Link": ad.display_url,
            "Call to Action": button_of(ad.call_to_action),
            "Image File Name": ad.file,
            "Tags": "Adloom,AI-generated",
        }
        for ad in ads
        if ad.main
    ]


def generic(ads: Sequence[Ad]) -> list[Row]:
    """Everything, one row a file."""
    return [
        {
            "file": ad.file,
            "sha256": ad.sha256,
            "bytes": str(ad.bytes),
            "width": str(ad.width),
            "height": str(ad.height),
            "creative_id": ad.creative_id,
            "concept_id": ad.concept_id,
            "advertiser": ad.advertiser,
            "topics": " ".join(ad.topics),
            "cohort": str(ad.cohort),
            "headline": ad.headline,
            "body": ad.body,
            "call_to_action": ad.call_to_action,
            "alt_text": ad.alt_text,
            "landing_url": ad.landing["generic"],
            "synthetic": "true",
            "digital_source_type": ad.digital_source_type,
            "generator": ad.generator,
            "weights_hash": ad.weights_hash,
        }
        for ad in ads
    ]


SHEETS: dict[str, Callable[[Sequence[Ad]], list[Row]]] = {
    "google_ads.csv": google_ads,
    "dv360.csv": dv360,
    "meta.csv": meta,
    "creatives.csv": generic,
}
"""Every sheet by its file name."""

PLATFORMS = ("google_ads", "dv360", "meta", "generic")
"""Keys of `Ad.landing`; also `{platform}` in a UTM template."""

_BUTTONS = {
    "SHOP_NOW": ("shop", "buy", "order"),
    "BOOK_TRAVEL": ("book", "reserve"),
    "SIGN_UP": ("sign", "join", "register"),
    "SUBSCRIBE": ("subscribe",),
    "DOWNLOAD": ("download", "get the app", "install"),
    "GET_OFFER": ("offer", "save"),
    "CONTACT_US": ("contact", "call", "ask"),
}


def button_of(call_to_action: str) -> str:
    """Meta's button that says most nearly what the concept's does; LEARN_MORE where none does.

    Meta sets no free text on a button (Marketing API, `call_to_action.type`).
    """
    words = call_to_action.casefold()
    return next((name for name, signs in _BUTTONS.items() if any(sign in words for sign in signs)), "LEARN_MORE")


def alt_text(headline: str, advertiser: str, topics: Sequence[str], *, has_product: bool) -> str:
    """What a screen reader says of the ad, at most 250 characters: whose it is, what it says, that a model painted it."""
    subject = "the product" if has_product else "no product"
    about = f" about {', '.join(topics)}" if topics else ""
    text = f"Ad by {advertiser}{about}: “{headline.rstrip('.')}”, with {subject} in a painted scene."
    return text if len(text) <= 250 else text[:249] + "…"


def harmless(cell: str) -> str:
    """The cell, with an apostrophe in front where a spreadsheet would run it as a formula."""
    return f"'{cell}" if cell.startswith(_DANGEROUS) else cell


def to_csv(rows: Sequence[Row], *, columns: Sequence[str] = ()) -> bytes:
    """A sheet as UTF-8 bytes with CRLF (RFC 4180), every cell harmless; `columns` where there are no rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else list(columns), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: harmless(cell) for name, cell in row.items()} for row in rows)
    return text.getvalue().encode()


def from_csv(content: bytes) -> list[Row]:
    """The rows that `to_csv` wrote, apostrophes taken off again. Raises DataError when it is no such sheet."""
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"is not a sheet ({error})", where="export", fix="Export again.") from error
    return [{name: cell[1:] if _was_made_harmless(cell) else cell for name, cell in row.items()} for row in rows]


def _was_made_harmless(cell: str) -> bool:
    return cell.startswith("'") and cell[1:].startswith(_DANGEROUS)
