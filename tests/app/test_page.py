"""The page in a real browser: what is asked, shown, walked through by keyboard, branched and kept."""

import json
import math
import re

import pytest
import requests

pytest.importorskip("playwright", reason="playwright drives the browser: pip install -r requirements-test.lock")

from playwright.sync_api import expect

from tests.app.browsing import (
    CHROMIUM,
    ask,
    browser,
    find_axe,
    finish,
    launch,
    opened,
    served,
    shorten,
    tokens_of,
    words,
    write_three_models,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed, such as apt-get install chromium")
expect.set_options(timeout=20_000)
MODELS = ("scratch", "mistral", "base")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_three_models(folder)
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def launched():
    with browser() as launched:
        yield launched


@pytest.fixture
def page(launched, address):
    with opened(launched, address) as page:
        yield page


def request_of(page, path, act):
    """The body of the request that the act causes."""
    with page.expect_request(lambda request: request.url.endswith(path)) as caught:
        act()
    return caught.value.post_data_json


def answer(address, path, body):
    response = requests.post(address + path.lstrip("/"), json=body, timeout=60)
    response.raise_for_status()
    return response


def percent(text):
    """The number of '34 %' or '< 0.1 %'."""
    return float(re.sub(r"[<>%\s]", "", text)) / 100


def dialog(page):
    return page.get_by_role("dialog")


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
