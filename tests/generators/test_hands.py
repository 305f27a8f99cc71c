"""Work that is shared out comes back in order, whoever was first, and a failure is told at its place."""

from __future__ import annotations

import threading
import time

import pytest

from generators.hands import hands, share_out


def test_results_stand_in_the_order_of_the_work_not_of_the_finish() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0)
        return number * number

    assert list(share_out(slow_first, range(6))) == [0, 1, 4, 9, 16, 25]


def test_there_is_more_than_one_hand_where_there_is_more_than_one_core() -> None:
    seen: set[int] = set()
    meeting = threading.Barrier(min(hands(), 2))

    def meet(_: int) -> None:
        meeting.wait(timeout=20)  # breaks unless another hand comes along
        seen.add(threading.get_ident())

    list(share_out(meet, range(min(hands(), 2))))
    assert len(seen) == min(hands(), 2)


def test_a_failure_is_raised_where_it_happened_and_what_came_before_is_there() -> None:
    def fail_at_two(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    done = share_out(fail_at_two, range(5))
    assert [next(done), next(done)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(done)
