"""The page in a real browser: a reply goes on from another token, in its newest turn."""

import pytest

pytest.importorskip("playwright", reason="playwright drives the browser: pip install -r requirements-test.lock")

from playwright.sync_api import expect

from tests.app.browsing import (
    CHROMIUM,
    ask,
    dialog,
    finish,
    request_of,
    tokens_of,
    words,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed, such as apt-get install chromium")
expect.set_options(timeout=20_000)


def choose_another(page, model, index):
    """Choose the likeliest alternative that is text and was not drawn; what it is."""
    tokens_of(page, model).nth(index).click()
    rows = dialog(page).locator("button[aria-disabled=false]").filter(has_not_text="<")
    row = rows.first
    text = row.locator(".text").text_content()
    row.click()
    return text.replace("␣", " ").replace("↵", "\n")


def test_a_reply_goes_on_from_a_chosen_alternative_and_there_is_a_way_back(page):
    ask(page, "What is a token?")
    first = words(page, "scratch")
    chosen = []
    body = request_of(page, "/api/reply", lambda: chosen.append(choose_another(page, "scratch", 3)))
    finish(page)
    branched = words(page, "scratch")
    assert len(body["prefix"]) == 4
    assert branched[:4] == [*first[:3], *chosen]
    assert len(branched) > 4
    branches = page.get_by_role("group", name="Branches of scratch").get_by_role("button")
    expect(branches).to_have_count(2)
    branches.first.click()
    assert words(page, "scratch") == first


def test_a_reply_that_was_cut_goes_on_from_its_end(page):
    ask(page, "What is a token?", tokens=4)
    page.get_by_role("article", name="Reply of base").locator(".end").click()
    row = dialog(page).locator("button[aria-disabled=false]").filter(has_not_text="<")
    body = request_of(page, "/api/reply", row.first.click)
    finish(page)
    assert len(body["prefix"]) == 5
    assert len(words(page, "base")) > 5


def test_only_the_newest_replies_branch(page):
    ask(page, "What is a token?", tokens=4)
    ask(page, "And a model?", tokens=4)
    page.locator("article").first.locator(".token").first.click()
    expect(dialog(page).locator("button[aria-disabled=true]")).to_have_count(
        dialog(page).get_by_role("listitem").count()
    )
