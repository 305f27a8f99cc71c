"""Turns a finished creative and the rules of a run into findings; remembers what passed, so that nothing is repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from contracts.settings import CheckSettings
from generators.checking.checks import examine
from generators.checking.colour_rules import check_button, check_forbidden
from generators.checking.findings import Finding, at_least
from generators.checking.indecency import Censor, check_decency
from generators.checking.legibility import Reader, check_headline
from generators.checking.likeness import Album, colours_of
from generators.checking.profanity import Rude, check_copy, rude_words
from generators.layout import Layout
from generators.products import Pixels
from generators.typesetting.typesetter import TypesetReport
from generators.typesetting.wording import Copy


@dataclass
class Gate:
    """Every check of one run.

    Attributes:
        settings: which checks, and how strict.
        reader: of headlines; None: not installed, or turned off.
        censor: of indecent pictures; None likewise.
        album: the pictures that passed.
    """

    settings: CheckSettings = field(default_factory=CheckSettings)
    reader: Reader | None = None
    censor: Censor | None = None
    album: Album = field(default_factory=Album)

    @classmethod
    def open(cls, settings: CheckSettings) -> Gate:
        """A gate with what the settings ask for, as far as it is installed."""
        return cls(
            settings,
            reader=Reader.load() if settings.read_headline else None,
            censor=Censor.load() if settings.unsafe else None,
        )

    def missing(self) -> list[str]:
        """What the settings ask for and this machine lacks, in words."""
        lacks = []
        if self.settings.read_headline and self.reader is None:
            lacks.append("headlines were not read back: install adloom[ocr]")
        if self.settings.unsafe and self.censor is None:
            lacks.append("indecent pictures were not looked for: install adloom[safety]")
        return lacks

    def rude(self, copy: Copy) -> list[Rude]:
        """The rude words of an advertiser's copy."""
        texts = {
            "headline": copy.headline, "body": copy.body, "button": copy.call_to_action, "advertiser": copy.advertiser,
        }  # fmt: skip
        return rude_words(texts, also=self.settings.forbidden_words, allowed=self.settings.allowed_words)

    def examine(
        self,
        image: Image.Image,
        product: Pixels | None,
        copy: Copy,
        report: TypesetReport,
        layout: Layout,
        *,
        cohort: int | None = None,
        where: str = "creative",
    ) -> tuple[Finding, ...]:
        """All findings on a picture, in the order of `findings.CHECKS`.

        Args:
            image: finished.
            product: it was set with; None: none.
            copy: that was ordered.
            report: what `typeset` set where.
            layout: it was set in.
            cohort: whom it is for; None: it is not compared with other pictures.
            where: names it in errors.
        """
        found = examine(image, product, report, layout)
        if len(found) == 1:  # of another size: nothing stands where the report says
            return tuple(found)
        pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
        if cohort is not None:
            found.append(self.compare(image, cohort))
        found.append(self._reads(pixels, report, copy.headline))
        found.append(self._is_decent(image))
        found.append(check_copy(self.rude(copy)))
        return (*found, *self._colours(pixels, product, copy, report, where))

    def examine_size(
        self,
        image: Image.Image,
        product: Pixels | None,
        copy: Copy,
        report: TypesetReport,
        layout: Layout,
        *,
        where: str = "creative",
    ) -> tuple[Finding, ...]:
        """The findings on a further size of a picture that passed: on its pixels and its colours. Arguments as above."""
        found = examine(image, product, report, layout)
        if len(found) == 1:
            return tuple(found)
        pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
        return (*found, *self._colours(pixels, product, copy, report, where))

    def _colours(
        self, pixels: Pixels, product: Pixels | None, copy: Copy, report: TypesetReport, where: str
    ) -> list[Finding]:
        settings, barred = self.settings, forbidden_to(copy.advertiser, self.settings)
        return [
            check_button(pixels, report, copy.colours, limit=settings.button_difference, where=where),
            check_forbidden(pixels, product, report, barred, limit=settings.forbidden_share, where=where),
        ]

    def remember(self, name: str, cohort: int, image: Image.Image) -> None:
        """Keeps a picture that passed from being repeated."""
        self.album.add(name, cohort, colours_of(image))

    def compare(self, image: Image.Image, cohort: int) -> Finding:
        """Whether it repeats a picture that passed."""
        known = colours_of(image)
        near, far = self.settings.cohort_repeat, self.settings.run_repeat
        mate, any_one = self.album.nearest(known, cohort), self.album.nearest(known)
        if any_one is None:
            return Finding("near_duplicate", True, None, far)
        if mate is not None and mate.distance < near:
            reason = f"{mate.distance:.1f} from {mate.name}, for the same people"
            return at_least("near_duplicate", mate.distance, near, reason)
        return at_least("near_duplicate", any_one.distance, far, f"{any_one.distance:.1f} from {any_one.name}")

    def _reads(self, pixels: Pixels, report: TypesetReport, headline: str) -> Finding:
        if self.reader is None:
            return Finding("text_illegible", None, reason=_why_not(self.settings.read_headline, "adloom[ocr]"))
        return check_headline(pixels, report, headline, self.reader, limit=self.settings.misread)

    def _is_decent(self, image: Image.Image) -> Finding:
        if self.censor is None:
            return Finding("unsafe", None, reason=_why_not(self.settings.unsafe, "adloom[safety]"))
        return check_decency(image, self.censor, limit=self.settings.unsafe_chance)


def forbidden_to(advertiser: str, settings: CheckSettings) -> Sequence[str]:
    """The colours that an advertiser must not be seen in: its own, and those of "*"."""
    ours = settings.forbidden_colours
    return (*ours.get("*", ()), *ours.get(advertiser, ()))


def _why_not(wanted: bool, what: str) -> str:
    return f"{what} is not installed" if wanted else "turned off in the settings"
