"""Turns finished creatives into ones with a known defect, each kind at a strength drawn at random, and into sound ones.

Scenes are painted by the shipped network around the sample's products (the sample is simulated); words, colours and products are
the sample's; sizes go round all that the typesetter has. Everything is drawn from the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageFilter

from contracts.errors import DataError
from contracts.seeds import seed_of, stream
from flows.choose_models import any_generator
from flows.job import MODELS, SHIPPED
from generators.checking.profanity import listed_words
from generators.layout import LAYOUTS, Layout
from generators.painting.latent_painter import LatentPainter
from generators.painting.painters import SceneRequest
from generators.painting.sampling import draw
from generators.painting.weights import load_weights
from generators.products import PixelBox, Pixels, load_product
from generators.typesetting.contrast import relative_luminance
from generators.typesetting.typesetter import TypesetReport, typeset
from generators.typesetting.wording import Copy

FORBIDDEN = ("#e61e2b", "#00a651", "#ff7f00", "#6a0dad", "#00aeef")
"""Colours of rivals, one of which an advertiser must not be seen in."""

INNOCENT = ("Essex", "Scunthorpe", "assess", "cocktails", "Dickens", "A55", "class", "Penistone", "shiitake", "hello")
"""Words that look like rude ones and are none; every sound creative has one."""

_SIZES = tuple(LAYOUTS)


@dataclass(frozen=True)
class Specimen:
    """A creative as the gate gets it, and what is wrong with it.

    Attributes:
        kind: name of the check that ought to fail; empty: it is sound.
        strength: of the defect, in words and figures.
        image, product, copy, report, layout: as `Gate.examine` takes them.
        cohort: whom it is for.
        forbidden: the colour that its advertiser must not be seen in.
        before: a picture that passed before this one, which it might repeat: the picture and its cohort.
    """

    kind: str
    strength: str
    image: Image.Image
    product: Pixels
    copy: Copy
    report: TypesetReport
    layout: Layout
    cohort: int
    forbidden: str
    before: tuple[Image.Image, int] | None = None


@dataclass
class Stock:
    """The makings: for each concept its copy and product, and scenes painted around that, (S, S, 3) each."""

    copies: list[Copy]
    products: list[Pixels]
    scenes: list[list[Pixels]] = field(default_factory=list)

    @classmethod
    def paint(cls, concepts: int, scenes: int, seed: int, *, steps: int = 8) -> Stock:
        """`concepts` of the sample, `scenes` for each, by the shipped network from seeds alone."""
        table = pl.read_parquet(SHIPPED / "concepts.parquet").filter(pl.col("product_image").is_not_null())
        rows = [table.row(at, named=True) for at in stream(seed, "concepts").permutation(len(table))[:concepts]]
        found = cls(
            [Copy(r["headline"][0], r["body"], r["call_to_action"], r["advertiser"], tuple(r["colours"] or ())) for r in rows],
            [load_product(SHIPPED / r["product_image"]) for r in rows],
        )  # fmt: skip
        folder = any_generator(Path(MODELS))
        assert folder is not None
        painter = LatentPainter(load_weights(folder / "weights"), None, partial(draw, steps=steps), guidance=1.0)
        for number, product in enumerate(found.products):
            wanted = [SceneRequest(None, None, product, seed_of(seed, "scene", number, one)) for one in range(scenes)]
            found.scenes.append(list(painter.paint(wanted)))
            print(f"painted for {number + 1} of {concepts} concepts", end="\r", flush=True)
        return found


class Planter:
    """Draws specimens from a stock."""

    def __init__(self, stock: Stock, seed: int) -> None:
        self._stock, self._seed = stock, seed

    def sound(self, number: int) -> Specimen:
        """A creative without any defect, with a sibling of another scene that passed before it, and innocent words."""
        return self._made(number, "sound", lambda *_: None)

    def spoilt(self, kind: str, number: int) -> Specimen:
        """A creative with one defect of a kind in KINDS."""
        return self._made(number, kind, _SPOIL[kind])

    def _made(self, number: int, kind: str, spoil: Callable[..., Specimen | None]) -> Specimen:
        rng = stream(self._seed, kind, number)
        for attempt in range(50):
            concept = int(rng.integers(len(self._stock.copies)))
            layout = LAYOUTS[_SIZES[(number + attempt) % len(_SIZES)]]
            ours, other = rng.choice(len(self._stock.scenes[concept]), 2, replace=False)
            copy, product = self._stock.copies[concept], self._stock.products[concept]
            words = replace(copy, body=f"{copy.body} {INNOCENT[number % len(INNOCENT)]}.".strip())
            size = (
                (480, 480)
                if layout.name == "1:1"
                else tuple(side // (2 if min(layout.size) > 600 else 1) for side in layout.size)
            )
            bench = _Bench(rng, self._stock.scenes[concept][ours], product, words, layout, (size[0], size[1]))
            try:
                specimen = bench.set()
                sibling = replace(bench, scene=self._stock.scenes[concept][other]).set()
            except DataError:  # too small for these words: another size
                continue
            specimen = replace(specimen, before=(sibling.image, int(rng.integers(0, 2))))
            if kind == "sound":
                return specimen
            found = spoil(bench, specimen)
            if found is not None:
                return replace(found, kind=kind.split(":", maxsplit=1)[0])
        raise RuntimeError(f"no specimen of {kind}")


@dataclass(frozen=True)
class _Bench:
    """What one specimen is made of."""

    rng: np.random.Generator
    scene: Pixels
    product: Pixels
    copy: Copy
    layout: Layout
    size: tuple[int, int]

    def set(self, *, grain: int = 0) -> Specimen:
        image, report = typeset(self.scene, self.product, self.copy, self.layout, self.size, seed=grain)
        forbidden = FORBIDDEN[int(self.rng.integers(len(FORBIDDEN)))]
        return Specimen("", "", image, self.product, self.copy, report, self.layout, 0, forbidden)


def _flat(bench: _Bench, _: Specimen) -> Specimen:
    keep = bench.rng.uniform(0, 0.06)
    mean = bench.scene.reshape(-1, 3).mean(axis=0)
    made = replace(bench, scene=(mean + keep * (bench.scene - mean)).astype(np.uint8)).set()
    return replace(made, strength=f"{keep:.0%} of the scene's contrast")


def _repeat(cohort: int) -> Callable[[_Bench, Specimen], Specimen]:
    def spoil(bench: _Bench, sound: Specimen) -> Specimen:
        """The same scene again: another grain, a little lighter or darker, shifted, noisy, or through JPEG."""
        rng, scene = bench.rng, bench.scene.astype(np.float32)
        light, noise, shift = rng.uniform(-5, 5), rng.uniform(0, 4), int(rng.integers(0, 3))
        scene = np.roll(scene, shift, axis=1) + light + rng.normal(0, noise, scene.shape)
        made = replace(bench, scene=np.clip(scene, 0, 255).astype(np.uint8)).set(grain=7)
        told = f"lighter by {light:.1f}, noise {noise:.1f}, {shift} pixels aside"
        return replace(made, strength=told, cohort=cohort, before=(sound.image, 0))

    return spoil


def _altered(bench: _Bench, sound: Specimen) -> Specimen | None:
    at = sound.report.product_at
    assert at is not None
    pixels, rng = np.array(sound.image), bench.rng
    count, step = int(np.exp(rng.uniform(0, 6))), int(rng.integers(1, 40))
    high, wide = at.bottom - at.top, at.right - at.left
    ys = at.top + (high * rng.uniform(0.35, 0.65, count)).astype(int)
    xs = at.left + (wide * rng.uniform(0.35, 0.65, count)).astype(int)
    pixels[ys, xs] = np.where(pixels[ys, xs] > 127, pixels[ys, xs] - step, pixels[ys, xs] + step)
    return replace(sound, image=Image.fromarray(pixels), strength=f"up to {count} pixels by {step} levels")


def _union(report: TypesetReport, name: str) -> PixelBox:
    return report.boxes[name]


def _illegible(bench: _Bench, sound: Specimen) -> Specimen:
    """Part of the headline is wiped away, or all of it blurred."""
    box, rng = _union(sound.report, "headline"), bench.rng
    image = sound.image.copy()
    size = next(line.size for line in sound.report.lines if line.name == "headline")
    if rng.random() < 0.5:
        share = rng.uniform(0.35, 0.9)
        right = box.left + round((box.right - box.left) * share)
        under = sound.image.filter(ImageFilter.GaussianBlur(2 * size))
        part = (box.left, box.top, right, box.bottom)
        image.paste(under.crop(part), part[:2])
        return replace(sound, image=image, strength=f"{share:.0%} wiped away")
    blur = rng.uniform(0.22, 0.5)
    part = (box.left, box.top, box.right, box.bottom)
    image.paste(image.filter(ImageFilter.GaussianBlur(blur * size)).crop(part), part[:2])
    return replace(sound, image=image, strength=f"blurred by {blur:.2f} of its size")


def _faint(bench: _Bench, sound: Specimen) -> Specimen:
    """One text is set in an ink of 1.2 to 4.2 : 1 to the mean of what is behind it."""
    rng, pixels = bench.rng, np.array(sound.image)
    names = sorted({line.name for line in sound.report.lines if line.name != "label"})
    name, wanted = str(rng.choice(names)), rng.uniform(1.2, 4.2)
    for line in (line for line in sound.report.lines if line.name == name):
        box = line.box
        ground = pixels[box.top : box.bottom, box.left : box.right]
        cover = line.mask[box.top - line.y : box.bottom - line.y, box.left - line.x : box.right - line.x, None]
        clear = ground[cover[..., 0] == 0]
        behind = float(relative_luminance(clear.astype(np.uint8)).mean())
        levels = np.array([[level] * 3 for level in range(256)], np.uint8)
        lights = relative_luminance(levels)
        ratio = (np.maximum(lights, behind) + 0.05) / (np.minimum(lights, behind) + 0.05)
        ink = levels[int(np.abs(ratio - wanted).argmin())].astype(np.float32)
        under = np.median(clear, axis=0)
        pixels[box.top : box.bottom, box.left : box.right] = np.where(
            cover > 0, under + cover * (ink - under), ground
        ).astype(np.uint8)
    return replace(sound, image=Image.fromarray(pixels), strength=f"the {name} at {wanted:.1f} : 1")


def _misplaced(bench: _Bench, sound: Specimen) -> Specimen | None:
    """The copy stands where the product is, or runs off the picture: a broken arrangement."""
    rng, text = bench.rng, bench.layout.text
    move = rng.uniform(0.06, 0.4)
    if rng.random() < 0.5:
        moved = replace(text, left=text.left + rng.choice([-1, 1]) * (move + 0.1))
    else:
        brand_top = None if text.brand_top is None else text.brand_top + move
        moved = replace(text, top=text.top + move, bottom=text.bottom + move, brand_top=brand_top)
    try:
        made = replace(bench, layout=replace(bench.layout, text=moved)).set()
    except (DataError, IndexError):  # no room there, or wholly outside
        return None
    ink = np.zeros((made.image.height, made.image.width), bool)
    out = False
    for line in made.report.lines:
        box = line.box
        out |= box.left < 0 or box.top < 0 or box.right > made.image.width or box.bottom > made.image.height
        if line.name != "label":
            ink[max(box.top, 0) : box.bottom, max(box.left, 0) : box.right] = True
    at, button = made.report.product_at, made.report.boxes.get("button")
    assert at is not None
    met = ink[at.top : at.bottom, at.left : at.right].any()
    if button is not None:
        met |= ink[button.top : button.bottom, button.left : button.right].any()
    return replace(made, strength=f"the copy moved by {move:.0%}") if met or out else None


def _rude(bench: _Bench, sound: Specimen) -> Specimen:
    """A rude word in the body or the headline, plain or disguised in one of many ways."""
    rng = bench.rng
    words = [word for word in listed_words() if word.isascii() and word.isalpha() and len(word) >= 4]
    word = str(rng.choice(words))
    how = str(rng.choice(["plain", "capitals", "figures", "stars", "dots", "spaces", "repeats", "lookalikes", "accents",
                          "plural", "vowels left out"]))  # fmt: skip
    hidden = {
        "plain": word,
        "capitals": "".join(c.upper() if n % 2 else c for n, c in enumerate(word)),
        "figures": word.translate(str.maketrans("oieas", "01345")),
        "stars": word[0] + "".join("*" if c in "aeiou" else c for c in word[1:]),
        "dots": ".".join(word),
        "spaces": " ".join(word),
        "repeats": word[:2] + word[1] * int(rng.integers(1, 5)) + word[2:],
        "lookalikes": word.translate(str.maketrans("aeopcx", "аеорсх")),
        "accents": word.replace("u", "ü").replace("a", "á").replace("i", "í"),
        "plural": f"{word}'s",
        "vowels left out": word[0] + "".join(c for c in word[1:] if c not in "aeiou"),
    }[how]
    copy = (
        replace(sound.copy, body=f"{sound.copy.body} {hidden}")
        if rng.random() < 0.5
        else replace(sound.copy, headline=f"{hidden} {sound.copy.headline}")
    )
    return replace(sound, copy=copy, strength=f"{how}: {hidden}")


def _off_brand(bench: _Bench, sound: Specimen) -> Specimen | None:
    """The button in another colour than the advertiser's: 6 to 60 levels away."""
    if not bench.copy.colours:
        return None
    rng = bench.rng
    own = np.array([int(bench.copy.colours[0][at : at + 2], 16) for at in (1, 3, 5)])
    step = rng.normal(size=3)
    step *= rng.uniform(12, 70) / np.linalg.norm(step)
    other = np.clip(own + step, 0, 255).astype(int)
    made = replace(bench, copy=replace(bench.copy, colours=("#" + "".join(f"{value:02x}" for value in other),))).set()
    return replace(made, copy=bench.copy, strength=f"{np.linalg.norm(other - own):.0f} levels away")


