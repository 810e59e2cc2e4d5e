"""`python -m tests.fuzz NAME --minutes 2`: a harness driven by atheris, which keeps the inputs that reach new code.

The corpus and what was found lie in a folder outside git (--corpus, else .fuzz), a line for each run in its
results.jsonl: executions, minutes, findings. Without atheris (requirements-extra.lock) it ends saying so.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

WORDS = ["llm", "stages", "csv", "zipfile", "json", "yaml", "gguf", "gzip", "email", "requests", "urllib3", "http"]
MEGABYTES = 4096  # that the process may hold in all
LONGEST = 1 << 16  # bytes of an input


def main() -> int:
    """Run the harness for some minutes, in a process of its own; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", help="of a harness")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz"), help="folder of inputs and findings")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("nothing was tried: atheris is not installed (pip install -r requirements-extra.lock)")
        return 1
    if arguments.inside:
        fuzz(arguments.name, arguments.minutes, arguments.corpus)
    return run(arguments.name, arguments.minutes, arguments.corpus)


def run(name: str, minutes: float, corpus: Path) -> int:
    """Start the process, wait for it, and write down what came of it; 1 where that is a finding, or nothing ran."""
    findings = corpus / "findings" / name
    findings.mkdir(parents=True, exist_ok=True)
    before = {path.name for path in findings.iterdir()}
    words = [sys.executable, "-m", "tests.fuzz", name, "--inside", "--minutes", str(minutes), "--corpus", str(corpus)]
    with (corpus / f"{name}.log").open("wb") as log:
        code = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT).returncode
    told = (corpus / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    done = re.findall(r"^Done (\d+) runs in (\d+) second", told, re.MULTILINE)
    pulses = re.findall(r"^#(\d+)\s", told, re.MULTILINE)
    executions, seconds = (int(done[-1][0]), int(done[-1][1])) if done else (int(pulses[-1]) if pulses else 0, None)
    new = sorted({path.name for path in findings.iterdir()} - before)
    again = sorted(set(re.findall(r"^FOUND (\w+) ", told, re.MULTILINE)) & before)
    result = {
        "harness": name, "executions": executions, "minutes": minutes if seconds is None else round(seconds / 60, 1),
        "findings": new, "again": again, "exit": code, "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    with (corpus / "results.jsonl").open("a", encoding="utf-8") as results:
        results.write(json.dumps(result) + "\n")
    print(json.dumps(result))
    return 1 if new or again or code or not executions else 0


def fuzz(name: str, minutes: float, corpus: Path) -> None:
    """Drive the harness; libFuzzer ends the process."""
    import atheris

    os.environ["TANDEM_FETCHED"] = str(corpus / "fetched")
    with atheris.instrument_imports(include=WORDS):
        from tests.fuzz.harnesses import find_harness

        harness = find_harness(name)
    from tests.fuzz.edits import edited
    from tests.fuzz.harness import Finding, check

    seen = set[str]()
    seeds, findings, inputs = harness.seeds(), corpus / "findings" / name, corpus / "inputs" / name
    inputs.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (inputs / hashlib.sha1(seed).hexdigest()).write_bytes(seed)

    def one(data: bytes) -> None:
        try:
            check(harness.read, data)
        except Finding as found:
            kind = ":".join(str(found).split(":")[:3])  # file, line, type of the error
            if kind not in seen:
                seen.add(kind)
                key = hashlib.sha1(kind.encode()).hexdigest()[:10]
                (findings / key).write_bytes(data)
                (findings / f"{key}.txt").write_text(f"{found}\n", encoding="utf-8", errors="replace")
                print(f"FOUND {key} {str(found)!a}", flush=True)

    def change(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return atheris.Mutate(data, most) if rng.random() < 0.5 else edited([data, rng.choice(seeds)], rng)[:most]

    options = [f"-max_total_time={int(minutes * 60)}", f"-rss_limit_mb={MEGABYTES}", f"-max_len={LONGEST}"]
    options += ["-timeout=120", "-print_final_stats=1", f"-artifact_prefix={findings}/crash_", str(inputs)]
    atheris.Setup([sys.argv[0], *options], one, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
