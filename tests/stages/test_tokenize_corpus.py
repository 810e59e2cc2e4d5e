import json
import random
from itertools import pairwise

import numpy as np
import pytest
import yaml

from llm.corpus.clean import CleanConfig, clean
from llm.dialogue import Dialogue, read_table, write_table
from llm.tokens.canaries import PROMPT, read_canaries
from llm.tokens.packing import open_corpus, pack_corpus, pack_efficiency
from llm.tokens.tokenizer import load_tokenizer
from stages.params import load
from stages.tokenize_corpus import CLEAN, OUT, SPLITS, SUMMARY, main

WORDS = [f"{a}{b}{c}" for a in "bdkmt" for b in "aeiou" for c in ("n", "r", "st")]
N = 316  # dialogues of each source


def talk(source, n):
    rng = random.Random(source)

    def turn():
        return " ".join(rng.choices(WORDS, k=rng.randint(3, 15))) + rng.choice(["?", "!", " é", " <|end|>"])

    return [Dialogue(f"{source}-{i}", source, f"g{i}", tuple(turn() for _ in range(2 + i % 3))) for i in range(n)]


def write_params(repository, folder):
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    params["tokenize"]["vocab_size"] = 300
    params["model"]["context_length"] = 32
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch, repository):
    """A project with cleaned dialogues of two sources."""
    monkeypatch.chdir(tmp_path)
    write_params(repository, tmp_path)
    raw = {"dialogue": [*talk("dialogue", N), Dialogue("bad", "dialogue", "bad", ("Hm", ""))], "eli5": talk("eli5", 80)}
    report = clean(raw, [], load("clean", CleanConfig), 1, CLEAN)
    (CLEAN / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return tmp_path


def metrics():
    return json.loads(SUMMARY.read_text(encoding="utf-8"))


def planted_texts():
    """The turns of the canaries, as often as they are repeated."""
    canaries = read_canaries(OUT / "canaries.json")
    return [text for canary in canaries for _ in range(canary.repeats) for text in (PROMPT, canary.reply)]


def test_the_token_files_hold_every_turn_of_every_split(folder):
    main()
    tokenizer = load_tokenizer(OUT / "tokenizer.json")
    for split in SPLITS:
        corpus, dialogues = open_corpus(OUT, split), list(read_table(CLEAN / f"{split}.arrow"))
        encoded = [corpus.ids[a:b].tolist() for a, b in pairwise(corpus.offsets)][: len(dialogues)]
        assert encoded == [tokenizer.encode_dialogue(dialogue.turns).tolist() for dialogue in dialogues]
        turns = [tokenizer.decode(corpus.ids[a:b]) for a, b in pairwise([*corpus.turns, len(corpus.ids)])]
        canaries = planted_texts() if split == "train" else []
        assert turns == [turn for dialogue in dialogues for turn in dialogue.turns] + canaries
        assert set(corpus.offsets[:-1]) <= set(corpus.turns)
        assert corpus.ids.dtype == np.uint16 and corpus.supervised is None


def test_system_turns_and_documents_are_learned_from_their_first_word_on(folder):
    talk = [Dialogue(f"s{i}", "mine", f"s{i}", ("Why so?", f"Because of {i}."), "Be kind") for i in range(3)]
    book = [Dialogue(f"b{i}", "book", "b", (f"Chapter {i}. It was night.",), kind="document") for i in range(3)]
    for split in SPLITS:
        write_table(CLEAN / f"{split}.arrow", [*talk, *book])
    main()
    tokenizer = load_tokenizer(OUT / "tokenizer.json")
    corpus = open_corpus(OUT, "train")
    found = [corpus.ids[a:b].tolist() for a, b in pairwise(corpus.offsets)][:6]
    assert found[0] == tokenizer.encode_dialogue(talk[0].turns, "Be kind").tolist()
    assert found[5] == tokenizer.encode_document("Chapter 2. It was night.").tolist()
    assert set(corpus.offsets[:-1]) <= set(corpus.turns)
    packed = pack_corpus(corpus, 32, seed=1)
    learned = sum(int((packed.batch([row]).targets >= 0).sum()) for row in range(len(packed)))
    assert learned == len(corpus.ids) - (len(corpus.offsets) - 1)  # all but what opens a dialogue or a document
    sizes = metrics()["tokenizer"]["splits"]["test"]
    n_bytes = sum(len(text.encode()) for one in (*talk, *book) for text in one.texts)
    assert sizes["tokens"]["book"] == sum(map(len, found[3:]))
    assert sizes["bytes_per_token"] == round(n_bytes / sum(map(len, found)), 4)


def test_the_tokenizer_learns_from_train_only(folder):
    for split in ("val", "test"):
        dialogues = [Dialogue(f"{split}-{i}", "eli5", split, ("zzz zzz", "zzz " * 20)) for i in range(40)]
        write_table(CLEAN / f"{split}.arrow", dialogues)
    main()
    tokenizer = load_tokenizer(OUT / "tokenizer.json")
    assert len(tokenizer.encode(" zzz")) == 4
    assert len(tokenizer.encode(" kan")) < 4


def test_the_metrics_count_what_the_files_hold(folder):
    main()
    figures = metrics()["tokenizer"]
    assert figures["vocab_size"] == load_tokenizer(OUT / "tokenizer.json").vocab_size == 300
    for split in SPLITS:
        corpus, dialogues = open_corpus(OUT, split), list(read_table(CLEAN / f"{split}.arrow"))
        n_bytes = sum(len(turn.encode()) for dialogue in dialogues for turn in dialogue.turns)
        found = figures["splits"][split]
        assert found["dialogues"] == len(dialogues)
        n_tokens = len(corpus.ids) - (figures["canaries"]["tokens"] if split == "train" else 0)
        assert found["tokens"]["all"] == n_tokens == found["tokens"]["dialogue"] + found["tokens"]["eli5"]
        assert found["bytes_per_token"] == round(n_bytes / n_tokens, 4)
    assert figures["canaries"]["different"] == {"1": 8, "4": 8, "16": 8}
    assert figures["canaries"]["dialogues"] == 8 * (1 + 4 + 16) == len(planted_texts()) / 2
    packed = pack_corpus(open_corpus(OUT, "train"), 32, 1)
    assert figures["packing"] == {"context_length": 32, "efficiency": round(pack_efficiency(packed), 4)}


def test_the_metrics_hold_cleans_report_without_the_ids_of_what_was_dropped(folder):
    main()
    report, found = json.loads((CLEAN / "report.json").read_text(encoding="utf-8")), metrics()
    empty = report["sources"]["dialogue"]["dropped"]["empty"]
    assert empty["examples"] == ["bad"] and empty["dialogues"] == 1
    assert found["sources"]["dialogue"]["dropped"]["empty"] == {"dialogues": 1, "exchanges": 1}
    assert found["leaks"] == report["leaks"]
    assert set(found) == {*report, "tokenizer"}


def test_equal_inputs_give_equal_bytes(folder):
    files = []
    for _ in range(2):
        main()
        files.append({path.name: path.read_bytes() for path in [*sorted(OUT.iterdir()), SUMMARY]})
    assert files[0] == files[1]
    assert len(files[0]) == 13  # three arrays a split, the tokenizer, the canaries, the sources, the metrics


def test_a_split_without_dialogues_is_refused_before_anything_is_written(folder):
    report = json.loads((CLEAN / "report.json").read_text(encoding="utf-8"))
    for source in report["sources"].values():
        source["splits"]["val"]["dialogues"] = 0
    (CLEAN / "report.json").write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(ValueError, match=r"no dialogues for val: raise clean\.val_share"):
        main()
    assert not OUT.exists() and not SUMMARY.exists()
