"""The page in a real browser: what is asked, shown, walked through by keyboard, branched and kept."""

import json
import math

import pytest

pytest.importorskip("playwright", reason="playwright drives the browser: pip install -r requirements-test.lock")

from playwright.sync_api import expect

from tests.app.browsing import (
    CHROMIUM,
    MODELS,
    answer,
    ask,
    dialog,
    finish,
    opened,
    percent,
    request_of,
    shorten,
    tokens_of,
    words,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed, such as apt-get install chromium")
expect.set_options(timeout=20_000)


def test_all_models_reply_side_by_side_under_their_names(page):
    ask(page, "What is a token?")
    articles = page.get_by_role("article")
    assert articles.get_by_role("heading").all_text_contents() == list(MODELS)
    tops = {round(box.bounding_box()["y"]) for box in articles.all()}
    assert len(tops) == 1
    assert all(words(page, model) for model in MODELS)


def test_a_reply_is_what_the_server_says_for_the_same_seed(page, address):
    ask(page, "What is a token?")
    body = {
        "model": "scratch", "messages": [{"role": "user", "content": "What is a token?"}],
        "temperature": 0.8, "top_p": 0.95, "seed": 1, "max_tokens": 12,
    }  # fmt: skip
    lines = [line for line in answer(address, "/api/reply", body).text.splitlines() if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    expected = [event["text"] or "▫" for event in events[:-1]]
    assert words(page, "scratch") == expected
    spoken = [
        label.rpartition(", ")[2]
        for label in tokens_of(page, "scratch").evaluate_all("all => all.map(one => one.ariaLabel)")
    ]
    assert [percent(one) for one in spoken] == pytest.approx(
        [math.exp(event["logprob"]) for event in events[:-1]], abs=0.0051
    )


def test_a_sample_question_is_asked_by_a_click(page):
    shorten(page, 3)
    page.locator("#prompts button").first.click()
    finish(page)
    expect(page.locator(".question")).to_have_text("What is overfitting?")


def test_the_mouse_over_a_token_shows_what_was_nearly_said(page):
    ask(page, "What is a token?")
    tokens_of(page, "base").nth(2).hover()
    dialog(page).get_by_role("listitem").nth(9).wait_for()
    shown = [percent(number) for number in dialog(page).locator(".number").all_text_contents()]
    assert shown == sorted(shown, reverse=True)  # the tenth is the last, or the token that was drawn, less likely
    widths = dialog(page).locator(".fill").evaluate_all("all => all.map(one => parseFloat(one.style.width) / 100)")
    assert widths == pytest.approx(shown, abs=0.0051)
    page.mouse.move(0, 0)
    expect(dialog(page)).to_be_hidden()


def test_the_keyboard_walks_opens_and_closes(page):
    ask(page, "What is a token?")
    tokens = tokens_of(page, "scratch")
    page.locator("article").first.locator("[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(tokens.nth(2)).to_be_focused()
    page.keyboard.press("Enter")
    rows = dialog(page).get_by_role("listitem").get_by_role("button")
    expect(rows.first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog(page)).to_be_hidden()
    expect(tokens.nth(2)).to_be_focused()
    assert page.locator("article").first.locator(".token[tabindex='0']").count() == 1


def test_a_model_reads_its_own_earlier_reply(page):
    ask(page, "What is a token?")
    said = "".join(words(page, "base")).replace("▫", "").strip()
    bodies = []
    page.on(
        "request", lambda request: bodies.append(request.post_data_json) if request.url.endswith("/reply") else None
    )
    ask(page, "And a model?")
    (messages,) = [body["messages"] for body in bodies if body["model"] == "base"]
    assert [message["content"] for message in messages] == ["What is a token?", said, "And a model?"]


def test_the_bars_follow_the_temperature(page, address):
    ask(page, "What is a token?", tokens=4)
    asked = {"model": "scratch", "messages": [{"role": "user", "content": "What is a token?"}], "prefix": [], "n": 20}
    found = answer(address, "/api/next", asked).json()
    for temperature in ("0.3", "1", "1.7"):
        page.get_by_label("Temperature", exact=True).fill(temperature)
        logits = [one["logprob"] / float(temperature) for one in found["alternatives"]]
        log_sum = found["log_sums"][found["temperatures"].index(float(temperature))]
        expected = [math.exp(logit - log_sum) for logit in logits]
        shown = page.locator("#bars .number").all_text_contents()
        assert [percent(number) for number in shown] == pytest.approx([*expected, 1 - sum(expected)], abs=0.0051)


def test_top_p_strikes_out_what_is_never_drawn(page):
    page.locator("#settings").evaluate("node => { node.open = true }")
    page.get_by_label("Top-p").fill("0.5")
    page.get_by_label("Top-p").blur()
    expect(page.locator("#bars .cut").first).to_be_attached()
    cut = page.locator("#bars .bar").evaluate_all("all => all.map(one => one.classList.contains('cut'))")
    shown = [percent(number) for number in page.locator("#bars .number").all_text_contents()]
    kept = cut.index(True)
    assert cut == [False] * kept + [True] * (len(cut) - kept)
    assert sum(shown[: kept - 1]) < 0.5 + 0.01 < sum(shown[:kept]) + 0.02


def test_a_selected_token_is_where_the_bars_are(page):
    ask(page, "What is a token?")
    body = request_of(page, "/api/next", lambda: tokens_of(page, "base").nth(5).click())
    assert (body["model"], len(body["prefix"])) == ("base", 5)


def test_a_typed_question_shows_how_its_answer_may_begin(page):
    body = request_of(page, "/api/next", lambda: page.locator("#question").fill("Why?"))
    assert body["messages"] == [{"role": "user", "content": "Why?"}]


def test_a_reload_keeps_settings_and_conversation(page):
    page.get_by_label("Temperature", exact=True).fill("1.3")
    ask(page, "What is a token?")
    before = {model: words(page, model) for model in MODELS}
    page.reload()
    finish(page)
    assert {model: words(page, model) for model in MODELS} == before
    expect(page.locator("#temperature-value")).to_have_text("1.3")
    expect(page.locator("#max_tokens")).to_have_value("12")


def test_the_page_works_where_nothing_can_be_stored(launched, address):
    with opened(launched, address) as page:
        page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused') } })")
        page.reload()
        ask(page, "What is a token?")
        assert words(page, "scratch")
