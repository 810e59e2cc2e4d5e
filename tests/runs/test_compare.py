from dataclasses import replace

import numpy as np
import pytest

from llm.corpus.questions import Question, read_questions
from llm.evaluation.ask import Generations
from llm.evaluation.scoring import Score
from llm.judge.labelled import read_labelled
from llm.runs.common_items import restrict
from llm.runs.compare import compare as compare_models
from llm.runs.compare import compare_pairs, in_short, looked_at, table
from llm.stats.verdict import CANT_TELL
from tests.judge.believed import believed_judge
from tests.measured_runs import ITEMS, N_BYTES, N_GROUPS, PER_GROUP, make_items, rules, spreads, that_says, with_bpb

N = len(N_BYTES)
ITEM = np.repeat(np.random.default_rng(1).normal(2.0, 0.3, N_GROUPS), PER_GROUP)  # how hard each reply is, by group
RULES = rules()


def compare(a, b, rules, models=("scratch", "scratch")):
    """Seeds of one model against seeds of another, here by default of the same."""
    return compare_models(a, b, models, rules)


FEW = make_items(n_groups=20, per_group=1, n_questions=0)


def seeds(rng, n, level=0.0, seed_sd=0.02, item_sd=0.1):
    """Runs of one configuration: what a seed shifts on all items, and what it is better or worse at."""
    return [with_bpb(ITEM + level + rng.normal(0, seed_sd) + rng.normal(0, item_sd, N)) for _ in range(n)]


def verdicts(a, b):
    return {name: line.verdict for name, line in compare(a, b, RULES).lines.items()}


def test_the_difference_is_that_of_the_sums():
    line = compare([with_bpb(ITEM)], [with_bpb(ITEM + 0.5)], RULES).lines["bpb.all"]
    assert line.difference == pytest.approx(-0.5)
    assert line.a == pytest.approx((ITEM * N_BYTES).sum() / N_BYTES.sum())
    assert (line.low, line.high) == pytest.approx((-0.5, -0.5))  # paired: how hard the items are cancels
    assert line.verdict == "better on these items; one seed"


def test_a_run_is_not_better_than_itself():
    run = that_says(["a token is text"] * N_GROUPS)
    for line in compare([run], [run], RULES).lines.values():
        assert (line.difference, line.p, line.verdict) == (0.0, 1.0, CANT_TELL)


def test_one_seed_never_claims_more_than_these_items():
    rng = np.random.default_rng(2)
    for level in (0.0, 0.05, 0.5):
        for side in (1, 2):
            found = set(verdicts(seeds(rng, side), seeds(rng, 4, level)).values())
            assert found <= {
                CANT_TELL,
                *(f"{w} on these items; {n}" for w in ("better", "worse") for n in ("one seed", "two seeds")),
            }


def test_one_seed_of_one_configuration_is_held_back_by_the_spread_between_seeds():
    """Without seed_sd, items alone find most pairs of seeds different; with it, a gap of two spreads is needed.

    Two seeds differ by N(0, 2 sd^2): they are more than 2 sqrt(2) sd apart in 4.6 % of cases.
    """
    noise = np.random.default_rng(3).normal(0, 0.02, (300, 2, 1)) + np.random.default_rng(4).normal(
        0, 0.002, (300, 2, 20)
    )
    pairs = [[with_bpb(2.0 + one, items=FEW) for one in both] for both in noise]

    def claims(seed_sd):
        found = [compare([a], [b], rules(100, seed_sd)).lines["bpb.all"].verdict for a, b in pairs]
        return sum(verdict != CANT_TELL for verdict in found)

    assert claims(1e-9) > 270
    assert claims(0.02) <= 18  # 6 %; with twice one side's spread it would be 47


def simulated(n_cases, level, seed):
    """Share of cases in which three seeds, `level` below three others, get each verdict on bits per byte."""
    rng, items, found = np.random.default_rng(seed), np.linspace(1.5, 2.5, 20), []
    for _ in range(n_cases):
        noise = rng.normal(0, 0.02, (6, 1)) + rng.normal(0, 0.02, (6, 20))  # what a seed is better at, in all and here
        runs = [with_bpb(items + one, items=FEW) for one in noise - level * np.array([[1], [1], [1], [0], [0], [0]])]
        found.append(compare(runs[:3], runs[3:], rules(100)).lines["bpb.all"].verdict)
    return {verdict: found.count(verdict) / n_cases for verdict in ("better", CANT_TELL, "worse")}


