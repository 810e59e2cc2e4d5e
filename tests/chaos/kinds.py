"""The kinds of faults: each lets a run in a clone meet one, and puts right what was wrong with its surroundings."""

from collections.abc import Callable

from tests.chaos.damage import damage_cache, damage_file, damage_input, damage_state
from tests.chaos.processes import lose_one_process, meet_signal, run_experiments, run_two_at_once
from tests.chaos.scene import Scene, Trial
from tests.chaos.surroundings import fill_disk, jump_clock, make_read_only, take_permissions

MEET: dict[str, Callable[[Scene], Trial]] = {
    "signal": meet_signal,
    "one of two processes": lose_one_process,
    "two at once": run_two_at_once,
    "disk full": fill_disk,
    "read-only": make_read_only,
    "permissions": take_permissions,
    "clock": jump_clock,
    "damaged file": damage_file,
    "damaged cache": damage_cache,
    "damaged input": damage_input,
    "damaged state": damage_state,
    "experiments": run_experiments,
}
FINISHED = ("damaged file", "damaged cache", "experiments")  # kinds that a finished clone meets
