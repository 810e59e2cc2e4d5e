"""The judge's card states what the committed judge states: `python -m tests.judge.test_card` prints its table."""

import json

from sklearn.metrics import cohen_kappa_score

from llm.evaluation.figure_files import round_figures
from llm.judge.instrument import load_judge
from llm.judge.labelled import read_replies, reply_figures
from stages.judge_replies import N_RESAMPLES, SEED
from tests.judge.believed import FOLDER, curated_questions

AREAS = {
    "AUROC as used": "auroc",
    "of the five likenesses alone": "auroc_likeness",
    "of the contrast of token F1, not trained": "auroc_contrast",
    "of a classifier that sees neither question nor references": "auroc_surface",
    "of the length": "auroc_length",
}


def short(number, digits=3):
    return f"{number:.{digits}f}".removeprefix("0")


def area(found):
    return f"{short(found['value'])} ({short(found['low'])} to {short(found['high'])})"


def table():
    figures = json.loads((FOLDER / "judge.json").read_text(encoding="utf-8"))["figures"]
    sides = [figures[name] for name in ("curated", "truthfulqa")]
    rows = [(text, *(area(side[name]) for side in sides)) for text, name in AREAS.items()]
    errors = [(short(side["brier"]), short(side["calibration_error"])) for side in sides]
    slopes = [short(side["calibration_slope"], 2) for side in sides]
    rows += [
        (
            "Brier score, calibration error, slope",
            *map(", ".join, [(*e, s) for e, s in zip(errors, slopes, strict=True)]),
        )
    ]
    rows += [("taken for beside the question", *(f"{100 * side['off_topic']:.1f} %" for side in sides))]
    head = ["| on questions it never saw | curated | TruthfulQA |", "|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def controls():
    found = json.loads((FOLDER / "judge.json").read_text(encoding="utf-8"))["figures"]["controls"]
    share = {name: short(one["truthful"], 2) for name, one in found.items()}
    sentence = found["constant"]["answer"].removesuffix(" to every question")
    return (
        f"The best of ten sentences, {sentence}, has {share['constant']}, true answers to other questions "
        f"{share['shuffled']}, answers labelled false {share['labelled_false']}, true {share['labelled_true']}."
    )


def on_replies():
    figures = json.loads((FOLDER / "judge.json").read_text(encoding="utf-8"))["figures"]
    found, readers = figures["replies"], [row["readers"] for row in replies()]
    agreed = sum(a == b for a, b in readers)
    n = found["non_answers"]
    assert agreed == found["answers"] + n
    kappa = short(cohen_kappa_score(*zip(*readers, strict=True)), 2)
    return (
        f"agreed in {agreed} (kappa {kappa}). Of these {n} are no answers by the rules of `truth.answered` too, "
        f"or loops. On the other {found['answers']} the judge has an AUROC of {area(found['auroc'])}."
    )


def replies():
    return [json.loads(line) for line in (FOLDER / "replies.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_label_is_what_both_readers_say():
    assert [row["label"] for row in replies()] == [
        None if a != b else a == "true" for a, b in (row["readers"] for row in replies())
    ]


def test_the_recorded_figures_are_those_of_the_committed_replies():
    judge = load_judge(FOLDER)
    found = reply_figures(judge, read_replies(FOLDER / "replies.jsonl", curated_questions()), N_RESAMPLES, SEED)
    assert round_figures(found) == judge.figures["replies"]


def test_the_card_holds_the_figures_of_the_committed_judge():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert on_replies() in " ".join(card.split())
    assert table() in card
    assert controls() in " ".join(card.split())


if __name__ == "__main__":
    print(table(), controls(), sep="\n\n")
