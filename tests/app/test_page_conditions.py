"""The page in a real browser: long texts, failures, other scripts, a phone, two at once, and what axe finds."""

import pytest

pytest.importorskip("playwright", reason="playwright drives the browser: pip install -r requirements-test.lock")

from playwright.sync_api import expect

from tests.app.browsing import (
    CHROMIUM,
    MODELS,
    PHONE,
    ask,
    dialog,
    find_axe,
    finish,
    launch,
    opened,
    shorten,
    tokens_of,
    words,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed, such as apt-get install chromium")
expect.set_options(timeout=20_000)


NEXT_FRAME_MS = """() => new Promise((found) => {
    const asked = performance.now();
    requestAnimationFrame(() => found(performance.now() - asked));
})"""


def test_ten_thousand_characters_are_answered_and_one_more_is_refused_in_words(page):
    page.locator("#question").fill("word " * 1999 + "word?")
    assert page.evaluate(NEXT_FRAME_MS) < 1000
    ask(page, "word " * 1999 + "word?", tokens=4)
    assert words(page, "base")
    ask(page, "x" * 10_001, tokens=4)
    refused = page.locator(".turn").last.locator(".error:visible")
    expect(refused).to_have_count(3)
    assert all("10000" in text or "10,000" in text for text in refused.all_text_contents())


def test_a_stopped_reply_says_so(page):
    shorten(page, 1000)
    page.locator("#question").fill("What is a token?")
    page.get_by_role("button", name="Ask").click()
    tokens_of(page, "base").first.wait_for()
    page.get_by_role("button", name="Stop").click()
    finish(page)
    expect(page.get_by_role("article", name="Reply of base")).to_contain_text("stopped by you")


def test_a_server_that_has_gone_is_told_in_words(launched, address):
    with opened(launched, address) as page:
        page.context.set_offline(True)
        ask(page, "What is a token?")
        expect(page.locator("article .error").first).to_contain_text("The server does not answer")


def test_markup_and_other_scripts_are_text(page):
    question = "<img src=x onerror=alert(1)> مرحبا 😀"
    ask(page, question, tokens=3)
    expect(page.locator(".question")).to_have_text(question)
    assert page.locator("main img").count() == 0
    ask(page, "مرحبا يا صديقي", tokens=3)
    assert page.locator(".question").last.evaluate("node => getComputedStyle(node).direction") == "rtl"


def test_finished_replies_are_announced_once(page):
    ask(page, "What is a token?", tokens=3)
    assert sorted(line.split(":")[0] for line in page.get_by_role("status").locator("p").all_text_contents()) == sorted(
        MODELS
    )


def test_two_browsers_are_answered_at_once(launched, address):
    second = launch(launched.browser_type)
    with opened(launched, address) as one, opened(second, address) as other:
        for page, question in ((one, "What is a token?"), (other, "Why does a model make mistakes?")):
            shorten(page, 40)
            page.locator("#question").fill(question)
            page.keyboard.press("Enter")
        for page in (one, other):
            finish(page)
        assert all(words(one, model) and words(other, model) for model in MODELS)
        assert one.locator(".question").all_text_contents() != other.locator(".question").all_text_contents()
    second.close()


def test_a_phone_needs_no_sideways_scrolling_and_stacks_the_models(launched, address):
    with opened(launched, address, **PHONE) as page:
        ask(page, "What is a token?")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert len({round(box.bounding_box()["x"]) for box in page.get_by_role("article").all()}) == 1
        tokens_of(page, "base").nth(1).tap()
        expect(dialog(page).get_by_role("listitem").first).to_be_visible()


@pytest.mark.parametrize(
    "context",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {**PHONE, "color_scheme": "light"}],
    ids=["light", "dark", "phone"],
)
def test_axe_finds_nothing_serious(launched, address, context):
    axe = find_axe()
    with opened(launched, address, **context) as page:
        page.evaluate(axe)
        found = page.evaluate("axe.run()")["violations"]
        ask(page, "What is a token?", tokens=60)
        tokens_of(page, "base").nth(1).click()
        dialog(page).get_by_role("listitem").first.wait_for()
        found += page.evaluate("axe.run()")["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in serious] == []
