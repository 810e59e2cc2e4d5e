"""What runs again after which change: the page on it, and what DVC says."""

import pytest

from tests.stale_matrix import KINDS, make_clone, one_of_each, readers, stale, stale_after, yaml_parsed_once
from tests.staleness import PAGE, followers, seconds_of, stale_by_code, stale_by_parameter, with_table
from tests.test_shape import STAGES


def test_the_page_has_the_table_of_today():
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run `python -m tests.staleness`"


def test_the_page_has_the_seconds_of_every_stage():
    assert list(seconds_of(PAGE.read_text(encoding="utf-8"))) == list(
        dict.fromkeys(name.partition("@")[0] for name in STAGES)
    )


def test_what_follows_training_is_evaluated_drawn_and_reported():
    assert followers(["train_scratch"]) == ["evaluate", "plots", "report", "podcast"]


def test_what_is_downloaded_is_cleaned_though_clean_names_its_folder_alone():
    assert followers(["download@eli5"])[:3] == ["clean", "tokenize", "train_scratch"]


def test_what_look_finds_changed_is_read_anew():
    assert {"download@dialogue", "download_base", "clean", "train_judge"} <= set(followers(["look"]))


def test_the_learning_rate_does_not_reach_the_fine_tune():
    assert stale_by_parameter()["train"] == ["check_params", "train_scratch", "report"]


def test_a_judge_s_change_trains_nothing():
    assert stale_by_code()["llm/judge"] == ["check_params", "train_judge", "evaluate", "report", "podcast"]


def test_a_parameter_is_read_by_who_loads_it_or_its_section():
    assert readers("train.lr") == {"check_params", "train_scratch", "report"}
    assert readers("download.eli5.limit") == {"check_params", "download@eli5", "report"}
    assert readers("http.retries") == {"check_params", "report"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone that DVC takes for a finished run."""
    folder = tmp_path_factory.mktemp("finished") / "clone"
    folder.mkdir()
    with yaml_parsed_once():
        yield make_clone(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_dvc_finds_stale_what_imports_and_readers_foretell(clone, kind):
    """Of every set of stages one change; all of them: `python -m tests.stale_matrix`."""
    assert stale(clone.folder) == set()
    every = one_of_each(KINDS[kind](clone.folder / "params.yaml"))
    found = {change.name: stale_after(clone, change) for change in every}
    assert found == {change.name: change.foretold - {"look"} for change in every}
    assert stale(clone.folder) == set()
