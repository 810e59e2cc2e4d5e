"""Faults of processes: ended by signals, or two where one was expected."""

import signal

import psutil

from tests.chaos.project import DVC, EXPERIMENTS, experiment_digests, make_experiments
from tests.chaos.running import send, stages_in, wait_for_none
from tests.chaos.scene import Scene, Trial

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
VICTIMS = ("dvc", "stage", "both")


def meet_signal(scene: Scene) -> Trial:
    """A signal ends DVC, its stage or both; a stage left behind is met by another run."""
    dice = scene.fault.dice
    name, victim = dice.choice(list(SIGNALS)), dice.choice(VICTIMS)
    running = scene.start()
    scene.reach_moment(running)
    met = running.process.poll() is None if victim == "dvc" else bool(stages_in(scene.folder))
    if victim == "both":
        running.signal_group(SIGNALS[name])
        send(stages_in(scene.folder), SIGNALS[name])  # torchrun's have groups of their own
    elif victim == "stage":
        send(stages_in(scene.folder), SIGNALS[name])
    else:
        running.process.send_signal(SIGNALS[name])
    ended = [running.finish()]
    if stages_in(scene.folder):
        ended.append(scene.run())
    return Trial(f"{name} of {victim}", ended, missed=not met)


def lose_one_process(scene: Scene) -> Trial:
    """A signal ends one of two processes that train together, or torchrun."""
    dice = scene.fault.dice
    name = dice.choice(list(SIGNALS))
    running = scene.start()
    running.wait_for_stage(0)
    scene.reach_moment(running)
    processes = stages_in(scene.folder)
    if not processes:
        return Trial(f"{name}, too late", [running.finish()], missed=True)
    victim = dice.randrange(len(processes))
    send([processes[victim]], SIGNALS[name])
    return Trial(f"{name} of process {victim} of {len(processes)}", [running.finish()])


def run_two_at_once(scene: Scene) -> Trial:
    """The same command twice, the second one at the moment."""
    first = scene.start()
    scene.reach_moment(first)
    met = first.process.poll() is None
    second = scene.start()
    return Trial("two at once", [second.finish(), first.finish()], missed=not met)


def run_experiments(scene: Scene) -> Trial:
    """Two experiments run in copies at once, and a worker of one of them is killed; that one is then run again."""
    expected = make_experiments(scene.bases / "experiments.json", scene.base)
    dice, ended, wrong = scene.fault.dice, [], list[str]()
    runs = [scene.start(experiment(i)) for i in range(2)]
    runs[0].wait(scene.fault.moment * 30)
    loser = dice.randrange(2)
    victim, name = dice.choice(("stage", "all")), dice.choice(list(SIGNALS))
    hit = [p for p in [psutil.Process(runs[loser].process.pid)] if runs[loser].process.poll() is None]
    below = [child for process in hit for child in process.children(recursive=True)]
    send(below[-1:] if victim == "stage" else [*hit, *below], SIGNALS[name])
    ended = [running.finish() for running in runs]
    wait_for_none(scene.folder)
    if ended[loser].code:
        again = scene.run(*experiment(loser, "again"))
        wrong += [f"the experiment does not run again: {again.output[-300:]}"] if again.code else []
    if ended[1 - loser].code:
        wrong.append("the other experiment failed too")
    for i, change in enumerate(EXPERIMENTS):
        last = f"try-{i}-again" if i == loser and ended[loser].code else f"try-{i}"
        if not wrong and experiment_digests(scene.clone, last) != expected[change]:
            wrong.append(f"experiment {change} differs")
    return Trial(f"{name} of {victim} of an experiment", ended, wrong=wrong, missed=not below)


def experiment(number: int, suffix: str = "") -> list[str]:
    """The command of one of EXPERIMENTS."""
    name = f"try-{number}{'-' if suffix else ''}{suffix}"
    return [*DVC, "exp", "run", "--temp", "-n", name, "-S", EXPERIMENTS[number]]
