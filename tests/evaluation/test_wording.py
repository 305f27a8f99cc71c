"""Numbers are written so that people read them: no powers of ten, three figures where sizes differ much."""

from __future__ import annotations

import math

import pytest

from evaluation.wording import MINUS, parameter, plain


@pytest.mark.parametrize(
    ("value", "said"),
    [(266_123.0, "266,000"), (1410.2, "1,410"), (999.6, "1,000"), (420.0, "420"), (2.5, "2.50"), (0.0000754, "0.0000754"),
     (-12.34, f"{MINUS}12.3"), (0.0, "0"), (math.inf, "infinity")],
)  # fmt: skip
def test_three_figures_without_powers_of_ten(value: float, said: str) -> None:
    assert plain(value) == said


def test_what_was_tuned_is_said_in_plain_figures() -> None:
    assert parameter({"name": "dr_os", "parameter": 2.66e5}) == "lambda 266,000"
    assert parameter({"name": "clipped_ips", "parameter": 1412.0}) == "weights up to 1,410"
