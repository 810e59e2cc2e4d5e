"""The sections of the report on what its figures rest on, from the instruments to the limits, as Markdown."""

from llm.app.cost import cost_markdown
from llm.app.markdown import Section, list_items, markdown_table, percent
from llm.app.meanings import STANDING
from llm.app.parameters import all_parameters, differences_table
from llm.app.report_run import ReportedRun, Values
from llm.app.verdicts import contradictions
from llm.evaluation.figure_files import BAR, show_number
from llm.evaluation.result_table import FEW_GROUPS, find_figure, find_first, list_columns
from llm.judge.instrument import RELIABLE

SHOWN_PROMPTS = 2  # of samples.md; all of them are folded in HTML
JUDGED = {
    "curated": "labelled answers to the questions asked here, none of which it had seen",
    "replies": "replies that models wrote, labelled by readers",
    "truthfulqa": "TruthfulQA, judged by people, of which nothing was fitted",
}


def instruments(run: ReportedRun) -> Section:
    """What measures the models, and how good that is itself."""
    parts = [
        "A figure is worth what its instrument is worth. So each instrument is tried on something that is known: "
        "labels "
        "that people or readers gave, a model that has learned nothing.",
        "### The hallucination judge",
        judge_table(run.judge),
        "AUROC is the chance that it doubts a false answer more than a true one: 0.5 is a coin, 1 is never wrong. A "
        "rate "
        f"of false answers is shown where the lower bound is {RELIABLE:.2f} or more, on answers and on replies.",
        "![Reliability of the judge's probabilities, and its ROC beside those of simpler detectors](plots/judge.svg)",
        "### Known cases",
        list_items(controls(run)),
    ]
    return Section("Instruments and their quality", "\n\n".join(parts))


def judge_table(figures: Values) -> str:
    """How well the judge tells true from false answers, on each kind of answer it was tried on."""
    rows = []
    for name, about in JUDGED.items():
        if area := figures.get(name, {}).get("auroc"):
            bounds = f"{show_number(area['low'], 2)} to {show_number(area['high'], 2)}"
            simple = figures[name].get("auroc_contrast")
            shown = show_number(simple["value"], 2) if simple else "-"
            error = show_number(figures[name]["calibration_error"], 2)
            rows.append((about, f"{figures[name]['answers']:,}", show_number(area["value"], 2), bounds, shown, error))
    return markdown_table(
        ("tried on", "answers", "AUROC", "95 % interval", "of shared words alone", "calibration error"), rows
    )


def controls(run: ReportedRun) -> list[str]:
    """What models of known quality get from the other instruments."""
    told = []
    for model, why in (("untrained", "a network before its first step"), ("unigram", "a count of single tokens")):
        value, chance = (
            find_figure(run.details[model], "literacy", "all", *p, "value") for p in (["accuracy"], ["chance"])
        )
        if value is not None:
            told.append(
                f"Literacy: `{model}`, {why}, tells apart {percent(value)} of the pairs, where chance is "
                f"{percent(chance)}."
            )
    bits = {model: find_figure(run.details[model], "bpb", "all", "value") for model in (BAR, "compressor", "untrained")}
    known = [f"`{model}` {show_number(value, 2)}" for model, value in bits.items() if value is not None]
    told.append(f"Bits per byte: {', '.join(known)}. Who needs more than `{BAR}` has learned less than counting does.")
    for name in ("bleu", "chrf"):
        real, other = (find_figure(run.details["base"], "text", name, key) for key in ("value", "unrelated"))
        if real is not None and other is not None:
            label = {"bleu": "BLEU", "chrf": "chrF++"}[name]
            told.append(
                f"{label}: the replies of `base` get {show_number(real, 1)} against the real replies, "
                f"{show_number(other, 1)} "
                "against the real replies to other prompts."
            )
    remembered = run.figures[BAR]["memory"]["exposure_16"]
    if remembered is not None:
        told.append(
            f"Memory: `{BAR}`, which keeps every run of tokens, has an exposure of {show_number(remembered, 1)} bits "
            "to numbers "
            "planted 16 times; about 1.4 is chance."
        )
    return told


