"""The preset coursework through the whole DAG, shrunk in steps and width: its own sources and a sharded Mistral.

They come from a stand-in of the servers. Each long stage is killed once and goes on.
"""

import json
import re
import signal
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm.files import utf8_lines
from tests import hub_server, model_hub
from tests.clone import ROOT, Clone, end_when, states
from tests.sharded_mistral import write_sharded_mistral
from tests.sources.hub_sets import PREFERENCES, PREFERENCES_COMMIT, thread, write_eli5, write_rows
from tests.sources.test_cornell import conversation, line, make_zip

pytestmark = pytest.mark.slow
SITES = ("ai", "datascience", "stats")
MODEL_PATHS = ("/api/models/", f"/{model_hub.NAME}/")
ZIP_PATH = "/cornell_movie_dialogs_corpus.zip"


class Handler(hub_server.Handler, model_hub.Handler):
    """Answers as the hub for data sets, as the hub for a model, and as Cornell's server."""

    data: hub_server.Hub
    model: model_hub.ModelHub
    corpus: bytes

    def _about_a_model(self) -> bool:
        found = self.path.startswith(MODEL_PATHS)
        self.hub = self.model if found else self.data  # type: ignore[assignment]
        return found

    def do_GET(self) -> None:
        if self.path == ZIP_PATH:
            self.send(200, self.corpus, {}, self.command == "GET")
        elif self._about_a_model():
            self.answer(with_body=self.command == "GET")
        else:
            hub_server.Handler.do_GET(self)

    def do_POST(self) -> None:
        self._about_a_model()
        hub_server.Handler.do_POST(self)


def dialogues(name: str) -> list[list[str]]:
    """Turns of the project's own texts, which stand for those of the real sources."""
    rows = (json.loads(text) for _, text in utf8_lines(ROOT / f"data/curated/{name}.jsonl"))
    return [row["turns"] for row in rows]


def write_sources(folder: Path) -> bytes:
    """Write ELI5 and the preferences as the hub keeps them; the zip of Cornell's corpus."""
    pairs = [turns[:2] for turns in dialogues("eli5")]
    write_eli5(folder, [{"question": question, "answer": answer} for question, answer in pairs])
    root = folder / f"{PREFERENCES}@{PREFERENCES_COMMIT}"
    for place, site in enumerate(SITES):
        host = f"{site}.stackexchange.com"
        asked = dialogues("technical")[place :: len(SITES)]
        rows = [thread(i, host, question=f"<p>{turns[0]}</p>") for i, turns in enumerate(asked)]
        for row, turns in zip(rows, asked, strict=True):
            row["answers"][1]["text"] = f"<p>{turns[1]}</p>"
        write_rows(root / "data" / host / "train-00000-of-00001.parquet", rows)
    (root / "README.md").write_text("---\nlicense: cc-by-sa-4.0\n---\n", encoding="utf-8")
    return make_zip(folder, *films(dialogues("eli5") + dialogues("technical"))).read_bytes()


def films(conversations: list[list[str]]) -> tuple[list[str], list[str]]:
    """Lines and conversations of as many films as there are tens of these: short exchanges of their first sentences."""
    lines, listed = [], []
    for number, turns in enumerate(conversations):
        said = [re.split(r"(?<=[.?!])\s", turn.encode("cp1252", "replace").decode("cp1252"))[0] for turn in turns]
        film, ids = f"m{number // 10}", [f"L{100 * number + i}" for i in range(len(said))]
        lines += [line(one, f"u{i % 2}", text, film) for i, (one, text) in enumerate(zip(ids, said, strict=True))]
        listed.append(conversation(ids, film))
    return lines, listed


@contextmanager
def serve(folder: Path, checkpoint: Path):
    """The address of a server of all that the preset fetches."""
    corpus = write_sources(folder)
    model = model_hub.ModelHub({path.name: path.read_bytes() for path in checkpoint.iterdir()})
    made = {"data": hub_server.Hub(folder), "model": model, "corpus": corpus}
    with hub_server.answering(type("AllHandler", (Handler,), made)) as address:
        yield address


def shrink(params: dict[str, Any], address: str) -> None:
    """What the rehearsal leaves large is made small enough for a test; the sources are those of the stand-in."""
    params["download"]["dialogue"]["cornell"] = {"location": f"{address}{ZIP_PATH}", "sha256": None}
    params["base"] = {"location": model_hub.NAME, "revision": "main"}
    params["train"].update(max_steps=12, eval_every=6, state_every_s=0.0)
    params["finetune"].update(train_tokens=4000, context_length=128)
    params["finetune"]["train"].update(batch_size=8, state_every_s=0.0)
    params["evaluate"].update(dialogues=6, max_reply_bytes=120)


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    """The clone on the preset, after each long stage was killed once and the last command ended well."""
    checkpoint, served, folder = (tmp_path_factory.mktemp(name) for name in ("checkpoint", "served", "clone"))
    write_sharded_mistral(checkpoint)
    clone = Clone(folder, "coursework-rehearsal")
    with serve(served, checkpoint) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", address)
        for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_MODULES_CACHE", "HF_XET_CACHE"):
            patch.setenv(name, str(served.with_name(name)))
        path = folder / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        shrink(params, address)
        path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        scores = folder / "logs/evaluate.log"
        waits: tuple[Callable[[], bool], ...] = (
            lambda: len(states(clone, "scratch")) > 0,
            lambda: len(states(clone, "mistral")) > 0,
            lambda: scores.exists() and "score or generate" in scores.read_text(encoding="utf-8"),
        )
        clone.killed = [end_when(clone, ready, signal.SIGKILL, "repro")[0] for ready in waits]
        clone.last = clone.dvc("repro")
    return clone


def test_each_long_stage_was_killed_and_went_on(rehearsal):
    assert rehearsal.killed == [-signal.SIGKILL] * 3
    logs = {path.stem: path.read_text(encoding="utf-8") for path in (rehearsal.folder / "logs").glob("*.log")}
    assert "going on from step" in logs["train_scratch"] and "going on from step" in logs["finetune_mistral"]
    assert "evaluate" in rehearsal.last.stdout


def test_every_source_is_the_brief_s_own(rehearsal):
    data = json.loads((rehearsal.folder / "metrics/data.json").read_text(encoding="utf-8"))
    text = json.dumps(data)
    assert all(name in text for name in ("cornell", "sentence-transformers/eli5", PREFERENCES))


def test_both_models_stand_in_one_table_with_perplexity_by_source(rehearsal):
    table = (rehearsal.folder / "metrics/results.md").read_text(encoding="utf-8")
    assert all(f"| `{name}`" in table for name in ("scratch", "mistral", "base", "ngram5"))
    for name in ("scratch", "mistral", "base"):
        found = json.loads((rehearsal.folder / f"metrics/{name}.json").read_text(encoding="utf-8"))
        assert all(found["ppl"][source] > 1 for source in ("dialogue", "eli5", "technical"))


def test_the_base_came_in_its_shards(rehearsal):
    shards = sorted(path.name for path in (rehearsal.folder / "models/base").glob("model-*.safetensors"))
    assert shards == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]


def test_the_zip_is_one_that_the_corpus_has(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "corpus.zip").write_bytes(write_sources(tmp_path / "x"))
    with zipfile.ZipFile(tmp_path / "corpus.zip") as archive:
        assert any(name.endswith("movie_lines.txt") for name in archive.namelist())
