"""A sketch keeps the composition and forgets the colours; a borrowed one suits the product."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from generators.painting.sketches import (
    CHANNELS,
    Sketchbook,
    from_levels,
    holes_around,
    no_sketch,
    sketch_cells,
    sketch_scenes,
    to_levels,
)

S = 32


def scenes(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, S, S, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_sketch_does_not_change_with_brightness_and_contrast() -> None:
    holes = torch.zeros(2, 1, S, S)
    one = sketch_scenes(scenes(), holes)
    assert torch.allclose(one, sketch_scenes(scenes() * 0.6 + 0.2, holes), atol=0.06)
    assert float(one.mean()) == pytest.approx(0, abs=0.02)


def test_colours_of_equal_lightness_leave_no_line() -> None:
    picture = torch.zeros(1, 3, S, S)
    picture[:, 0, :, :16] = 0.7152 / 0.2126 * 0.2  # red on the left as light as green on the right
    picture[:, 1, :, 16:] = 0.2
    assert sketch_scenes(picture, torch.zeros(1, 1, S, S)).abs().max() < 1e-3


def test_what_is_in_the_hole_cannot_be_told_from_the_sketch() -> None:
    holes = torch.zeros(2, 1, S, S)
    holes[:, :, 8:20, 8:20] = 1
    other = torch.where(holes > 0, torch.ones(()), scenes())
    assert torch.equal(sketch_scenes(scenes(), holes), sketch_scenes(other, holes))
    assert (sketch_scenes(scenes(), holes)[holes > 0] == 0).all()


def test_a_hole_is_wider_than_the_product() -> None:
    masks = torch.zeros(1, 1, S, S)
    masks[:, :, 15, 15] = 1
    assert holes_around(masks)[0, 0, 15].nonzero().flatten().tolist() == list(range(7, 24))


def test_cells_hold_every_pixel_and_say_where_nothing_is_known() -> None:
    sketch = sketch_scenes(scenes(), torch.zeros(2, 1, S, S))
    cells = sketch_cells(sketch, torch.zeros(2, 1, S, S))
    assert cells.shape == (2, CHANNELS, S // 8, S // 8)
    assert torch.equal(torch.nn.functional.pixel_shuffle(cells[:, :-1], 8), sketch)
    nothing = sketch_cells(*no_sketch(1, S))
    assert (nothing[:, :-1] == 0).all()
    assert (nothing[:, -1] == 1).all()


def test_a_stored_sketch_comes_back_but_for_rounding() -> None:
    sketch = sketch_scenes(scenes(), torch.zeros(2, 1, S, S))
    assert (from_levels(to_levels(sketch)) - sketch).abs().max() <= 1 / 160 + 1e-6
    assert float(from_levels(to_levels(torch.zeros(1)))) == 0


def test_a_product_is_lent_the_sketch_whose_hole_it_hides_or_its_mirror_image() -> None:
    holes = np.zeros((40, S, S), np.bool_)
    holes[:, :, :20] = True
    holes[7] = False
    holes[7, 10:20, 4:10] = True
    levels = np.random.default_rng(0).integers(1, 256, (40, S, S)).astype(np.uint8)
    book = Sketchbook(np.where(holes, np.uint8(0), levels))
    mask = np.zeros((S, S), np.float32)
    mask[8:24, 2:12] = 1
    random = np.random.default_rng(1)
    lent = [book.lend(mask, random) for _ in range(400)]
    bare = [float((hole[0].numpy() > 0)[mask == 0].sum()) for _, hole in lent]
    assert min(bare) == 0  # sketch 7 is among those lent
    seen = {sketch.numpy().tobytes() for sketch, _ in lent}
    assert len(seen) > 10  # and not alone
    mirrored = from_levels(torch.from_numpy(book.levels[7][:, ::-1].copy()))
    assert mirrored.numpy().tobytes() in seen


def test_what_is_lent_is_drawn_from_the_best_by_plain_counting() -> None:
    random = np.random.default_rng(0)
    levels = np.where(random.random((30, S, S)) < 0.3, 0, random.integers(1, 256, (30, S, S))).astype(np.uint8)
    mask = (random.random((S, S)) < 0.4).astype(np.float32)
    both = np.concatenate([levels, levels[..., ::-1]])
    best = np.argsort(((both == 0) & (mask == 0)).sum((1, 2)), kind="stable")[:48]
    allowed = [from_levels(torch.from_numpy(both[one].copy())).numpy().tobytes() for one in best]
    for seed in range(100):
        sketch, _ = Sketchbook(levels).lend(mask, np.random.default_rng(seed))
        assert sketch[0].numpy().tobytes() == allowed[np.random.default_rng(seed).integers(48)]


def test_a_calm_look_is_lent_a_calm_sketch_and_a_busy_one_a_busy_sketch() -> None:
    """Of fifty pages that suit equally well, from flat to rough; what stands in a hole does not count."""
    random = np.random.default_rng(0)
    rough = random.normal(size=(24, S, S)) * np.linspace(0, 30, 24)[:, None, None] + 128
    levels = rough.round().clip(1, 255).astype(np.uint8)
    levels[:, 8:16, 8:16] = 0
    book, mask = Sketchbook(levels), np.zeros((S, S), np.float32)
    mask[6:20, 6:20] = 1

    def spreads(busyness: float) -> list[float]:
        lent = [book.lend(mask, np.random.default_rng(seed), busyness) for seed in range(30)]
        return [float(sketch[hole == 0].std()) for sketch, hole in lent]

    calm, middle, busy = (spreads(one) for one in (0.0, 0.5, 1.0))
    assert max(calm) < min(middle)
    assert max(middle) < min(busy)
    assert len(set(middle)) > 3


def test_an_empty_book_lends_a_sketch_that_says_nothing() -> None:
    book = Sketchbook(np.zeros((0, S, S), np.uint8))
    sketch, hole = book.lend(np.zeros((S, S), np.float32), np.random.default_rng(0))
    assert sketch.shape == hole.shape == (1, S, S)
    assert (hole == 1).all()


def test_the_lent_sketch_is_by_lot_among_those_that_leave_least_of_the_hole_bare() -> None:
    """Against counting pixel by pixel, over sketches with holes of every size and place."""
    rng = np.random.default_rng(4)
    levels = rng.integers(1, 255, (40, S, S)).astype(np.uint8)
    for one in levels:
        top, left, high, wide = rng.integers(0, S - 8, 2).tolist() + rng.integers(3, 20, 2).tolist()
        one[top : top + high, left : left + wide] = 0
    mask = np.zeros((S, S), np.float32)
    mask[10:26, 14:30] = 0.4
    both = np.concatenate([levels, levels[:, :, ::-1]])
    bare = [int(((one == 0) & (mask == 0)).sum()) for one in both]
    suiting = sorted(range(len(both)), key=lambda row: (bare[row], row))[:48]
    book = Sketchbook(levels)
    for seed in range(6):
        wanted = both[suiting[int(np.random.default_rng(seed).integers(48))]]
        sketch, hole = book.lend(mask, np.random.default_rng(seed))
        assert np.array_equal(hole[0].numpy() > 0, wanted == 0)
        assert torch.equal(sketch[0], from_levels(torch.from_numpy(wanted.copy())))
