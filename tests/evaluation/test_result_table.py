import pytest

from llm.evaluation.result_table import END, MODELS, START, own_data_note, put_into_page, result_table

LINE = {"difference": -1.0, "low": -1.5, "high": -0.5, "n": 94, "verdict": "better on these items; one seed"}
COMPARED = {"scratch - ngram5": {"lines": {"bpb.all": LINE}}, "mistral - base": None, "mistral - scratch": None}


HALF, QUARTER = ({"value": chance, "low": chance, "high": chance} for chance in (0.5, 0.25))
LITERACY = {"all": {"accuracy": {"value": 0.615, "low": 0.57, "high": 0.66}, "chance": HALF, "n": 344}}
QUIZ = {"all": {"mc1": {"value": 0.215, "low": 0.16, "high": 0.27}, "chance": QUARTER, "n": 200}}


@pytest.fixture
def details():
    """Bits per byte 1, 2, ... in the order of the table; two models only reply."""
    found = {}
    for i, name in enumerate(MODELS, 1):
        bpb = {"value": float(i), "low": i - 0.5, "high": i + 0.5, "n": 1400, "groups": 90}
        scored = name not in ("retrieval", "frequent")
        found[name] = {"name": f"model {name}"} | ({"bpb": {"all": bpb, "eli5": bpb}} if scored else {})
    return found


def test_a_model_below_the_5_gram_is_marked(details):
    lines = result_table(details, COMPARED).splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| `")] == [
        *("`mistral`", "`base`", "`scratch`", "`ngram5`"),
        *("`unigram` ▼", "`compressor` ▼", "`retrieval`", "`frequent`", "`untrained` ▼"),
    ]
    assert any(line.startswith("▼: more bits per byte than `ngram5`") for line in lines)


def test_plain_english_stands_below_the_table_where_it_was_asked(details):
    assert "plain English" not in result_table(details, COMPARED)
    for name, value in (("mistral", 1.125), ("base", 1.0)):
        details[name]["english"] = {"bpb": {"value": value, "low": 0.5, "high": 1.5, "n": 12}}
    details["scratch"]["english"] = {}
    assert (
        "was forgotten, n = 12 paragraphs: `base` 1.000 (0.500 to 1.500), `mistral` 1.125 (0.500 to 1.500).\n"
        in result_table(details, COMPARED)
    )


def test_scratch_mixed_with_the_5_gram_has_a_row_below_scratch_and_says_by_which_weights(details):
    bpb = {name: {"value": 2.5, "low": 2.0, "high": 3.0} for name in ("all", "eli5")}
    details["scratch"]["mixed"] = {
        "models": ["scratch", "ngram5"], "weights": [0.8123, 0.1877], "fitted_on": 1234, "bpb": bpb,
    }  # fmt: skip
    lines = result_table(details, COMPARED).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("| `scratch`"))
    cell = "2.500 <sub>2.000 to 3.000</sub>"
    assert lines[at + 1] == f"| `scratch + ngram5` | **{cell[:5]}**{cell[5:]} | {cell} | - | - |"
    assert lines[at + 2].startswith("| `ngram5`")
    assert (
        "`scratch + ngram5`: each token's probability is 0.81 of that by scratch and 0.19 of that by ngram5, fitted on "
        "1,234 replies held out for validation; it takes no training."
    ) in lines


TEXT = {
    "bleu": {"value": 0.145, "low": 0.1, "high": 0.2, "unrelated": 0.12},
    "chrf": {"value": 7.25, "low": 6.0, "high": 8.5, "unrelated": 7.05},
    "lengths": {"n": 16, "groups": 15},
}


def test_a_pair_without_that_figure_has_no_line(details):
    compared = COMPARED | {"scratch - ngram5": {"lines": {"literacy.accuracy": LINE}}}  # scratch's scores were NaN
    assert "- `" not in result_table(details, compared)


def test_figures_stand_in_their_columns_with_interval_n_and_chance(details):
    details["scratch"] |= {"text": TEXT, "literacy": LITERACY}
    head, _, *lines = result_table(details, COMPARED).splitlines()
    assert head == (
        "| model | bits per byte <sub>n = 1,400</sub> | eli5 <sub>n = 1,400</sub> | BLEU <sub>n = 16</sub> | "
        "chrF++ <sub>n = 16</sub> | literacy <sub>n = 344, chance 0.50</sub> |"
    )
    (line,) = (line for line in lines if line.startswith("| `scratch`"))
    assert line == (
        "| `scratch` | **3.000** <sub>2.500 to 3.500</sub> | 3.000 <sub>2.500 to 3.500</sub> | "
        "0.15 <sub>0.10 to 0.20</sub> | 7.3 <sub>6.0 to 8.5</sub> | 0.615 <sub>0.570 to 0.660</sub> |"
    )
    assert next(line for line in lines if line.startswith("| `frequent`")).endswith("| - | - | - |")


