import pytest

from multiace.train.config import TrainConfig
from multiace.train.schedule import SCHEDULES, learning_rate


@pytest.mark.parametrize("name", SCHEDULES)
def test_factor_stays_between_zero_and_one(name):
    schedule = SCHEDULES[name](TrainConfig())
    assert all(0 <= schedule.factor(progress / 100) <= 1 for progress in range(101))


def test_cosine_ends_at_zero_and_one_cycle_peaks_at_thirty_percent():
    config = TrainConfig()
    assert SCHEDULES["cosine"](config).factor(0.0) == 1.0
    assert SCHEDULES["cosine"](config).factor(1.0) == pytest.approx(0.0)
    cycle = SCHEDULES["one_cycle"](config)
    assert cycle.factor(0.0) == pytest.approx(0.04)
    assert cycle.factor(0.3) == 1.0
    assert cycle.factor(1.0) == pytest.approx(0.0)


def test_plateau_reduces_after_patience_and_resumes_where_it_was():
    config = TrainConfig(schedule="plateau", plateau_patience=2, plateau_factor=0.5)
    schedule = SCHEDULES["plateau"](config)
    factors = []
    for loss in (1.0, 0.9, 0.95, 0.95, 0.95, 0.8, 0.9, 0.9, 0.9):
        schedule.observe(loss)
        factors.append(schedule.factor(0.0))
    assert factors == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]
    resumed = SCHEDULES["plateau"](config)
    resumed.restore(schedule.state())
    assert resumed.state() == schedule.state()


def test_new_stage_forgets_losses_and_keeps_reductions():
    schedule = SCHEDULES["plateau"](TrainConfig(schedule="plateau", plateau_patience=1))
    for loss in (1.0, 2.0, 2.0):
        schedule.observe(loss)
    schedule.restart()
    schedule.observe(50.0)
    assert schedule.state() == {"current": 0.8, "best": 50.0, "stale": 0}


def test_rate_warms_up_and_has_a_floor():
    config = TrainConfig(learning_rate=0.1, warmup_epochs=2, min_learning_rate=0.01)
    schedule = SCHEDULES["cosine"](config)
    assert learning_rate(config, schedule, 0.0, epochs=0.5) == pytest.approx(0.025)
    assert learning_rate(config, schedule, 0.0, epochs=3) == pytest.approx(0.1)
    assert learning_rate(config, schedule, 1.0, epochs=9) == pytest.approx(0.01)