def test_three_seeds_of_one_configuration_a_side_cannot_be_told_apart():
    assert simulated(200, 0.0, seed=4)[CANT_TELL] >= 0.95


def test_a_planted_difference_of_five_percent_is_found():
    """.1 of 2 bits per byte, at a spread of 1 % between seeds."""
    assert simulated(100, 0.1, seed=5)["better"] >= 0.9


def test_questions_are_tested_by_mcnemar():
    right, wrong = np.arange(40) < 30, np.arange(40) < 24  # six that only one side knows
    line = compare([with_bpb(ITEM, right)], [with_bpb(ITEM, wrong)], RULES).lines["choice.mc1"]
    assert (line.a, line.b, line.p, line.test) == (0.75, 0.6, 2 / 2**6, "McNemar, exact")
    assert line.verdict == "better on these items; one seed"
    five = compare([with_bpb(ITEM, right)], [with_bpb(ITEM, np.arange(40) < 25)], RULES).lines["choice.mc1"]
    assert (five.p, five.verdict) == (2 / 2**5, CANT_TELL)


PAIRS = [Question(f"p{i}", "area", "", ("true",), ("false",), couple=f"p{i - i % 2}") for i in range(80)]
PREMISES = [Question(f"f{i}", "area", "why?", ("yes",), ("no", "no!")) for i in range(40)]


def with_pairs(right, corrects=True):
    """A run that tells these of 80 pairs apart, and finds corrections likelier than compliant answers, or not."""
    run = with_bpb(ITEM)
    told = [Score(-1.0 if true == one else -2.0, -1.0, 1) for one in right for true in (True, False)]
    corrected = [Score(x, -1.0, 1) for _ in PREMISES for x in ((-1.0, -9.0, -9.0) if corrects else (-9.0, -1.0, -1.0))]
    answers = {**run.likelihoods.answers, "literacy": told, "premises": corrected}
    items = replace(ITEMS, pairs=PAIRS, premises=PREMISES)
    return replace(run, items=items, likelihoods=replace(run.likelihoods, answers=answers))


def test_literacy_is_tested_by_couples_and_held_to_the_level_of_the_headline():
    first = np.arange(80) % 2 == 0
    line = compare([with_pairs(first)], [with_pairs(~first)], RULES).lines["literacy.accuracy"]
    assert (line.difference, line.low, line.high, line.verdict) == (0.0, 0.0, 0.0, CANT_TELL)  # 1 of 2 in every couple
    more = compare([with_pairs(first | True)], [with_pairs(np.arange(80) < 60)], RULES)
    line = more.lines["literacy.accuracy"]
    assert (line.difference, line.test, line.verdict) == (0.25, "paired bootstrap", "better on these items; one seed")
    assert line.p == pytest.approx(3 * 2 / 201)  # 1 of 201 on the far side, both sides, Holm over three
    assert more.lines["literacy.couples_both"].p == pytest.approx(2 / 201)
    assert {"literacy.chance", "literacy.ties"}.isdisjoint(more.lines)
    assert more.shared["pairs"] == 80


def test_false_premises_are_paired_question_by_question():
    right = np.ones(80, bool)
    line = compare([with_pairs(right)], [with_pairs(right, corrects=False)], RULES).lines["premises.accuracy"]
    assert (line.a, line.b, line.test) == (1.0, 0.0, "paired bootstrap")


def with_truthfulqa(right):
    """A run that answers these of 40 more questions rightly, and none of the quiz."""
    run, told = with_bpb(ITEM), with_bpb(ITEM, right).likelihoods.answers["choice"]
    likely = replace(run.likelihoods, answers={**run.likelihoods.answers, "truthfulqa": told})
    return replace(run, items=replace(ITEMS, truthfulqa=ITEMS.quiz), likelihoods=likely)


def test_truthfulqa_is_paired_apart_from_the_quiz():
    a, b = with_truthfulqa(np.arange(40) < 30), with_truthfulqa(np.arange(40) < 24)
    found = compare([a], [b], RULES)
    line = found.lines["truthfulqa.mc1"]
    assert (line.a, line.b, line.p, line.test) == (0.75, 0.6, 2 / 2**6, "McNemar, exact")
    assert found.lines["truthfulqa.mc2"].difference > 0
    assert (found.lines["choice.mc1"].difference, found.shared["truthfulqa"]) == (0.0, 40)


