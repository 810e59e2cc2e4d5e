"""Who runs which trial: none is lost, none is run twice."""

from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType

import pytest

from llm.sweeps.space import Space, SweepConfig
from tests.sweeps.test_space import SPACE

pytest.importorskip("optuna", reason="Optuna is an extra: python -m pip install -r requirements-extra.lock")

from llm.sweeps.study import SweepStudy

KINDS = MappingProxyType(SPACE["space"])
CONFIG = SweepConfig(**(SPACE | {"trials": 3, "startup": 1, "space": Space(**KINDS)}))
COMMIT = "0" * 40


def worker(folder, config=CONFIG):
    """The study as another process sees it."""
    study = SweepStudy(folder, config)
    assert study.begin(COMMIT) == COMMIT
    return study


def test_workers_take_different_trials_with_different_parameters_and_no_more_than_there_are(tmp_path):
    studies = [worker(tmp_path) for _ in range(4)]
    claims = [study.claim() for study in studies]
    assert [claim and claim.trial.number for claim in claims] == [0, 1, 2, None]
    assert len({claim.trial.params["train.lr"] for claim in claims[:3]}) == 3
    assert studies[0].counts() == {"running": 3} and not studies[3].finished


def test_a_trial_of_a_dead_worker_is_run_again_with_its_parameters_before_a_new_one(tmp_path):
    dead = worker(tmp_path).claim()
    dead.lock.release()  # as the system does
    again = worker(tmp_path).claim()
    assert (again.trial.number, again.trial.params) == (0, dead.trial.params)


def test_a_worker_that_died_before_it_had_all_parameters_leaves_a_trial_that_gets_the_rest(tmp_path):
    study = worker(tmp_path)
    asked = study.study.ask()
    lr = asked.suggest_float("train.lr", 1e-4, 3e-2, log=True)
    claim = worker(tmp_path).claim()
    assert claim.trial.number == 0 and claim.trial.params["train.lr"] == lr
    assert claim.trial.params.keys() == {"train.lr", "train.warmup", "model.n_layer", "train.beta2"}


def test_finished_pruned_and_failed_trials_are_not_run_again(tmp_path):
    study = worker(tmp_path)
    study.finish(study.claim(), 2.5)
    study.prune(study.claim())
    study.fail(study.claim())
    study = worker(tmp_path)
    assert study.claim() is None and study.finished
    assert study.counts() == {"complete": 1, "pruned": 1, "fail": 1}
    assert study.best()[:2] == (0, 2.5)
    assert worker(tmp_path, replace(CONFIG, trials=4)).claim().trial.number == 3  # a longer study goes on


def test_a_curve_read_again_after_a_restart_is_kept_once_and_the_worse_trial_is_stopped(tmp_path):
    study = worker(tmp_path)
    good = study.claim()
    assert not study.report(good.trial, {0: 6.0, 3: 5.0, 6: 4.0})
    study.finish(good, 4.0)
    bad = study.claim()
    assert not study.report(bad.trial, {0: 6.0})
    bad.lock.release()
    study = worker(tmp_path)
    again = study.claim()
    assert not study.report(again.trial, {0: 6.0, 3: 4.5})
    assert study.report(again.trial, {0: 6.0, 3: 4.5, 6: 4.4})
    assert study.study.trials[1].intermediate_values == {0: 6.0, 3: 4.5, 6: 4.4}


def test_a_trial_is_spared_while_it_may_still_warm_up(tmp_path):
    study = worker(tmp_path, replace(CONFIG, spared=2))
    good = study.claim()
    study.report(good.trial, {0: 6.0, 3: 5.0, 6: 4.0, 9: 3.0})
    study.finish(good, 3.0)
    late = study.claim()
    assert not study.report(late.trial, {0: 6.0, 3: 5.9})
    assert study.report(late.trial, {0: 6.0, 3: 5.9, 6: 5.8})


def test_another_space_file_is_refused_for_a_study_that_was_begun(tmp_path):
    worker(tmp_path)
    with pytest.raises(ValueError, match="steps differs from that with which the study tiny was begun"):
        worker(tmp_path, replace(CONFIG, steps=99))


def test_half_a_line_in_the_journal_loses_no_trial(tmp_path):
    study = worker(tmp_path)
    study.finish(study.claim(), 2.5)
    with (tmp_path / "journal.log").open("a", encoding="utf-8") as journal:
        journal.write('{"op_code":4,"wor')
    assert worker(tmp_path).claim().trial.number == 1
    assert worker(tmp_path).counts() == {"complete": 1, "running": 1}


def test_the_first_trials_are_spread_over_the_space(tmp_path):
    config = replace(CONFIG, trials=20, startup=20)
    drawn = [worker(tmp_path, config).claim().trial.params["train.warmup"] for _ in range(20)]
    apart = sorted(drawn)
    low, high = SPACE["space"]["uniform"]["train.warmup"]
    assert max(b - a for a, b in zip([low, *apart], [*apart, high], strict=True)) < 0.3 * (high - low)
    steps = [abs(b - a) for a, b in pairwise(drawn)]
    assert sorted(steps)[10] > 0.1 * (high - low)  # neighbours in time are none in the space
