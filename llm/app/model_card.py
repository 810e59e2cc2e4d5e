"""The model card: what an exported model is, learned from, is good for, and what it was measured at."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llm.evaluation.eval_models import describe_scratch
from llm.evaluation.figure_files import show_number, show_text
from llm.evaluation.result_table import Column, find_figure, list_columns
from llm.hub.info import hub_id_of, read_adapter
from llm.models.registry import load_gpt

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

Form = Literal["whole", "adapter", "gguf"]
LIBRARIES = {"whole": "transformers", "adapter": "peft", "gguf": "gguf"}
# Licences by the names that the hub knows them by; any other is told in words.
LICENCES = {"apache-2.0": "apache-2.0", "mit": "mit", "llama3": "llama3", "gemma": "gemma"}
STATED = {"scratch": "metrics/train_scratch.json", "mistral": "metrics/finetune_mistral.json"}
USE = {
    "whole": """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = (c.from_pretrained("FOLDER") for c in (AutoModelForCausalLM, AutoTokenizer))
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
)
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=60)[0]))
```""",
    "adapter": """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("BASE")
model, tokenizer = PeftModel.from_pretrained(base, "FOLDER"), AutoTokenizer.from_pretrained("FOLDER")
```""",
    "gguf": """\
```bash
llama-cli -m MODEL.gguf -p "Hi"
ollama create tandem -f Modelfile && ollama run tandem
```""",
}
INTENDED = """\
For teaching and for experiments with small language models: to look at how training, fine-tuning and evaluation work, \
and to compare models. Not for advice, decisions about people, or anything that others rely on."""
LIMITS = """\
- It says false things fluently. No hallucination rate is given: the judge that would measure it failed its own check.
- It was not trained to refuse anything, nor tested for bias or safety.
- It saw English only, unless the table of data says otherwise, and few tokens of it."""
MERGED = "The adapter is merged into the weights, which changed no logit behind the tried prompts by more than"
CONTAMINATED = "- What its base model had read is not known: it may have seen texts like those it was measured on."


@dataclass(frozen=True)
class TrainedModel:
    """What the files of a run say of one of its two trained models."""

    name: str  # scratch or mistral
    description: str
    base: Mapping[str, Any] | None  # origin of the model that was fine-tuned
    data: Mapping[str, Any] | None  # of metrics/data.json; None where the last finished run has another model
    detail: Mapping[str, Any] | None  # of metrics/detail/NAME.json, under the same condition


def read_trained(name: str, folder: Path) -> TrainedModel:
    """The model of the run whose files stand below the folder. Raises OSError or ValueError where there is none."""
    if name == "scratch":
        base, description = None, f"{describe_scratch(load_gpt(folder / 'models/scratch'))}, trained from scratch"
    else:
        info = read_adapter(folder / "models/mistral")
        base, description = info["base"], info["description"]
    stated = _read(folder / STATED[name])
    finished = stated is not None and stated == _read(folder / f"models/{name}/summary.json")
    data = _read(folder / "metrics/data.json") if finished else None
    detail = _read(folder / f"metrics/detail/{name}.json") if finished else None
    return TrainedModel(name, description, base, data, detail)


def _read(path: Path) -> Any:
    """Content of a JSON file, None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def measured(model: TrainedModel) -> list[tuple[Column, float, str]]:
    """The figures of the table of results: what, its value, and the interval and number of items in words."""
    if model.detail is None:
        return []
    found = []
    for column in list_columns({model.name: model.detail})[0]:
        value, low, high = (find_figure(model.detail, *column.path, key) for key in ("value", "low", "high"))
        if value is not None:
            ends = "none" if low is None else f"{show_number(low, column.digits)} to {show_number(high, column.digits)}"
            found.append((column, value, ends))
    return found


def eval_results(model: TrainedModel) -> "list[EvalResult]":
    """The figures in the form that the hub shows beside a model."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="text-generation",
            dataset_type="tandem-held-out",
            dataset_name="held-out texts of the run",
            dataset_split="test",
            metric_type=column.name.lower().replace(" ", "_"),
            metric_name=f"{column.name} (95 % interval: {interval}; n = {column.n})",
            metric_value=round(value, column.digits),
        )
        for column, value, interval in measured(model)
    ]


def model_card(model: TrainedModel, form: Form, merge_cost: float | None = None) -> "ModelCard":
    """The card, README.md of the folder; `merge_cost` is the largest difference of a logit that the merge made."""
    from huggingface_hub import ModelCard, ModelCardData

    name = f"Tandem {model.name}"
    licence = "unknown" if model.base is None else LICENCES.get(str(model.base["licence"]).lower(), "other")
    results = eval_results(model)
    head = ModelCardData(
        license=licence,
        library_name=LIBRARIES[form],
        pipeline_tag="text-generation",
        tags=["tandem", *(["lora"] if model.base else [])],
        base_model=hub_id_of(model.base) if model.base else None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    sections = [
        f"# {name}\n\n{show_text(model.description)}.",
        f"## How to use\n\n{USE[form]}",
        f"## Intended use\n\n{INTENDED}",
        f"## Limits\n\n{LIMITS}" + (f"\n{CONTAMINATED}" if model.base else ""),
        f"## Figures\n\n{_figures(model)}",
        f"## Data\n\n{_data(model)}",
        f"## Licence\n\n{_licence(model)}",
    ]
    if merge_cost is not None:
        sections.insert(1, f"{MERGED} {merge_cost:.1e}.")
    return ModelCard(f"---\n{head.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def _figures(model: TrainedModel) -> str:
    rows = [
        [column.name, show_number(value, column.digits), interval, f"{column.n or '-'}", column.about]
        for column, value, interval in measured(model)
    ]
    if not rows:
        return "None: the last finished evaluation was not of these weights."
    return _table(["figure", "value", "95 % interval", "items", "what it is"], rows)


def _data(model: TrainedModel) -> str:
    """The sources with their licences, as a table."""
    if model.data is None:
        return "Not known: the last finished run was not of these weights."
    rows = [
        [f"`{source}`", entry["provider"], *map(show_text, (entry["location"], entry["licence"])), f"{entry['used']:,}"]
        for source, origin in sorted(model.data["provenance"].items())
        for entry in origin["served"]
    ]
    return _table(["source", "served by", "where", "licence", "dialogues"], rows)


def _licence(model: TrainedModel) -> str:
    own = "The texts that it learned from keep their licences, in the table above; the code that trained it is MIT."
    if model.base is None:
        return f"None is stated for the weights: whoever publishes them states one. {own}"
    named, source, licence = (show_text(str(model.base[key])) for key in ("name", "source", "licence"))
    return f"That of the base model, {named} ({source}): {licence}. {own}"