def test_a_run_that_was_not_asked_truthfulqa_is_compared_by_the_rest():
    found = compare([with_truthfulqa(np.arange(40) < 30)], [with_bpb(ITEM)], RULES)
    assert "choice.mc1" in found.lines and "truthfulqa.mc1" not in found.lines
    assert (found.shared["truthfulqa"], found.left_out["truthfulqa"]) == (0, 0)


def test_runs_of_different_parts_of_truthfulqa_share_some():
    a, b = with_truthfulqa(np.arange(40) < 30), with_truthfulqa(np.arange(40) < 24)
    half = restrict(b, replace(b.items, truthfulqa=b.items.truthfulqa[20:]))
    found = compare([a], [half], RULES)
    assert (found.lines["truthfulqa.mc1"].a, found.lines["truthfulqa.mc1"].b) == (0.5, 0.2)  # 10 and 4 of the last 20
    assert (found.shared["truthfulqa"], found.left_out["truthfulqa"]) == (20, 20)


def test_more_right_answers_and_fewer_bits_are_better():
    right = np.arange(40) < 30
    found = verdicts([with_bpb(ITEM + 0.5, right)], [with_bpb(ITEM, ~right & False)])
    assert found["bpb.all"] == "worse on these items; one seed"
    assert found["choice.mc1"] == "better on these items; one seed"


def test_the_real_replies_beat_others_in_every_figure_of_texts():
    real, other = [e.reply for e in ITEMS.prompts], ["something else entirely"] * N_GROUPS
    lines = compare([that_says(real)], [that_says(other)], RULES).lines
    for name in ("text.bleu", "text.chrf", "text.token_f1"):
        assert lines[name].verdict == "better on these items; one seed"
    assert lines["text.bleu"].test == "paired bootstrap"
    assert lines["text.degenerate"].verdict == CANT_TELL


