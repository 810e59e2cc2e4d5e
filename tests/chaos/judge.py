"""What came of a fault: the results of a clean run, at once or after an error that says what to do; or a finding."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults import RESUMED
from tests.chaos.project import DVC, GOES_ON, KEPT, digests, read_lock
from tests.chaos.running import Ended, wait_for_none
from tests.chaos.scene import Scene, Trial
from tests.clone import stages_run

SAME, TOLD, MISSED = "same", "told", "missed"
GOOD = (SAME, TOLD, MISSED)
BAD = ("hang", "no message", "traceback", "exit code 0", "stuck", "different", "lost", "left over", "other")
SAID = re.compile(  # a bar that was killed ends no line
    r"(?:^|(?<=\]))(?:\d\d:\d\d:\d\d |process \d+: )*(?:ERROR: .+|\w+ (?:failed|interrupted): .+|"
    r"a process of the training was ended by \w+: run the same command again)$",
    re.MULTILINE,
)
OURS = re.compile(r"^(?:\d\d:\d\d:\d\d |process \d+: )*(\w+) (?:failed|interrupted): (.+)$", re.MULTILINE)
DVCS = re.compile(r"ERROR: failed to reproduce .*, exited with \d+$")  # of every stage that failed, whatever it said
UNFINISHED = re.compile(r"\.(tmp|part|new|incomplete)$|^tmp|^\.\w+\.tmp")


@dataclass(frozen=True)
class Before:
    """What was finished, and what there was to go on from, before the cause was gone and the pipeline run again."""

    finished: set[str]
    kept: set[str]  # stages of RESUMED that had saved something


def look_before(folder: Path) -> Before:
    """What stands there now."""
    kept = {
        stage for stage in RESUMED if any(p.is_file() or [*p.glob("state_*.json")] for p in folder.glob(KEPT[stage]))
    }
    return Before(set(read_lock(folder)), kept)


def judge(scene: Scene, trial: Trial) -> tuple[str, list[str]]:
    """The outcome, of GOOD or BAD, and every finding in words; the pipeline is run to its end."""
    findings = [f"other: {text}" for text in trial.wrong]
    if not wait_for_none(scene.folder):
        findings.append("hang: a process stayed")
    for ended in trial.ended:
        findings += judge_command(scene, ended)
    before = look_before(scene.folder)
    final = scene.run(*DVC, "repro")
    findings += judge_end(scene, trial, before, final)
    if findings:
        outcomes = [finding.partition(":")[0] for finding in findings]
        return min(outcomes, key=BAD.index), findings
    if trial.missed:
        return MISSED, []
    return TOLD if any(ended.code > 0 for ended in trial.ended) else SAME, []


def judge_command(scene: Scene, ended: Ended) -> list[str]:
    """What is wrong with how a command ended that met the fault."""
    if ended.hung:
        return [f"hang: {ended.command}"]
    found = []
    if "Traceback (most recent call last)" in ended.output:
        found.append(f"traceback: {ended.output.strip().splitlines()[-1][-200:]}")
    if ended.code > 0 and not [line for line in SAID.findall(ended.output) if not DVCS.search(line)]:
        found.append(f"no message: {ended.output[-200:]}")
    told = [stage for stage, _ in OURS.findall(ended.output)]
    if len(told) != len(set(told)):
        found.append("other: a stage tells its end twice")
    return found


def judge_end(scene: Scene, trial: Trial, before: Before, final: Ended) -> list[str]:
    """What is wrong with the pipeline after it has been run to its end."""
    if final.hung:
        return ["hang: the pipeline afterwards"]
    if final.code:
        return [f"stuck: {' '.join(final.output[-400:].split())}"]
    found, expected = [], scene.base.expected
    there = digests(scene.folder)
    if wrong := sorted(name for name in expected if there.get(name) != expected[name]):
        found.append(f"different: {len(wrong)} files, {', '.join(wrong[:4])}")
    found += [f"left over: {name}" for name in sorted(there.keys() - expected.keys())[:4]]
    found += [f"left over: {name}" for name in leftovers(scene.folder)[:4]]
    ran = set(stages_run(final.output))
    if again := sorted(ran & before.finished - trial.hurt):
        found.append(f"lost: {', '.join(again)} ran again")
    for stage in sorted(ran & before.kept - trial.anew):
        if GOES_ON[stage] not in final.output:
            found.append(f"lost: {stage} began anew")
    return found


def leftovers(folder: Path) -> list[str]:
    """Temporary files that nobody has cleared away, but DVC's own notes."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(
        path.as_posix()
        for path in paths
        if path.parts[0] not in ("logs", ".git")
        and path.parts[:2] != (".dvc", "tmp")
        and any(map(UNFINISHED.search, path.parts))
    )
