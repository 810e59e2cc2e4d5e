"""`python -m bench` times everything against what people use instead and writes bench/results.json."""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.table import RESULTS, Section, add_section, describe_machine, is_busy, rounded, show, write_tables

BENCHMARKS = {
    "step": "a training step against transformers, a plain loop and the matrix products alone",
    "packing": "useful tokens a second of packed, padded and bucketed rows",
    "generation": "replies against transformers' generate()",
    "tokenising": "encoding 20 MB of text against datasets.map",
    "scale": "clean and tokenize at growing sizes: seconds, memory (with --full 1.8 million exchanges, an hour)",
    "lora": "fine-tuning against transformers.Trainer with peft",
    "evaluate": "scoring replies against one at a time",
    "kernels": "each kernel against torch's own, and the row of the table that chooses between them",
    "beside": "a training step beside one and two busy programs, and two trainings at once",
    "time_to_loss": "time to the loss that a plain AdamW loop reaches in 5 minutes (about 15 minutes)",
}
ROOMS = {  # of the library that each is about
    **dict.fromkeys(("step", "lora", "beside", "time_to_loss"), "training"),
    **dict.fromkeys(("packing", "tokenising"), "tokens"),
    "generation": "inference",
    "scale": "corpus",
    "kernels": "models",
    "evaluate": "evaluation",
}
LONG = ("kernels", "scale", "time_to_loss")  # not in a run without --full unless named


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    known = "\n".join(f"  {name:14}{what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"benchmarks:\n{known}\n\nRun it on an otherwise idle machine. Ratios are taken within rounds in "
        "which all contenders take turns;\nshown are the smallest, the middle and the largest of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all but the long ones)")
    parser.add_argument("--rounds", type=int, help="rounds of turns (default: 3, with --full 6)")
    parser.add_argument("--full", action="store_true", help="all sizes and all benchmarks")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"file of the results (default: {RESULTS})")
    about = "only write the tables of the results: ten rows into README.md, all into docs/speed.md"
    parser.add_argument("--readme", action="store_true", help=about)
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"no benchmark is called {', '.join(unknown)}: known are {', '.join(BENCHMARKS)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}: one or more")
    return options


def run_all(names: Sequence[str], rounds: int, full: bool) -> Iterator[tuple[str, Section]]:
    """Title and result of every comparison, with the machine as it was before it."""
    for name in names:
        machine = describe_machine()
        if is_busy(machine):
            print(f"note: the load is {machine['load_before']:.1f}, something else runs: no figure to be trusted")
        for title, section in importlib.import_module(f"bench.{ROOMS[name]}.{name}").measure(rounds, full):
            yield title, rounded({**section, "machine": machine})


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the results and write them into the file, which keeps the comparisons not run now."""
    options = parse(arguments)
    if options.readme:
        write_tables(results=options.out)
        return
    names = options.names or [name for name in BENCHMARKS if options.full or name not in LONG]
    for title, section in run_all(names, options.rounds or (6 if options.full else 3), options.full):
        add_section(options.out, title, section)
        print(show(title, section), flush=True)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"bench failed: {error}")
