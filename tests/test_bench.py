"""Every benchmark from end to end at tiny sizes; no test here depends on how fast anything is."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import rounds
from bench.__main__ import main
from bench.base import open_base
from bench.evaluation import evaluate
from bench.inference import generation
from bench.replay import flop
from bench.rounds import Contender, Run, Turn, alternate, check_equal
from bench.shapes import FULL, SMALL, Shape, gpt2, one_dialogue_a_row
from bench.table import (
    END,
    HEADLINES,
    RESULTS,
    SPEED,
    START,
    add_section,
    busy_cores,
    ratio,
    render,
    show,
    spread,
    summarise,
    write_tables,
)
from bench.tokens import packing, tokenising
from bench.tokens.exchanges import draw_lengths
from bench.training import beside, lora, plain_run, step, time_to_loss
from llm.models.registry import build_model
from llm.tokens.packing import TokenCorpus, open_corpus, pack_corpus, write_corpus
from llm.training.schedule import TrainConfig
from llm.training.step import validation_loss
from stages.params import load
from tests.processes import PRELOADED

ROOT = Path(__file__).resolve().parent.parent
TINY = Shape("TINY", gpt2(n_layer=2, n_head=2, n_embd=16, context_length=32), vocab_size=64, batch_size=4)
MACHINE = {"processor": "a processor", "cores": 2, "threads": 2, "torch": "2.13.0", "load_before": 0.1}
rounds.PRELOAD = list(PRELOADED)


def turn(seconds, amount=1.0, faults=0, note=None):
    return Turn(seconds, amount, faults, 10**9, note)


def as_section(run, **kwargs):
    return {**summarise(run, "s/step", kwargs.get("ratios", {}), {}), "machine": MACHINE}


@pytest.fixture
def run():
    return Run({}, {"peer": [turn(2.0), turn(6.0), turn(12.0)], "ours": [turn(1.0), turn(2.0), turn(3.0)]})


def test_a_ratio_is_taken_within_each_round(run):  # 2/1, 6/2, 12/3
    assert ratio(run, ("peer", "ours")) == {"min": 2.0, "median": 3.0, "max": 4.0}


def test_the_middle_of_an_even_number_is_the_mean_of_two():
    assert spread([4.0, 1.0, 3.0, 2.0]) == {"min": 1.0, "median": 2.5, "max": 4.0}


def test_a_ratio_counts_the_amount_of_work_of_a_turn():  # 10 tokens in 2 s against 30 in 3 s
    run = Run({}, {"peer": [turn(2.0, 10)], "ours": [turn(3.0, 30)]})
    assert ratio(run, ("peer", "ours"))["median"] == pytest.approx(2.0)
    section = summarise(run, "tokens/s", {}, {})
    assert [found["median"] for found in section["contenders"].values()] == pytest.approx([5.0, 10.0])


def test_memory_and_page_faults_stand_beside_the_times(run):
    found = as_section(run)["contenders"]["ours"]
    assert (found["peak_gb"], found["page_faults"], found["values"]) == (1.0, 0, [1.0, 2.0, 3.0])


def notes_its_turns(lap, path, name):
    while True:
        lap(note=name)
        with path.open("a") as file:
            file.write(name)


def test_contenders_take_turns_and_every_second_round_runs_backwards(tmp_path):
    path = tmp_path / "order"
    contenders = [Contender(name, notes_its_turns, {"path": path, "name": name}, False) for name in "ab"]
    run = alternate(contenders, 3, lambda ready: None)
    assert path.read_text().removeprefix("aabb") == "abbaab"  # each takes two turns to warm up
    assert run.ready == {"a": "a", "b": "b"}
    assert {name: len(turns) for name, turns in run.turns.items()} == {"a": 3, "b": 3}


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def frees_64_megabytes(lap):
    before = resident_bytes()
    torch.empty(16 * 2**20).fill_(1.0)
    while True:
        lap(note=resident_bytes() - before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator setting is glibc's")
def test_only_contenders_that_ask_for_it_keep_their_memory():
    names = {"stock": False, "kept": True}
    contenders = [Contender(name, frees_64_megabytes, {}, keeps) for name, keeps in names.items()]
    left = alternate(contenders, 1, lambda ready: None).ready
    assert left["stock"] < 8 * 2**20
    assert left["kept"] > 56 * 2**20


class Falling:
    """A worker whose turns have given page faults."""

    def __init__(self, faults, keeps_memory):
        self.faults, self.contender = iter(faults), Contender("x", fails, {}, keeps_memory)

    def take_turn(self):
        return turn(0.1, faults=next(self.faults))


@pytest.mark.parametrize(
    ("keeps_memory", "faults", "left"),
    [
        (False, [100_000, 70_000, 40_000, 39_000, 39_000], [39_000]),  # as many as before
        (True, [100_000, 100_000, 70_000, 100, 0], [0]),  # almost none; as many again means nothing
        (True, [9_000] * 10, [9_000] * 2),  # at most MAX_WARM_UP turns
    ],
)
def test_warming_up_goes_on_while_page_faults_fall(keeps_memory, faults, left):
    worker = Falling(faults, keeps_memory)
    rounds._warm_up(worker)
    assert list(worker.faults) == left


def fails(lap):
    raise ValueError("no such weights")


def dies(lap):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_contender_that_fails_or_is_killed_is_named():
    with pytest.raises(RuntimeError, match=r"(?s)x failed.*no such weights"):
        alternate([Contender("x", fails, {}, False)], 1, lambda ready: None)
    with pytest.raises(RuntimeError, match="y died with exit code -9"):
        alternate([Contender("y", dies, {}, False)], 1, lambda ready: None)


def test_contenders_that_compute_other_losses_are_refused():
    check_equal({"products": None, "a": 1.0, "b": 1.00005}, 1e-4)
    with pytest.raises(ValueError, match="do not compute the same"):
        check_equal({"a": 1.0, "b": 1.001}, 1e-4)
    with pytest.raises(ValueError, match="b replies to 1 of 2"):
        generation.check_replies({"ours": [[1], [2]], "b": [[1], [3]]})


def test_the_yardstick_has_the_operations_of_the_formula():  # 6 (12 n_layer C^2 + V C) tokens
    assert flop(SMALL) == 6 * (12 * 6 * 256**2 + 8192 * 256) * 32 * 256
    assert flop(FULL) == 6 * (12 * 12 * 768**2 + 30_000 * 768) * 8 * 256


def test_a_row_of_the_batch_is_learned_but_for_its_first_token():
    ids = torch.arange(3, 11).view(2, 4)
    batch = pack_corpus(one_dialogue_a_row(ids), 4, seed=1).batch([0, 1])
    order = batch.ids[:, 0].argsort()
    assert batch.ids[order].tolist() == ids.tolist()
    assert batch.targets[order].tolist() == [[4, 5, 6, -1], [8, 9, 10, -1]]


def test_a_step_of_all_peers_runs_from_the_same_weights_to_the_same_loss():
    section = step.compare(TINY.with_dropout(0.1, 0.1), (step.PLAIN, step.LOOP, step.TRAINER), rounds=2)
    assert len(section["contenders"]) == 10
    peers = {peer + tuned for peer in (step.PLAIN, step.LOOP, step.TRAINER) for tuned in ("", step.TUNED)}
    assert set(section["ratios"]) == {
        *("step / matrix products", f"step / {step.STOCK_PRODUCTS}"),
        *(f"{peer} / ours" for peer in peers | {step.PLAIN + step.MULTIPLIED}),
    }
    assert all(len(found["values"]) == 2 for found in section["contenders"].values())


def test_steps_beside_other_programs_and_of_two_trainings_at_once():
    section = beside.compare(TINY, steps=2, rounds=1)
    assert list(section["contenders"]) == [
        *(beside.ALONE, "beside 1 busy program", "beside 2 busy programs", beside.TWICE),
    ]
    assert "two trainings at once / one after the other" in section["ratios"]


def test_packing_runs_and_knows_what_share_of_the_inputs_is_useful(monkeypatch):
    monkeypatch.delenv("TANDEM_TEST_DATA", raising=False)
    shape = replace(TINY, vocab_size=8192)
    section = packing.compare(shape, n_exchanges=40, steps=1, rounds=1)
    lengths = draw_lengths(40, limit=33)
    assert section["facts"]["useful share, padded"] == pytest.approx((lengths - 1).sum() / (40 * 32))
    assert section["facts"]["useful share, packed"] > section["facts"]["useful share, padded"]
    assert "log-normal" in section["facts"]["data"]


def test_generation_gives_the_same_replies_as_transformers():
    section = generation.compare(generation.Task(TINY, batch_size=3, prompt_tokens=4, new_tokens=6), rounds=1)
    assert list(section["ratios"]) == [f"{name} / ours" for name in (generation.PEER, generation.TUNED)]


def test_the_command_adds_its_result_to_the_file_and_to_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tokenising, "N_BYTES", 30_000)
    monkeypatch.setattr(tokenising, "VOCAB", 300)
    out = tmp_path / "results.json"
    add_section(out, "another", {"contenders": {}})
    main(["tokenising", "--rounds", "1", "--out", str(out)])
    results = json.loads(out.read_text())
    assert set(results) == {"another", "tokenising"}
    assert results["tokenising"]["facts"]["bytes"] >= 30_000
    assert results["tokenising"]["machine"]["cores"] == os.cpu_count()
    assert str(ROOT) not in out.read_text() and str(tmp_path) not in out.read_text()
    assert "datasets.map / ours" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"), [(["stop"], "no benchmark is called stop"), (["--rounds", "0"], "one or more")]
)
def test_a_wrong_command_line_is_refused(arguments, said, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory):
    with open_base(tmp_path_factory.mktemp("none")) as folder:
        yield folder


def test_lora_steps_run_on_both_sides(tiny_base):
    config = lora.laptop_config(1024)
    config = replace(config, lora_r=2, train=replace(config.train, batch_size=1, micro_batch=1))
    section = lora.compare(tiny_base, config, n_dialogues=6, rounds=1)
    assert list(section["contenders"]) == [lora.OURS, lora.PEER, lora.TUNED]


def test_scores_of_both_ways_agree(tiny_base):
    section = evaluate.compare(tiny_base, dialogues=1, questions=1, rounds=1)
    assert list(section["contenders"]) == [evaluate.OURS, evaluate.PEER, evaluate.TUNED]


def cycles(n_dialogues):
    """Dialogues of 40 tokens that count up."""
    ids = np.arange(n_dialogues * 40, dtype=np.uint16) % 50 + 3
    starts = np.arange(n_dialogues) * 40
    return TokenCorpus(ids, np.append(starts, len(ids)), starts, None)


def test_a_stream_and_packed_rows_learn_the_same_tokens():
    corpus = cycles(7)
    ids, targets = time_to_loss.stream_rows(corpus, 32)
    packed = pack_corpus(corpus, 32, seed=1)
    expected = packed.batch(list(range(len(packed)))).targets
    assert np.array_equal(np.sort(targets[targets >= 0]), np.sort(expected[expected >= 0]))
    assert (ids[targets >= 0] + 1 - targets[targets >= 0]).remainder(50).eq(0).all()  # each follows its input


def test_the_plain_rate_warms_up_and_falls():
    rates = [time_to_loss.plain_rate(share) for share in (0.025, 0.05, 0.525, 1.0)]
    assert rates == pytest.approx([0.5, 1.0, 0.55, 0.1])


def test_the_time_to_a_loss_lies_between_two_validations():
    turns = [turn(0, note=(0.0, 4.0, False)), turn(0, note=(10.0, 2.0, False)), turn(0, note=(20.0, 1.0, True))]
    assert time_to_loss.time_to(turns, 1.5) == pytest.approx(15.0)
    assert time_to_loss.time_to(turns, 4.0) == 0.0
    assert time_to_loss.time_to(turns, 0.5) is None


def test_the_race_is_against_the_better_of_the_plain_loops(tmp_path):
    for split, n in (("train", 30), ("val", 6)):
        write_corpus(tmp_path, split, cycles(n))
    train = load("train", TrainConfig, ROOT / "presets" / "laptop.yaml")
    race = time_to_loss.Race(
        tmp_path, 64, TINY.model, replace(train, max_steps=8, batch_size=4, micro_batch=4), 0.2, 0.1
    )
    section = time_to_loss.compare(race, lrs=(1e-2, 1e-5), shares=(1.0,))
    losses = [section["facts"][f"lowest loss, plain AdamW loop, rate {lr}"] for lr in ("0.01", "1e-05")]
    assert section["facts"]["loss to reach, nats a token"] == min(losses) < math.log(64)


def test_the_plain_run_begins_with_the_loss_of_ours_and_learns(tmp_path):
    for split, n in (("train", 30), ("val", 6)):
        write_corpus(tmp_path, split, cycles(n))
    config = replace(
        load("train", TrainConfig, ROOT / "presets" / "laptop.yaml"),
        optimizer="adamw",
        lr=1e-2,
        max_steps=5,
        eval_every=2,
        batch_size=4,
        micro_batch=4,
    )
    plain_run.train(tmp_path, 64, TINY.model, config, 1, tmp_path / "plain.csv")
    rows = list(csv.DictReader((tmp_path / "plain.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["0", "2", "4", "5"] and rows[-1]["tokens"] == str(5 * 4 * 32)
    model = build_model(TINY.model, 64, torch.Generator().manual_seed(1))
    ours = validation_loss(model, pack_corpus(open_corpus(tmp_path, "val"), 32, 1), None, 4, torch.device("cpu"))
    assert float(rows[0]["val_loss"]) == pytest.approx(ours, abs=1e-3)
    assert float(rows[-1]["val_loss"]) < ours - 0.1
    with pytest.raises(ValueError, match=r"train.max_steps and train.eval_every must be numbers"):
        plain_run.train(tmp_path, 64, TINY.model, replace(config, optimizer="muon"), 1, tmp_path / "no.csv")


def test_the_tables_are_written_between_their_marks(run, tmp_path):
    results, readme, speed = tmp_path / "results.json", tmp_path / "README.md", tmp_path / "speed.md"
    headline, label = HEADLINES[0]
    add_section(results, "step", as_section(run, ratios={"peer / ours": ("peer", "ours")}))
    add_section(results, headline, as_section(run, ratios={label: ("peer", "ours")}))
    for page in (readme, speed):
        page.write_text(f"before\n{START}old\n{END}\nafter\n")
    write_tables(readme, speed, results)
    assert "| step | peer / ours | 2.00 | **3.00** | 4.00 | 3 | 1.00 / 1.00 |" in speed.read_text()
    assert speed.read_text() == f"before\n{START}{render(results)}{END}\nafter\n"
    assert readme.read_text() == f"before\n{START}{render(results, HEADLINES)}{END}\nafter\n"


def test_only_the_wanted_rows_are_shown_in_the_wanted_order(run, tmp_path):
    ratios = {"peer / ours": ("peer", "ours"), "ours / peer": ("ours", "peer")}
    add_section(tmp_path / "results.json", "step", as_section(run, ratios=ratios))
    wanted = [("step", "ours / peer"), ("not measured", "peer / ours"), ("step", "peer / ours")]
    lines = render(tmp_path / "results.json", wanted).splitlines()
    assert [line.split(" | ")[1] for line in lines if line.startswith("| step")] == ["ours / peer", "peer / ours"]
    assert "not measured" not in "".join(lines)


def test_a_busy_machine_is_said_so(run, tmp_path):
    section = {**as_section(run, ratios={"peer / ours": ("peer", "ours")}), "machine": {**MACHINE, "load_before": 3.0}}
    add_section(tmp_path / "results.json", "step", section)
    assert "step (machine not idle)" in render(tmp_path / "results.json")
    assert "the load was 3.0 before" in show("step", section)


def test_missing_results_or_marks_say_what_to_do(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="make bench"):
        render(tmp_path / "results.json")
    add_section(tmp_path / "results.json", "step", as_section(run))
    (tmp_path / "README.md").write_text("no marks")
    with pytest.raises(ValueError, match="has no lines"):
        write_tables(tmp_path / "README.md", tmp_path / "speed.md", tmp_path / "results.json")


def committed(path):
    """A file as it is in git, None where it is not there."""
    shown = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, check=False)
    return shown.stdout.decode() if shown.returncode == 0 else None


@pytest.fixture
def committed_results(tmp_path):
    """The committed results: those of the working tree may be of another machine."""
    results = committed(RESULTS.as_posix())
    if results is None:
        pytest.skip("no results are committed, or this is not a git checkout")
    (tmp_path / "results.json").write_text(results)
    return tmp_path / "results.json"


@pytest.mark.parametrize(("page", "wanted"), [("README.md", HEADLINES), (SPEED.as_posix(), None)])
def test_a_page_quotes_the_committed_results(committed_results, page, wanted):
    assert committed(page).partition(START)[2].partition(END)[0] == render(committed_results, wanted)


def test_every_headline_of_readme_is_measured_and_there_are_ten_at_most(committed_results):
    sections = json.loads(committed_results.read_text())
    assert len(HEADLINES) <= 10
    assert [(title, label) for title, label in HEADLINES if label not in sections[title]["ratios"]] == []


def test_a_core_at_work_is_counted():
    work = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert busy_cores() >= 0.5
    finally:
        work.kill()
        work.wait()
