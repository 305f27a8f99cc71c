"""Turns one check of one picture into a finding: what was measured, what is allowed, and why it fails."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """What a check looks for.

    Attributes:
        fails_when: in words, for the reference page.
        unit: of value and limit.
        another_seed: whether drawing again with another seed may mend it; copy stays as it is whatever the scene.
    """

    fails_when: str
    unit: str
    another_seed: bool = True


CHECKS: dict[str, Check] = {
    "blank_or_flat": Check(
        "the scene without product and type, or the whole picture, hardly varies", "levels of 255, standard deviation"
    ),
    "product_altered": Check(
        "a single pixel differs from the product where the product is opaque, or it stands elsewhere", "pixels"
    ),
    "low_contrast": Check(
        "a text has less than 4.5 : 1 to what is behind it, when it was set or in the finished picture", "ratio to 1"
    ),
    "text_overflow": Check(
        "type or button leaves the picture, meets the product's box or other type; a label leaves its button",
        "faults",
        another_seed=False,
    ),
    "near_duplicate": Check(
        "it looks from afar like a picture for the same people, or like any picture of the run; the twin is named",
        "CIE76 difference, root mean square of 8 x 8 means",
    ),
    "text_illegible": Check(
        "a reader of pictures (OCR, adloom[ocr]) does not read the headline that was ordered",
        "edits per character, 0 to 1",
    ),
    "unsafe": Check("an open model of indecent pictures takes it for one", "chance, 0 to 1"),
    "profanity": Check(
        "headline, body, button or advertiser hold a rude word, also disguised (sh1t, f.u.c.k, f*ck)",
        "words",
        another_seed=False,
    ),
    "off_brand": Check("the button is in none of the concept's colours", "CIE76 difference", another_seed=False),
    "forbidden_colour": Check(
        "a colour that the advertiser must not be seen in covers too much of the picture, the product left out",
        "share of the picture",
    ),
}
"""All checks, in the order of their findings."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says of one picture.

    Attributes:
        check: a key of CHECKS.
        passed: None: not checked, and `reason` says why not.
        value: what was measured; None: nothing was.
        limit: what is allowed.
        reason: why it fails, in words; empty when it passes.
    """

    check: str
    passed: bool | None
    value: float | None = None
    limit: float | None = None
    reason: str = ""


def at_least(check: str, value: float, limit: float, reason: str) -> Finding:
    """Passes when value >= limit; `reason` is kept when it fails."""
    return Finding(check, value >= limit, value, limit, "" if value >= limit else reason)


def at_most(check: str, value: float, limit: float, reason: str) -> Finding:
    """Passes when value <= limit; `reason` is kept when it fails."""
    return Finding(check, value <= limit, value, limit, "" if value <= limit else reason)


def failed(findings: tuple[Finding, ...] | list[Finding]) -> list[str]:
    """Names of the checks that failed, in order."""
    return [finding.check for finding in findings if finding.passed is False]
