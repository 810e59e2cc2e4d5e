"""The sections of the report, each as Markdown that is computed from a run."""

from collections.abc import Iterable, Mapping

from llm.app.markdown import Section, join_words, list_items, percent
from llm.app.meanings import meanings_markdown
from llm.app.report_run import ReportedRun
from llm.app.verdicts import (
    NOUNS,
    WRITERS,
    bits_sentence,
    comparison_table,
    contradictions,
    explain_verdict,
    missing_sentence,
    name_figure,
    name_model,
    share_sentence,
    show_interval,
    told_of,
)
from llm.evaluation.figure_files import show_number
from llm.evaluation.plots import CsvRows
from llm.evaluation.result_table import (
    SHOWN_PAIRS,
    find_figure,
    find_first,
    show_bounds,
)
from llm.runs.compare import HEADLINE, Line
from llm.stats.verdict import CANT_TELL


def in_short(run: ReportedRun) -> Section:
    """What a reader who reads no further takes away."""
    told = pairs_in_short(run)
    told += [*literacy_sentences(run, ("mistral", "scratch")), judge_sentence(run)]
    if contradictions(run):
        told.append("Table and samples seem to disagree in places: [Samples](#samples) says where, and why.")
    return Section("In short", list_items(told))


def pairs_in_short(run: ReportedRun) -> list[str]:
    """Bits per byte of the standing comparisons; what the verdicts allow to say once where it is the same of all."""
    found = {pair: run.compared.get(pair, {}).get("bpb.all") for pair in SHOWN_PAIRS[::-1]}
    verdicts = [line.verdict for line in found.values() if line]
    alike = len(verdicts) > 1 and set(verdicts) != {CANT_TELL} and len(set(verdicts)) == 1
    told = []
    for pair, line in found.items():
        if line is None:
            told.append(missing_sentence(run, pair))
        else:
            told.append(bits_sentence(pair, line) + ("" if alike else f" {explain_verdict(line)}"))
    return [*told, f"Each of these differences {told_of(verdicts[0])}"] if alike else told


def literacy_sentences(run: ReportedRun, models: Iterable[str]) -> list[str]:
    """How each model's share of true statements on AI lies to guessing."""
    right = "finds the true statement on AI likelier in"
    found = [share_sentence(run, model, "literacy", "accuracy", right, "pairs") for model in models]
    return [sentence for sentence in found if sentence]


def judge_sentence(run: ReportedRun) -> str:
    """Whether a rate of false answers is shown, and which."""
    reason = find_first(run.details, "truth", "judge", "no_rate_because")
    if reason:
        return f"No rate of false answers is shown: {reason}."
    rates = {model: find_figure(run.details[model], "truth", "false_rate") for model in WRITERS}
    shown = [
        f"{percent(one['value'])} of the answers of `{model}`{show_bounds(one['low'], one['high'])}"
        for model, one in rates.items()
        if one
    ]
    return f"The judge calls false {join_words(shown)}." if shown else "No model was asked questions of fact."


def table_section(run: ReportedRun) -> Section:
    """README's table of all models, below the picture of bits per byte."""
    picture = "![Bits per byte of every model, in all and per source](plots/bpb.svg)"
    table, _, notes = run.pages["results"].partition("\n\n")
    reading = "Small: the 95 % interval. What the columns mean, and which model is which: [results.md](results.md)."
    return Section("All models", f"{picture}\n\n{table}\n\n{reading}", [("About the columns and the models", notes)])


def comparisons(run: ReportedRun) -> Section:
    """The standing comparisons: headline figures in sentences, then all figures."""
    parts = ["Both sides of a comparison are measured on the same items, and these are drawn anew for both together."]
    folds = []
    for pair in SHOWN_PAIRS[::-1]:
        a, b = pair.split(" - ")
        parts.append(f"### {name_model(a)} and {NOUNS.get(b, b)}")
        if lines := run.compared.get(pair):
            parts.append(headline_sentences(lines))
            folds.append((f"All figures: {a} and {b}", comparison_table(lines, a, b)))
        else:
            parts.append(missing_sentence(run, pair))
    parts.append("Differences and verdicts of all figures stand in [compare.json](compare.json).")
    return Section("Comparisons and verdicts", "\n\n".join(parts), folds)


def headline_sentences(lines: Mapping[str, Line]) -> str:
    """The headline figures of a comparison, an item each."""
    told = [
        f"**{name_figure(name)}**: {show_number(line.a, 3)} against {show_number(line.b, 3)}{show_chance(line)}; "
        f"{show_interval(line)}, n = {line.n:,}. {explain_verdict(line)}"
        for name, line in lines.items()
        if name in HEADLINE
    ]
    return list_items(told) if told else "None of the headline figures is measured on both sides."


def show_chance(line: Line) -> str:
    """What blind choice gets, behind the figures of both sides; "" where nothing is chosen."""
    return "" if line.chance is None else f", where blind choice gets {show_number(line.chance, 3)}"


def meanings(_: ReportedRun) -> Section:
    """What each number says, and what it does not."""
    return Section("What each number means, and what it does not", meanings_markdown())


def losses(run: ReportedRun) -> Section:
    """How the losses fell."""
    told = [loss_sentences(model, run.curves[model]) for model in ("scratch", "mistral")]
    picture = "![Training and validation loss of both models over the tokens read](plots/loss.svg)"
    closing = (
        "A loss is in nats a token, so only those of one tokenizer compare: between the models bits per byte decide."
    )
    return Section("Loss while training", "\n\n".join([list_items(told), picture, closing]))


def loss_sentences(model: str, rows: CsvRows) -> str:
    """What a curve shows: where it began and ended, and whether it was still falling."""
    if len(rows) < 2:
        return f"`{model}` was not trained in this run."
    first, last = rows[0], rows[-1]
    best = min(rows, key=lambda row: float(row["val_loss"]))
    start, end, lowest = (show_number(float(row["val_loss"]), 2) for row in (first, last, best))
    told = (
        f"{name_model(model)} brought its validation loss from {start} to {end} over {int(last['tokens']):,} tokens "
        "that it "
        "learned from."
    )
    if best is last:
        told += " It was lowest at the end: longer training may bring it further."
    else:
        told += f" It was lowest at step {best['step']}, {lowest}; the weights of that step are kept."
    if last["train_loss"]:
        told += f" At the end the training loss is {show_number(float(last['train_loss']), 2)}, "
        gap = float(last["val_loss"]) - float(last["train_loss"])
        told += (
            f"{show_number(abs(gap), 2)} {'below' if gap >= 0 else 'above'} it; a wide gap would be learning by heart."
        )
    return told


def literacy(run: ReportedRun) -> Section:
    """What the models know of AI, as far as choosing shows it."""
    told = literacy_sentences(run, WRITERS)
    right = "finds corrections of a wrong question likelier than answers that play along in"
    shares = [share_sentence(run, model, "premises", "accuracy", right, "questions") for model in WRITERS]
    told += [sentence for sentence in shares if sentence]
    picture = "![Share of AI-literacy pairs told apart, in all and by area, with blind choice](plots/choice.svg)"
    return Section("AI literacy", f"{list_items(told)}\n\n{picture}" if told else "No model was asked to choose.")