def samples(run: ReportedRun) -> Section:
    """What the models write, side by side, and where that seems to contradict the table."""
    page = run.pages["samples"]
    told = contradictions(run)
    parts = [
        f"What the table says and what one reads seem to disagree here:\n\n{list_items(told)}"
        if told
        else "Nothing in the samples contradicts the table."
    ]
    parts += [f"### {part.strip()}" for part in split_prompts(page)[:SHOWN_PROMPTS]]
    parts.append("All prompts with the replies of every model stand in [samples.md](samples.md).")
    return Section("Samples", "\n\n".join(parts), [("All prompts and replies", page.partition("\n")[2])])


def split_prompts(page: str) -> list[str]:
    """The prompts of the page of samples with the replies to each, without what frames them."""
    return [part.partition("\n## ")[0] for part in page.split("\n### ")[1:]]


def data(run: ReportedRun) -> Section:
    """What was learned from and measured on."""
    found = run.data
    tokens, leaks = found["tokenizer"]["splits"]["train"]["tokens"], found["leaks"]
    small = sorted(name for name, source in found["sources"].items() if source["small"])
    told = [
        f"The models trained here had {tokens['all']:,} tokens of {len(found['sources'])} sources to learn from.",
        f"Split at random, {percent(leaks['naive_split']['test_given_away'])} of the test dialogues would have been "
        "given away "
        f"by training dialogues. After the gate {percent(leaks['after_gate']['test_given_away'])} are.",
    ]
    if small:
        told.append(f"Too small for an interval: {', '.join(f'`{name}`' for name in small)}.")
    closing = "Sources, licences, what was dropped and why stand in [the data card](data_card.md)."
    return Section(
        "Data", f"{list_items(told)}\n\n{closing}", [("Data card", run.pages["data_card"].partition("\n")[2])]
    )


def cost(run: ReportedRun) -> Section:
    """Minutes, memory, operations, energy."""
    return Section("Cost", cost_markdown(run.cost), in_markdown=False)


def parameters(run: ReportedRun) -> Section:
    """What differs from the preset `laptop`, then everything."""
    table = differences_table(run.parameters, run.laptop, ("here", "preset `laptop`"))
    body = f"These differ from the preset `laptop`:\n\n{table}" if table else "All are those of the preset `laptop`."
    body += "\n\nEvery number stands with its unit in [params.yaml](../params.yaml)."
    return Section("Parameters", body, [("All parameters", all_parameters(run.parameters))])


def versions(run: ReportedRun) -> Section:
    """The packages that computed the figures."""
    rows = [(f"`{name}`", str(version)) for name, version in run.versions.items()]
    body = "Another version of these packages may compute other figures."
    return Section("Versions", body, [("Packages that compute", markdown_table(("package", "version"), rows))])


def limits(run: ReportedRun) -> Section:
    """What nobody should conclude from the report."""
    told = []
    if find_first(run.details, "bpb", "all", "value") is not None:
        columns, _ = list_columns(run.details)
        few = [f"{column.name} ({column.groups})" for column in columns if (column.groups or FEW_GROUPS) < FEW_GROUPS]
        if few:
            told.append(f"Few groups of items make an interval too narrow: take {', '.join(few)} as a hint.")
    if run.trainings["mistral"].get("stand_in"):
        weights = run.trainings["mistral"]["parameters"] / 1e6
        told.append(
            f"The fine-tuned model is {run.trainings['mistral']['base']} with {weights:,.0f} million weights. It "
            "stands in for "
            "Mistral 7B, and says nothing of how good that is."
        )
    if size := run.trainings["scratch"].get("parameters"):
        told.append(
            f"The model trained here has {size / 1e6:,.1f} million weights. It learns how people write, not what is "
            "true."
        )
    return Section("Limits", list_items([*told, *STANDING]))
