"""The page on what runs again after which change; what DVC says of it is asked in test_pipeline.py."""

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