def test_the_quiz_has_a_column_where_it_was_asked_with_its_own_chance_and_n(details):
    details["base"] |= {"literacy": LITERACY, "choice": QUIZ}
    head, _, *lines = result_table(details, COMPARED).splitlines()
    assert head.endswith("literacy <sub>n = 344, chance 0.50</sub> | quiz <sub>n = 200, chance 0.25</sub> |")
    (line,) = (line for line in lines if line.startswith("| `base`"))
    assert line.endswith("| 0.615 <sub>0.570 to 0.660</sub> | 0.215 <sub>0.160 to 0.270</sub> |")


def test_every_kind_of_column_is_explained_once_and_texts_say_what_unrelated_ones_get(details):
    details["scratch"] |= {"text": TEXT, "literacy": LITERACY, "choice": QUIZ}
    page = result_table(details, COMPARED).splitlines()
    for name in ("bits per byte", "BLEU", "chrF++", "literacy", "quiz"):
        assert len([line for line in page if line.startswith(f"- {name}: ")]) == 1
    (chrf,) = (line for line in page if line.startswith("- chrF++: "))
    assert chrf.endswith("held to the real replies to other prompts: scratch 7.1.")


def test_columns_of_few_groups_are_named_as_hints(details):
    details["scratch"] |= {"text": TEXT}
    details["scratch"]["bpb"]["eli5"] = {"value": 2.0, "low": None, "high": None, "n": 60, "groups": 6}
    for name in ("base", "mistral"):
        details[name]["bpb"]["eli5"] = details["scratch"]["bpb"]["eli5"]
    page = result_table(details, COMPARED)
    assert "\n- Few groups make an interval too narrow, or there is none: take as a hint eli5 (6), BLEU (15), " in page


def test_every_interval_of_many_groups_needs_no_remark(details):
    assert "Few groups" not in result_table(details, COMPARED)


@pytest.mark.parametrize(("asked", "n_shown"), [({}, 3), ({"choice": QUIZ}, 2)])
def test_the_table_has_at_most_eight_columns_and_names_the_sources_it_leaves_out(details, asked, n_shown):
    names = [f"s{i}" for i in range(6)]
    bpb = {name: {"value": 1.0, "n": 5} for name in ("all", *names)}
    details = {name: {**detail, "bpb": bpb} for name, detail in details.items()}
    details["base"] |= {"literacy": LITERACY, **asked}
    page = result_table(details, COMPARED).splitlines()
    columns = page[0].strip("| ").split(" | ")
    assert [column.split()[0] for column in columns if column[:2] in names] == names[:n_shown]
    assert len(columns) == 8
    assert f"- Of {', '.join(names[n_shown:])} the bits per byte stand in metrics/detail." in page


def test_every_source_has_a_column_whatever_its_name(details):
    details["scratch"]["bpb"] |= {"mine": {"value": 2.5}, "macro": {"value": 2.75}}
    head, _, *rows = result_table(details, COMPARED).splitlines()
    assert [column.split()[0] for column in head.split(" | ")[2:4]] == ["eli5", "mine"]
    assert [row.split(" | ")[3] for row in rows if row.startswith("| `scratch`")] == ["2.500"]


def test_a_model_that_only_replies_has_a_dash_for_its_bits(details):
    (line,) = (line for line in result_table(details, COMPARED).splitlines() if line.startswith("| `frequent`"))
    assert line == "| `frequent` | - | - | - | - |"


def test_a_pair_of_which_one_is_not_there_has_no_line(details):
    compared = [line for line in result_table(details, COMPARED).splitlines() if line.startswith("- `")]
    assert compared == ["- `scratch - ngram5`: -1.000 (-1.500 to -0.500), n = 94: better on these items; one seed"]


def test_a_model_that_is_not_there_says_why(details):
    details["mistral"] = {"enabled": False, "reason": "finetune.enabled is false"}
    assert "`mistral`: finetune.enabled is false." in result_table(details, COMPARED)


def test_figures_without_an_interval_show_none(details):
    for detail in details.values():
        if "bpb" in detail:
            detail["bpb"]["all"] |= {"low": None, "high": None}
    compared = COMPARED | {"scratch - ngram5": {"lines": {"bpb.all": LINE | {"low": None, "high": None}}}}
    table = result_table(details, compared)
    assert "| `scratch` | **3.000** | " in table
    assert "- `scratch - ngram5`: -1.000, n = 94: better" in table


def test_own_sources_are_told_by_the_names_of_their_files():
    provenance = {name: {"served": [{"location": f"{name}.txt"}]} for name in ("a", "b", "eli5")}
    note = own_data_note(provenance, {"b", "a"})
    assert note.startswith("\n`a` is a.txt, `b` is b.txt. The shares of the table ask the project's own questions")
    assert own_data_note(provenance, set()) == ""


def test_the_table_is_written_between_its_marks():
    assert put_into_page(f"before\n{START}old\n{END}\nafter\n", "new\n") == f"before\n{START}new\n{END}\nafter\n"


@pytest.mark.parametrize("page", ["no marks", f"{START} only one", f"only {END}"])
def test_a_page_without_marks_is_refused(page):
    with pytest.raises(ValueError, match="put both where the table is to stand"):
        put_into_page(page, "new")
