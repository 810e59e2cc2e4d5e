"""Comparisons in sentences: which side is better, by how much, and how far that may be believed."""

from collections.abc import Mapping

from llm.app.markdown import join_words, markdown_table, percent
from llm.app.report_run import ReportedRun
from llm.evaluation.figure_files import BAR, show_number
from llm.evaluation.result_table import ENDS, FEW_GROUPS, find_figure
from llm.runs.compare import LOWER_IS_BETTER, Line, line_cells, looked_at, measure_of
from llm.stats.verdict import CANT_TELL

NOUNS = {
    "mistral": "the fine-tuned model",
    "base": "the pretrained model before its fine-tune",
    "scratch": "the model trained here from scratch",
    "ngram5": "the 5-gram, which only counts",
}
WRITERS = ("mistral", "base", "scratch")
MEASURES = {
    "bpb.all": "bits per byte",
    "bpb.macro": "bits per byte, mean of the sources",
    "literacy.accuracy": "literacy: pairs told apart",
    "literacy.couples_both": "literacy: couples with both pairs right",
    "premises.accuracy": "false premises corrected",
    "text.bleu": "BLEU",
    "text.chrf": "chrF++",
    "text.token_f1": "words shared with the real reply (token F1)",
    "text.degenerate": "replies that are empty or loop",
    "truth.answered": "questions answered at all",
    "truth.contrast": "nearness to correct answers, by words",
    "truth.nearer_correct": "answers nearer to a correct one",
    "truth.false_rate": "answers called false by the judge",
    "truth.truthful": "answers called truthful by the judge",
}
HEAD = ("figure", "n", "chance", "", "", "difference", "95 % interval", "p", "verdict")
ONE_RUN = (
    "is more than the choice of test items explains, and more than another training seed changes. With {} a side that "
    "holds for these models, not yet for the ways they were made."
)
TOLD = {  # what the rules of llm/stats/verdict.py let a reader say
    "better": "is more than the choice of test items and of training seeds explains, and several seeds show it.",
    "better on these items": "is more than the choice of test items explains, and no training seed changes a side.",
    "better on these items; one seed": ONE_RUN.format("one training run"),
    "better on these items; two seeds": ONE_RUN.format("two training runs"),
}


def name_model(model: str) -> str:
    """A model as a sentence begins with it."""
    noun = NOUNS.get(model, model)
    return f"{noun[0].upper()}{noun[1:]} (`{model}`)"


def show_interval(line: Line) -> str:
    """The interval of a difference in words; why there is none."""
    if line.low is None or line.high is None:
        return "no interval, for the groups are too few"
    return f"95 % interval of the difference {show_number(line.low, 3)} to {show_number(line.high, 3)}"


def told_of(verdict: str) -> str:
    """What a difference is that has this verdict, which is not `can't tell`."""
    return TOLD[verdict.replace("worse", "better")]


def explain_verdict(line: Line) -> str:
    """What the verdict on a difference allows to say, as a sentence."""
    if line.verdict != CANT_TELL:
        return f"This {told_of(line.verdict)}"
    if line.low is None or line.high is None:
        return "Too few groups of items: whether that is chance cannot be told."
    if line.low == line.high == 0:
        return "Both sides are equal."
    if line.low <= 0 <= line.high:
        return "The interval holds 0, so these items cannot tell which of the two is better."
    return (
        "The interval leaves out 0, but that is not enough to call one better: another training seed could change as "
        "much, or several headline figures were looked at."
    )


def bits_sentence(pair: str, line: Line) -> str:
    """What the bits per byte of two models say."""
    a, b = pair.split(" - ")
    gap = 1 - line.a / line.b
    more = f"{percent(abs(gap))} {'fewer' if gap >= 0 else 'more'} bits"
    if line.verdict == CANT_TELL and line.low is not None and line.high is not None and line.low <= 0 <= line.high:
        more = "about as many bits"
    than = "as" if more.startswith("about") else "than"
    return (
        f"{name_model(a)} needs {more} for a byte of the real replies {than} {NOUNS.get(b, b)} (`{b}`): "
        f"{show_number(line.a, 3)} against {show_number(line.b, 3)}; {show_interval(line)}, n = {line.n:,} replies."
    )


def missing_sentence(run: ReportedRun, pair: str) -> str:
    """Why two models are not compared."""
    absent = [model for model in pair.split(" - ") if not run.is_there(model)]
    if absent:
        reason = run.details[absent[0]]["reason"]
        return f"`{absent[0]}` is not there ({reason}), so it is held against nothing."
    return f"`{pair}` has no figure in common, so nothing is said of it."