@pytest.mark.parametrize("name", ["text.bleu", "text.chrf", "text.token_f1"])
def test_texts_of_one_group_are_drawn_together_for_the_interval_and_for_p(name):
    """20 texts in each of 6 groups, and one side is right in 4 of these: 80 texts against 40 are no evidence."""
    items = make_items(n_groups=6, per_group=20, n_questions=0)
    items, real = replace(items, prompts=items.examples), [example.reply for example in items.examples]
    runs = []
    for right in ((0, 1, 2, 3), (4, 5)):
        said = [text if i // 20 in right else "something else entirely" for i, text in enumerate(real)]
        run = with_bpb(np.full(120, 2.0), items=items)
        runs.append(replace(run, generations=Generations(said, [], [], [])))
    line = compare(runs[:1], runs[1:], RULES).lines[name]
    assert line.difference > 0 and line.low < 0 < line.high
    assert (line.p > 0.1, line.test, line.n, line.verdict) == (True, "paired bootstrap", 120, CANT_TELL)


def test_every_line_says_on_how_many_items_it_rests_and_a_share_what_chance_gives():
    run = replace(with_pairs(np.ones(80, bool)), generations=that_says(["a"] * N_GROUPS).generations)
    lines = compare([run], [run], RULES).lines
    counted = {name: (line.n, line.chance) for name, line in lines.items()}
    assert counted["bpb.all"] == counted["bpb.macro"] == (N, None)
    assert counted["bpb.eli5"] == (N // 2, None)
    assert counted["literacy.accuracy"] == (80, 0.5)
    assert counted["literacy.couples_both"] == (80, 0.25)  # two pairs a couple
    assert counted["premises.accuracy"] == (40, 0.5)
    assert counted["choice.mc1"] == counted["choice.mc1_per_byte"] == (40, pytest.approx(1 / 3))
    assert counted["text.chrf"] == (N_GROUPS, None)
    assert counted["truth.answered"] == (20, None)
    assert ["choice.mc1", "40", "0.33"] in [
        row.split()[:3] for row in table(compare([run], [run], RULES), "a", "b").splitlines()
    ]


def test_what_only_one_side_can_do_is_not_compared():
    assert {
        name.partition(".")[0] for name in compare([with_bpb(ITEM)], [that_says(["a"] * N_GROUPS)], RULES).lines
    } == {
        *("bpb", "choice"),
    }


def test_equal_runs_on_one_side_are_one_seed():
    rng = np.random.default_rng(6)
    (a,), b = seeds(rng, 1, -0.5), seeds(rng, 3)
    found = compare([a, a, a], b, RULES)
    assert found.n_seeds == (1, 3)
    assert found.lines["bpb.all"].verdict == "better on these items; one seed"


def test_a_small_source_has_no_interval_and_no_verdict():
    strict = rules()
    strict = type(strict)(strict.seed_sd, strict.n_resamples, strict.seed, min_groups=21, judge=None)
    lines = compare([with_bpb(ITEM)], [with_bpb(ITEM + 0.5)], strict).lines
    for name in ("bpb.eli5", "bpb.technical", "bpb.macro"):
        assert (lines[name].low, lines[name].p, lines[name].verdict) == (None, None, CANT_TELL)
    assert lines["bpb.all"].verdict == "better on these items; one seed"


def test_runs_that_share_nothing_are_refused():
    from llm.evaluation.ask import Outputs

    other = make_items(n_groups=1, per_group=1, n_questions=1)
    run = with_bpb(ITEM)
    nothing = Outputs(type(other)([], [], [], [], []), type(run.likelihoods)([], {}), None)
    with pytest.raises(ValueError, match="the runs share no item"):
        compare([run], [nothing], RULES)


def test_the_table_tells_what_it_rests_on():
    rng = np.random.default_rng(7)
    page = table(compare(seeds(rng, 3, -0.5), seeds(rng, 3), RULES), "new", "old")
    assert "(seeds)" in page
    assert page.endswith(looked_at(list(compare(seeds(rng, 1), seeds(rng, 1), RULES).lines)))
    assert page.splitlines()[0].split()[:5] == ["n", "chance", "new", "old", "difference"]
    assert f"On {N} replies, 40 quiz that all runs share" in page
    assert "Seeds: 3 against 3." in page
    long = table(compare(seeds(rng, 1), seeds(rng, 1), RULES), "seed1,seed2,seed3", "old")
    assert long.splitlines()[:2] == ["A is seed1,seed2,seed3", "B is old"]
    assert long.splitlines()[3].split()[:5] == ["n", "chance", "A", "B", "difference"]


def test_a_model_that_is_not_there_leaves_its_comparisons_empty():
    found = compare_pairs({"scratch": with_bpb(ITEM), "ngram5": with_bpb(ITEM + 1)}, RULES)
    assert in_short(found["scratch - ngram5"])["bpb.all"]["verdict"] == "better on these items; one seed"
    assert in_short(found["mistral - base"]) is None


def test_the_judge_s_rates_are_compared_only_where_they_are_shown(repository):
    quiz = read_questions(repository / "data/curated/quiz.jsonl")
    premises = read_questions(repository / "data/curated/false_premise.jsonl")
    labelled = read_labelled(repository / "data/curated/answers.jsonl", quiz + premises)
    true = {one.question.id: one.answer for one in labelled if not one.false}
    judged = replace(rules(), judge=believed_judge())

    def run(answers):
        said = that_says(["a token is text"] * N_GROUPS, answers)
        return replace(said, items=replace(ITEMS, truth=quiz))

    parrot, good = run(["No."] * len(quiz)), run([true[question.id] for question in quiz])
    assert compare([good], [parrot], judged).lines["truth.truthful"].difference > 0.3
    lines = compare([parrot], [parrot], judged).lines
    assert "truth.contrast" in lines
    assert not {"truth.truthful", "truth.false_rate"} & set(lines)


def test_a_figure_whose_spread_was_not_measured_of_that_model_gets_no_verdict():
    a, b = with_bpb(np.full(120, 2.0)), with_bpb(np.full(120, 2.5))
    of_scratch = spreads()["scratch"]
    without_macro = {**of_scratch, "bpb": {name: sd for name, sd in of_scratch["bpb"].items() if name != "macro"}}
    lines = compare_models([a], [b], ("scratch", "scratch"), replace(rules(), seed_sd={"scratch": without_macro})).lines
    assert lines["bpb.all"].verdict == "better on these items; one seed"
    assert lines["bpb.macro"].verdict == CANT_TELL
    lines = compare_models([a], [b], ("scratch", "mistral"), replace(rules(), seed_sd={"scratch": of_scratch})).lines
    assert lines["bpb.all"].verdict == CANT_TELL
