"""Trainings that hang, without Ray and without waiting: the clock is a list of moments."""

from __future__ import annotations

import pytest

from morel_search.search.hang_detector import HangDetector, Overdue

MINUTE = 60.0


class Clock:
    """A clock that is moved, and looks at a detector every few seconds of its time, as Ray Tune does."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, detector: HangDetector, seconds: float, *training: int) -> list[Overdue]:
        late = []
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 5)
            late += detector.overdue(training)
        return late


def detector_of(minutes: float | None = None) -> tuple[HangDetector, Clock, list[str]]:
    clock, notes = Clock(), list[str]()
    return HangDetector(minutes, notes.append, clock), clock, notes


def test_a_training_is_moved_once_and_then_fails() -> None:
    detector, clock, _ = detector_of(minutes=1)
    assert clock.wait(detector, 60, 7) == []
    assert clock.wait(detector, 10, 7) == [
        Overdue(7, "the training hung: no epoch within 1 min 00 s (search.max_epoch_minutes)", False)
    ]
    assert detector.reason(7) == ""
    assert clock.wait(detector, 600) == []  # it waits for a new worker
    assert clock.wait(detector, 60, 7) == []
    assert clock.wait(detector, 10, 7) == [
        Overdue(7, "the training hung: no epoch within 1 min 00 s twice (search.max_epoch_minutes)", True)
    ]
    assert "twice" in detector.reason(7)


def test_a_training_that_reports_is_not_late() -> None:
    detector, clock, notes = detector_of(minutes=1)
    for _ in range(20):
        assert clock.wait(detector, 50, 1, 2) == []
        detector.report(1)
        detector.report(2)
    assert notes == []


def test_only_the_training_that_hangs_is_late() -> None:
    detector, clock, _ = detector_of(minutes=1)
    late = []
    for _ in range(4):
        late += clock.wait(detector, 30, 1, 2)
        detector.report(1)
    assert [overdue.number for overdue in late] == [2]


def test_the_limit_follows_the_slowest_epoch() -> None:
    detector, clock, _ = detector_of()
    assert detector.limit == 6 * 60 * MINUTE  # nothing is measured
    detector.overdue([1])
    clock.wait(detector, 20, 1)
    detector.report(1)
    assert detector.limit == 30 * MINUTE  # 50 times 20 s is less
    clock.wait(detector, 100, 1)
    detector.report(1)
    assert detector.limit == 50 * 100
    clock.wait(detector, 10, 1)
    detector.report(1)
    assert detector.limit == 50 * 100


@pytest.mark.parametrize("usual", [0.2, 5.0, 60.0, 3600.0])
def test_an_epoch_of_ten_times_the_slowest_is_no_hang(usual: float) -> None:
    """Also if the measured training has no attack, and the next one takes four times as long by itself."""
    detector, clock, _ = detector_of()
    detector.overdue([1])
    clock.wait(detector, usual, 1)
    detector.report(1)
    assert clock.wait(detector, 40 * usual, 1) == []


def test_a_first_epoch_of_five_hours_is_no_hang() -> None:
    detector, clock, notes = detector_of()
    assert clock.wait(detector, 5 * 3600, 1) == []
    assert notes == [
        "trial 1 has not reported an epoch for 36 min 05 s; the time limit is 6 h 00 min "
        "(search.max_epoch_minutes)"
    ]
    assert len(clock.wait(detector, 3610, 1)) == 1


def test_the_user_is_told_once_for_each_epoch() -> None:
    detector, clock, notes = detector_of(minutes=30)
    clock.wait(detector, 25 * MINUTE, 1)
    assert len(notes) == 1
    detector.report(1)
    clock.wait(detector, 25 * MINUTE, 1)
    assert len(notes) == 2


def test_the_final_attack_may_take_as_long_as_several_epochs() -> None:
    detector, clock, _ = detector_of(minutes=1)
    detector.report(1, allowance=4)
    assert clock.wait(detector, 4 * 60, 1) == []
    assert len(clock.wait(detector, 10, 1)) == 1


def test_the_time_of_a_final_attack_does_not_count_as_one_epoch() -> None:
    detector, clock, _ = detector_of()
    detector.report(1, allowance=10)
    clock.wait(detector, 1000, 1)
    detector.report(1)
    assert detector.limit == 50 * 100


def test_the_time_in_which_this_process_is_stopped_does_not_count() -> None:
    detector, clock, _ = detector_of(minutes=10)
    clock.wait(detector, 5 * MINUTE, 1)
    clock.now += 8 * 3600  # Ctrl-Z, or the machine is suspended
    assert detector.overdue([1]) == []
    assert clock.wait(detector, 4 * MINUTE, 1) == []
    assert len(clock.wait(detector, 2 * MINUTE, 1)) == 1


def test_a_clock_that_is_set_back_does_no_harm() -> None:
    detector, clock, _ = detector_of(minutes=1)
    clock.wait(detector, 30, 1)
    clock.now -= 500
    assert detector.overdue([1]) == []
    assert clock.wait(detector, 30, 1) == []
    assert len(clock.wait(detector, 10, 1)) == 1


def test_seconds_without_a_report() -> None:
    detector, clock, _ = detector_of()
    clock.wait(detector, 100, 1, 2)
    detector.report(1)
    clock.wait(detector, 50, 1, 2)
    assert detector.unreported() == pytest.approx(50 + 145)
    detector.overdue([1])
    assert detector.unreported() == pytest.approx(50)