def _forbidden(bench: _Bench, sound: Specimen) -> Specimen:
    """A part of the scene is in a colour near the forbidden one."""
    rng = bench.rng
    colour = np.array([int(sound.forbidden[at : at + 2], 16) for at in (1, 3, 5)], np.float32) + rng.normal(0, 3, 3)
    share, scene = rng.uniform(0.04, 0.3), bench.scene.copy()
    side = scene.shape[0]
    high = max(2, round(side * share))
    top = int(rng.integers(0, side - high))
    scene[top : top + high] = np.clip(colour + rng.normal(0, 2, (high, side, 3)), 0, 255).astype(np.uint8)
    made = replace(bench, scene=scene).set()
    pixels = np.asarray(made.image, np.float32)
    covers = float((np.abs(pixels - colour).max(axis=-1) < 25).mean())
    if covers < 0.03:
        return None  # type: ignore[return-value]
    return replace(made, forbidden=sound.forbidden, strength=f"{covers:.0%} of the picture")


_SPOIL: dict[str, Callable[[_Bench, Specimen], Specimen | None]] = {
    "blank_or_flat": _flat,
    "near_duplicate:cohort": _repeat(0),
    "near_duplicate:run": _repeat(1),
    "product_altered": _altered,
    "text_illegible": _illegible,
    "low_contrast": _faint,
    "text_overflow": _misplaced,
    "profanity": _rude,
    "off_brand": _off_brand,
    "forbidden_colour": _forbidden,
}
KINDS = tuple(_SPOIL)
"""Defects that can be planted; what stands before the colon is the check."""
