import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml

from llm.corpus.clean import CleanConfig
from llm.corpus.leak_check import leaking
from llm.corpus.ledger import RULES
from llm.corpus.truthfulqa import read_truthfulqa
from llm.dialogue import Dialogue, read_table, write_dialogues
from llm.files import file_sha256
from tests.cleaned import clean
from tests.fetching.test_download import server as server  # a fixture
from tests.truthful_answers import ROWS
from tests.truthful_answers import write_table as write_truthfulqa

PLAIN = CleanConfig(
    max_turn_chars=500,
    max_repetition=0.5,
    near_ngram=2,
    near_duplicate=0.8,
    near_prompt=0.6,
    near_min_words=8,
    leak_ngram=13,
    join_share=0.1,
    val_share=0.1,
    test_share=0.1,
    min_test_dialogues=10,
    truth_data=None,
    truth_data_sha256=None,
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def sentence(rng, n):
    return " ".join("".join(rng.choices(LETTERS, k=6)) for _ in range(n))


def talk(source, n, seed=0):
    """`n` dialogues of random words, of 2 to 4 turns, two to a group."""
    rng = random.Random(f"{source}{seed}")
    return [
        Dialogue(
            f"{source}-{i}", source, f"g{i // 2}", tuple(sentence(rng, rng.randint(3, 30)) for _ in range(2 + i % 3))
        )
        for i in range(n)
    ]


def messy():
    """A source with something for every rule, and the ids each rule must drop."""
    sane = talk("eli5", 100)
    long = sentence(random.Random(1), 20)
    changed = sane[5].turns[0] + " perhaps"
    broken = {
        "empty": ("Hello?", "\u200b"),
        "long_turn": ("Hello?", "x" * 501),
        "repetition": ("Hello?", "ha " * 20),
        "exact_duplicate": sane[4].turns,
        "near_duplicate": (changed, *sane[5].turns[1:]),
    }
    extra = [Dialogue(rule, "eli5", rule, turns) for rule, turns in broken.items()]
    return [*sane, *extra, Dialogue("fine", "eli5", "fine", ("Tell", "\u200b", "me.", long))]


@pytest.fixture(scope="module")
def cleaned():
    return clean({"eli5": messy(), "technical": talk("technical", 60)}, [], PLAIN, seed=1)


def ids(dialogues):
    return {dialogue.id for dialogue in dialogues}


def kept(cleaned):
    return set().union(*map(ids, cleaned.splits.values()))


def split_ids(cleaned):
    return {split: [dialogue.id for dialogue in dialogues] for split, dialogues in cleaned.splits.items()}


@pytest.mark.parametrize("n_dialogues", [30, 300])
def test_the_bar_is_full_at_the_end_and_never_fuller(capsys, n_dialogues):
    clean({"eli5": talk("eli5", n_dialogues)}, [], PLAIN, seed=1)
    assert "clean: 100%" in capsys.readouterr().err.rpartition("\r")[2]


def test_each_rule_drops_what_breaks_it_and_names_it(cleaned):
    dropped = cleaned.report["sources"]["eli5"]["dropped"]
    for rule in RULES[:5]:
        assert dropped[rule]["examples"] == [rule]
        assert dropped[rule]["dialogues"] == 1


def test_kept_and_dropped_are_all_that_was_read(cleaned):
    for section in cleaned.report["sources"].values():
        for unit in ("dialogues", "exchanges"):
            lost = sum(drop[unit] for drop in section["dropped"].values()) + section["joined"].get(unit, 0)
            assert section["read"][unit] == section["kept"][unit] + lost
            assert section["kept"][unit] == sum(split[unit] for split in section["splits"].values())
    read = {"dialogues": 106, "exchanges": sum(len(dialogue.turns) - 1 for dialogue in messy())}
    assert cleaned.report["sources"]["eli5"]["read"] == read
    assert cleaned.report["sources"]["eli5"]["joined"] == {"exchanges": 2}  # around the empty turn of "fine"


def test_splits_hold_each_kept_dialogue_once_in_the_order_read(cleaned):
    order = [dialogue.id for dialogue in [*messy(), *talk("technical", 60)]]
    n_kept = sum(section["kept"]["dialogues"] for section in cleaned.report["sources"].values())
    assert len(kept(cleaned)) == sum(map(len, split_ids(cleaned).values())) == n_kept
    for names in split_ids(cleaned).values():
        assert names == [name for name in order if name in set(names)]


def test_a_group_is_in_one_split(cleaned):
    groups = [{(d.source, d.group) for d in dialogues} for dialogues in cleaned.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_every_source_is_tested_and_marked_small_below_the_minimum():
    report = clean({"eli5": talk("eli5", 100), "technical": talk("technical", 20)}, [], PLAIN, 1).report["sources"]
    assert report["eli5"]["splits"]["test"]["dialogues"] >= 10
    assert [report[source]["small"] for source in ("eli5", "technical")] == [False, True]


@pytest.mark.parametrize("join", [" ".join, "".join])
def test_near_duplicates_are_found_with_spaces_between_the_words_and_without(join):
    """Characters of a script without spaces, or the same words with spaces between them."""
    rng = random.Random(8)
    texts = [rng.choices([chr(i) for i in range(0x4E00, 0x4F00)], k=60) for _ in range(40)]
    texts += [[*text[:30], "\u5000", *text[31:]] for text in texts[:11]]
    source = [Dialogue(f"e{i}", "eli5", f"e{i}", (join(t[:20]), join(t[20:]))) for i, t in enumerate(texts)]
    report = clean({"eli5": source}, [], PLAIN, 1).report["sources"]["eli5"]
    assert report["dropped"]["near_duplicate"]["dialogues"] == 11


@pytest.mark.parametrize("name", ["cjk", "latin"])
def test_reported_near_duplicates_are_found_in_both_scripts(real_data, name):
    path = real_data / f"reports/11-no-spaces/{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    source = [Dialogue(f"e{i}", "eli5", f"e{i}", (row["question"], row["answer"])) for i, row in enumerate(rows)]
    report = clean({"eli5": source}, [], PLAIN, 1).report["sources"]["eli5"]
    assert report["dropped"]["near_duplicate"]["dialogues"] == 11


def test_the_first_of_near_duplicates_is_kept():
    twin = replace(talk("eli5", 40)[3], id="twin", group="twin")
    assert "twin" not in kept(clean({"eli5": [*talk("eli5", 40), twin]}, [], PLAIN, 1))


def test_short_dialogues_are_dropped_only_when_exactly_equal():
    short = [("What?", "Nothing."), ("What!", "Nothing!"), ("What?", "Nothing.")]
    source = [*talk("eli5", 40), *(Dialogue(f"s{i}", "eli5", f"s{i}", turns) for i, turns in enumerate(short))]
    assert kept(clean({"eli5": source}, [], PLAIN, 1)) & {"s0", "s1", "s2"} == {"s0", "s1"}


def test_groups_that_share_a_long_prompt_are_split_together():
    prompt = sentence(random.Random(3), 12)
    pairs = [Dialogue(f"p{i}", "eli5", f"p{i}", (prompt, f"answer number {i}")) for i in range(8)]
    for seed in range(20):
        splits = clean({"eli5": [*talk("eli5", 100), *pairs]}, [], PLAIN, seed).splits
        assert sum(not ids(dialogues).isdisjoint(ids(pairs)) for dialogues in splits.values()) == 1


def test_train_dialogues_that_give_a_question_away_are_dropped_by_rule():
    rng = random.Random(4)
    question, answer = sentence(rng, 10), sentence(rng, 20)
    leaks = [
        Dialogue("asks", "eli5", "asks", (question + " please", "No idea.")),
        Dialogue("tells", "eli5", "tells", ("Tell me.", "It is said: " + answer)),
    ]
    for seed in range(30):  # until a seed trains on both
        cleaned = clean({"eli5": [*talk("eli5", 100), *leaks]}, [question, answer], PLAIN, seed)
        dropped = cleaned.report["sources"]["eli5"]["dropped"]
        if not ids(cleaned.splits["val"] + cleaned.splits["test"]) & {"asks", "tells"}:
            break
    assert dropped["leak_prompt"]["examples"] == ["asks"]
    assert dropped["leak_ngram"]["examples"] == ["tells"]
    assert leaking(cleaned.splits["train"], [question, answer], PLAIN.leak_rules) == []


def test_whatever_teaches_a_held_out_span_is_dropped_and_named_by_what_it_is():
    span = sentence(random.Random(9), 40)
    leaks = [
        Dialogue("asks", "mine", "asks", (f"Why do they say {span} to all?", "No idea.")),
        Dialogue("told", "mine", "told", ("Hello.", "Good day."), f"Always say {span} first."),
    ]
    cleaned = clean({"mine": [*talk("mine", 100), *leaks]}, [span], replace(PLAIN, test_share=0.001), 1)
    dropped = cleaned.report["sources"]["mine"]["dropped"]
    assert dropped["leak_ngram_prompt"]["examples"] == ["asks"]
    assert dropped["leak_ngram_system"]["examples"] == ["told"]


def test_a_line_shared_by_large_groups_is_left_to_the_gate():
    rng = random.Random(5)
    films = [
        Dialogue(f"film{f}-{i}", "dialogue", f"film{f}", (sentence(rng, 5), sentence(rng, 5)))
        for f in range(30)
        for i in range(20)
    ]
    oath = sentence(rng, 20)
    films += [Dialogue(f"o{f}", "dialogue", f"film{f}", ("Swear.", sentence(rng, 40) + " " + oath)) for f in range(30)]
    cleaned = clean({"dialogue": films}, [], PLAIN, 1)
    section = cleaned.report["sources"]["dialogue"]
    assert cleaned.report["largest_unit"]["dialogue"] == pytest.approx(1 / 30, abs=1e-4)  # no film joined another
    held_out = [d.id for d in cleaned.splits["val"] + cleaned.splits["test"] if d.id.startswith("o")]
    assert held_out
    assert section["dropped"]["leak_ngram"]["dialogues"] == 30 - len(held_out)


def test_the_report_measures_a_naive_split_and_the_gate_by_one_rule():
    rng = random.Random(6)
    turns = [sentence(rng, 15) for _ in range(4000)]
    chats = [Dialogue(f"c{i}", "dialogue", f"c{i}", tuple(turns[i * 20 : i * 20 + 20])) for i in range(200)]
    leaks = clean({"dialogue": chats}, [], PLAIN, 1).report["leaks"]
    # An exchange of a long chat shares a turn with the one before and the one after; each is in train with p = .8.
    assert leaks["naive_split"]["test_given_away"] == pytest.approx(1 - 0.2**2, abs=0.03)
    assert leaks["naive_split"]["train_leaking"] == pytest.approx(1 - 0.8**2, abs=0.03)
    assert leaks["before_gate"] == leaks["after_gate"] == {"test_given_away": 0.0, "train_leaking": 0.0}


def test_short_prompts_on_both_sides_are_reported():
    chats = [Dialogue(f"c{i}", "dialogue", f"c{i}", ("Hi!", f"Hello number {i}.")) for i in range(100)]
    assert clean({"dialogue": chats}, [], PLAIN, 1).report["short_prompts_seen"] == {"dialogue": 1.0}


def test_a_book_is_cut_by_section_and_the_report_says_what_that_means(caplog):
    book = [replace(dialogue, group="book") for dialogue in talk("mine", 100)]
    cleaned = clean({"mine": book, "eli5": talk("eli5", 100)}, [], PLAIN, 1)
    report = cleaned.report["sources"]
    assert [report[source]["split_by"] for source in ("mine", "eli5")] == ["section", "group"]
    assert [report[source]["small"] for source in ("mine", "eli5")] == [True, False]
    assert report["mine"]["dropped"]["gap"] == {
        "dialogues": 2, "exchanges": 1 + 3, "examples": ["mine-78", "mine-89"]
    }  # fmt: skip
    assert [d.id for d in cleaned.splits["test"] if d.source == "mine"] == [f"mine-{i}" for i in range(90, 100)]
    assert "mine: too few groups to hold two of them out whole, it is cut in three" in caplog.text


def test_a_source_too_small_to_hold_anything_out_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^mine: its 4 dialogues"):
        clean({"mine": [replace(dialogue, group="one") for dialogue in talk("mine", 4)]}, [], PLAIN, 1)


def test_a_source_whose_texts_all_share_a_template_is_refused_by_name():
    rng = random.Random(10)
    template = sentence(rng, 15)
    source = [Dialogue(f"m{i}", "mine", f"m{i}", (f"{template} {sentence(rng, 40)}", "Yes.")) for i in range(60)]
    with pytest.raises(ValueError, match=r"^mine: whatever would be trained on shares 13 words in a row"):
        clean({"mine": source}, [], PLAIN, 1)


def test_an_id_given_twice_is_refused():
    with pytest.raises(ValueError, match="'eli5-0' occurs twice"):
        clean({"eli5": talk("eli5", 3), "technical": talk("eli5", 1)}, [], PLAIN, 1)


def test_sources_without_a_dialogue_are_cleaned_to_nothing():
    assert clean({"eli5": []}, [], PLAIN, 1).splits == {"train": [], "val": [], "test": []}


@pytest.mark.parametrize(
    ("key", "value"), [("near_prompt", 1.5), ("val_share", 0.0), ("near_min_words", 1), ("leak_ngram", 0)]
)
def test_a_value_out_of_range_is_refused_by_name(key, value):
    with pytest.raises(ValueError, match=f"^{key} is {value}, allowed"):
        replace(PLAIN, **{key: value})


QUESTION = {
    "id": "q", "area": "a", "question": "Why?", "correct": ["So.", "Because."], "incorrect": ["No."],
    "explanation": "It is so.",
}  # fmt: skip
PAIR = {
    "area": "area",
    "true": "A network learns from examples.",
    "false": "A network learns from dreams.",
    "note": ".",
}


def prepare(folder, repository):
    """A folder in which the stage can run."""
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    (folder / "params.yaml").write_text(yaml.safe_dump({"data_seed": 1, "clean": params["clean"]}), encoding="utf-8")
    for source in ("dialogue", "eli5", "technical"):
        write_dialogues(folder / f"data/raw/{source}.jsonl", talk(source, 60))
        (folder / f"data/raw/{source}.provenance.json").write_text(f'{{"source": "{source}"}}', encoding="utf-8")
    (folder / "data/curated").mkdir()
    for name in ("quiz", "false_premise"):
        (folder / f"data/curated/{name}.jsonl").write_text(json.dumps(QUESTION) + "\n", encoding="utf-8")
    lines = [json.dumps({**PAIR, "id": f"p{i}"}) + "\n" for i in range(2)]
    (folder / "data/curated/pairs.jsonl").write_text("".join(lines), encoding="utf-8")


def run_stage(folder, repository, hash_seed="0"):
    environment = {**os.environ, "PYTHONPATH": str(repository), "PYTHONHASHSEED": hash_seed}
    return subprocess.run(
        [sys.executable, "-m", "stages.clean"], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_the_stage_writes_equal_bytes_every_time(tmp_path, repository):
    prepare(tmp_path, repository)
    seen = []
    for hash_seed in ("1", "2"):
        done = run_stage(tmp_path, repository, hash_seed)
        assert done.returncode == 0, done.stderr
        files = [tmp_path / "data/clean" / name for name in ("report.json", "test.arrow", "train.arrow", "val.arrow")]
        assert sorted(files[0].parent.iterdir()) == files
        seen.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert seen[0] == seen[1]
    report = json.loads(files[0].read_text(encoding="utf-8"))
    assert report["held_out_texts"] == {"quiz": 5, "false_premise": 5, "pairs": 6}
    assert report["provenance"]["eli5"] == {"source": "eli5"}
    n_kept = sum(section["kept"]["dialogues"] for section in report["sources"].values())
    assert sum(len(list(read_table(path))) for path in files[1:]) == n_kept == 180


def test_the_stage_names_a_missing_question_set(tmp_path, repository):
    prepare(tmp_path, repository)
    (tmp_path / "data/curated/quiz.jsonl").unlink()
    done = run_stage(tmp_path, repository)
    assert done.returncode == 1
    assert "data/curated/quiz.jsonl" in done.stderr and "Traceback" not in done.stderr


def test_real_questions_and_answers_survive_cleaning(real_data):
    rows = [json.loads(line) for line in (real_data / "eli5_sample.jsonl").read_text(encoding="utf-8").splitlines()]
    source = [Dialogue(f"e{i}", "eli5", f"e{i}", (row["question"], row["answer"])) for i, row in enumerate(rows)]
    truth = [text for one in read_truthfulqa(real_data / "truth/TruthfulQA.csv") for text in one.texts]
    report = clean({"eli5": source}, truth, replace(PLAIN, max_turn_chars=4000), 1).report["sources"]["eli5"]
    assert report["dropped"]["long_turn"]["dialogues"] == sum(len(row["answer"]) > 4000 for row in rows)
    assert report["kept"]["dialogues"] == 500 - report["dropped"]["long_turn"]["dialogues"]  # distinct, and no leak


PROMPTS = (
    f"Tell me: {ROWS[0][2].lower()}",
    "Do you hear the bird of the night whose voice has no meaning at all?",
)


def with_truthfulqa(folder, repository, location, **changes):
    """The done process of the stage where TruthfulQA is given; one of two more dialogues asks a question of it."""
    prepare(folder, repository)
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    params["clean"] |= {"truth_data": location, **changes}
    params["http"] = {"timeout_s": 2, "retries": 1, "backoff_s": 0}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    more = [Dialogue(f"more{i}", "eli5", f"more{i}", (prompt, "Who knows.")) for i, prompt in enumerate(PROMPTS)]
    write_dialogues(folder / "data/raw/eli5.jsonl", talk("eli5", 60) + more)
    return run_stage(folder, repository)


def train_ids(folder):
    return {dialogue.id for dialogue in read_table(folder / "data/clean/train.arrow")}


def test_truthfulqa_is_held_out_and_kept_for_evaluation(tmp_path, repository):
    path = write_truthfulqa(tmp_path / "my tables/TruthfulQA.csv")
    done = with_truthfulqa(tmp_path, repository, str(path), min_test_dialogues=1, truth_data_sha256=file_sha256(path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/clean/TruthfulQA.csv").read_bytes() == path.read_bytes()
    report = json.loads((tmp_path / "data/clean/report.json").read_text(encoding="utf-8"))
    assert report["held_out_texts"] == {"quiz": 5, "false_premise": 5, "pairs": 6, "truth": 4 + 20}
    assert {"more0", "more1"} - train_ids(tmp_path) == {"more0"}
    shutil.rmtree(tmp_path / "data/curated")
    assert with_truthfulqa(tmp_path, repository, None).returncode == 0
    assert not (tmp_path / "data/clean/TruthfulQA.csv").exists()


def test_truthfulqa_comes_from_a_url_and_a_broken_download_is_one_line(tmp_path, repository, server):
    server.content = write_truthfulqa(tmp_path / "served.csv").read_bytes()
    server.plan = ["broken", "broken"]
    done = with_truthfulqa(tmp_path, repository, server.url)
    (line,) = [line for line in done.stderr.splitlines() if "failed" in line]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the connection broke off" in line and "give its local path" in line
    done = run_stage(tmp_path, repository)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/clean/TruthfulQA.csv").read_bytes() == server.content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file none.csv; correct the path, or give the URL instead"),
        ("Question,Answer\nq,a\n", "none.csv is not a whole TruthfulQA.csv: it has no column Category, Best Answer"),
    ],
)
def test_another_file_than_truthfulqa_is_refused_in_one_line(tmp_path, repository, content, message):
    if content:
        (tmp_path / "none.csv").write_text(content, encoding="utf-8")
    done = with_truthfulqa(tmp_path, repository, "none.csv")
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data/clean").exists()


def test_documents_and_system_turns_are_repaired_and_kept():
    """A document has one turn, and is no empty dialogue for it."""
    chats = [
        Dialogue(f"c{i}", "own", f"c{i}", (f"What is number {i}?", f"It is {i}."), system=f"Be\u200b {i}.")
        for i in range(40)
    ]
    book = [
        Dialogue(f"b#{i}", "book", "b", (f"Section {i}\u200b tells {i} things.",), kind="document") for i in range(40)
    ]
    empty = Dialogue("b#x", "book", "b", ("\u200b",), kind="document")
    cleaned = clean({"own": chats, "book": [*book, empty]}, [], PLAIN, seed=1)
    kept = [dialogue for split in cleaned.splits.values() for dialogue in split]
    assert {d.system for d in kept if d.source == "own"} >= {"Be 3."}
    sections = [d for d in kept if d.source == "book"]
    assert {d.kind for d in sections} == {"document"}
    assert sections[0].turns[0].startswith("Section ") and "\u200b" not in sections[0].turns[0]
    dropped = cleaned.report["sources"]["book"]["dropped"]
    assert dropped["empty"]["dialogues"] == 1 and len(sections) + dropped["gap"]["dialogues"] == 40