def share_sentence(run: ReportedRun, model: str, section: str, measure: str, right: str, items: str) -> str | None:
    """How a model's share of right choices lies to blind choice; None where it was not asked."""
    found = find_figure(run.details[model], section, "all", measure)
    chance = find_figure(run.details[model], section, "all", "chance", "value")
    n = find_figure(run.details[model], section, "all", "n")
    if found is None or found["value"] is None or chance is None:
        return None
    value, low, high = (found[end] for end in ENDS)
    bounds = "" if low is None or high is None else f" (95 % interval {percent(low)} to {percent(high)})"
    shown = f"{name_model(model)} {right} {percent(value)} of {n:,} {items}{bounds}"
    if low is None or high is None:
        return f"{shown}; blind choice gets {percent(chance)}, and the groups are too few to tell the two apart."
    if low <= chance <= high:
        return f"{shown}: blind choice gets {percent(chance)}, so this may be guessing."
    return f"{shown}: that is {'more' if value > chance else 'less'} than the {percent(chance)} of blind choice."


def name_figure(name: str) -> str:
    """A figure's name for people.

    >>> name_figure("bpb.eli5"), name_figure("text.chrf"), name_figure("choice.mc1")
    ('bits per byte, eli5', 'chrF++', 'choice.mc1')
    """
    section, _, part = name.partition(".")
    return MEASURES.get(name, f"bits per byte, {part}" if section == "bpb" else name)


def comparison_table(lines: Mapping[str, Line], a: str, b: str) -> str:
    """A line a figure, as Markdown; an arrow says which way is better."""
    head = [*HEAD[:3], f"`{a}`", f"`{b}`", *HEAD[5:8], f"verdict on `{a}`"]
    rows = []
    for name, line in lines.items():
        arrow = "↓" if measure_of(name) in LOWER_IS_BETTER else "↑"
        rows.append([f"{name_figure(name)} {arrow}", *line_cells(name, line)[1:]])
    return markdown_table(head, rows) + f"\n\n↑ more is better, ↓ less is better. {looked_at(list(lines))}"


def contradictions(run: ReportedRun) -> list[str]:
    """Where the table and what the models write seem to disagree, and why both may be true."""
    overlaps = [_fewer_bits_less_overlap(run, pair) for pair in run.compared]
    return _loops_though_likely(run) + [one for one in overlaps if one] + _copying_beats_models(run)


LOOPS = 0.25  # share of empty and looping replies that a reader of the samples notices


def _loops_though_likely(run: ReportedRun) -> list[str]:
    bar, shown = find_figure(run.details[BAR], "bpb", "all", "value"), []
    for model in WRITERS:
        bits, share = (
            find_figure(run.details[model], *path, "value") for path in (("bpb", "all"), ("text", "degenerate"))
        )
        if None not in (bits, share, bar) and share >= LOOPS and bits < bar:
            n = run.figures[model]["n"]["prompts"]
            shown.append(f"{round(share * n)} of {n} of `{model}`, which needs {show_number(bits, 2)} bits a byte")
    if not shown:
        return []
    return [
        f"Likeliest replies that are empty or run into a loop: {join_words(shown)}. All of these foresee real replies "
        f"better than counting, which needs {show_number(bar, 2)} bits. Both are true. Bits per byte ask how likely a "
        "model finds what a person wrote. A likeliest reply takes the likeliest word each time, and small models that "
        "do "
        "so repeat themselves (Holtzman et al. 2020). So look at the drawn words too."
    ]


def _fewer_bits_less_overlap(run: ReportedRun, pair: str) -> str | None:
    bits, overlap = (run.compared[pair].get(name) for name in ("bpb.all", "text.chrf"))
    if not bits or not overlap or not bits.verdict.startswith("better") or not overlap.verdict.startswith("worse"):
        return None
    a, b = pair.split(" - ")
    ratios = [run.figures[model]["text"]["length_ratio"] for model in (a, b)]
    longer = (
        f" What `{b}` writes is {show_number(ratios[1], 2)} times as long as the real replies, what `{a}` writes "
        f"{show_number(ratios[0], 2)} times: more text finds more of a reply's words."
        if None not in ratios and ratios[1] > ratios[0]
        else ""
    )
    few = f" And {overlap.n} replies are few." if overlap.n < FEW_GROUPS else ""
    return (
        f"`{a}` needs fewer bits than `{b}`, yet what it writes has less in common with the real replies: chrF++ "
        f"{show_number(overlap.a, 1)} against {show_number(overlap.b, 1)}.{longer}{few}"
    )


def _copying_beats_models(run: ReportedRun) -> list[str]:
    values = {model: find_figure(run.details[model], "text", "bleu", "value") for model in ("retrieval", *WRITERS)}
    known = {model: value for model, value in values.items() if value is not None}
    copied = known.pop("retrieval", None)
    if copied is None or not known or copied <= max(known.values()):
        return []
    shown = ", ".join(f"`{model}` {show_number(value, 2)}" for model, value in known.items())
    return [
        f"Copying the reply to the nearest training prompt (`retrieval`) gets more BLEU, {show_number(copied, 2)}, "
        "than "
        f"any model ({shown}). A reply to another prompt need not fit this one: take BLEU of open conversation as a "
        "curiosity."
    ]
