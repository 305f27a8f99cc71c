"""The network that knows indecent pictures takes a mug for none, is the one that was published, and its word counts."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from contracts.errors import ModelError
from contracts.settings import CheckSettings
from generators.checking import indecency
from generators.checking.gate import Gate
from generators.checking.indecency import Censor, check_decency, prepare
from generators.layout import SQUARE
from generators.typesetting.typesetter import typeset
from generators.typesetting.wording import Copy

COPY = Copy("Slow mornings", "Roasted the day we ship.", "Taste it first", "Harbour", ("#0b6e4f",))


@pytest.fixture(scope="module")
def censor() -> Censor:
    found = Censor.load()
    if found is None:
        pytest.skip("adloom[safety] is not installed: the network that looks for indecent pictures was not tried")
    return found


def scene(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(20, 236, (4, 4, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))


def test_an_ad_passes_and_fails_where_no_chance_at_all_is_taken(censor: Censor) -> None:
    image, report = typeset(scene(0), None, COPY, SQUARE, 480)
    for limit, passes in ((CheckSettings().unsafe_chance, True), (0.0, False)):
        gate = Gate(CheckSettings(unsafe=True, unsafe_chance=limit), censor=censor)
        assert gate.missing() == []
        found = {one.check: one for one in gate.examine(image, None, COPY, report, SQUARE)}["unsafe"]
        assert found.passed is passes
        assert found.value is not None
        assert 0 < found.value < 0.2
        assert ("taken for indecent with a chance of" in found.reason) is not passes


def test_its_word_is_a_chance_that_hangs_on_the_picture_alone(censor: Censor) -> None:
    pictures = [Image.fromarray(scene(seed)) for seed in range(4)]
    told = [censor.chance(picture) for picture in pictures]
    assert told == [censor.chance(picture) for picture in pictures]
    assert len(set(told)) == len(told)
    assert check_decency(pictures[0], censor, limit=1.0).passed


def test_other_weights_are_refused(censor: Censor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indecency, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="not the network of open_nsfw"):
        Censor.load()


def test_pictures_are_shown_to_it_as_it_was_taught() -> None:
    """The centre, in BGR, less the mean of its lessons: pure red is the last channel."""
    shown = prepare(Image.new("RGB", (300, 200), (255, 0, 0)))
    assert shown.shape == (1, 224, 224, 3)
    assert np.abs(shown[0, 100, 100] - [-104, -117, 255 - 123]).max() < 3
