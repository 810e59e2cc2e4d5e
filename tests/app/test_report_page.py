"""The report of tiny models in a real browser that is cut off from the network."""

import pytest

pytest.importorskip("playwright", reason="playwright drives the browser: pip install -r requirements-test.lock")

from llm.app.report import report_html
from tests.app.browsing import CHROMIUM, DESK, PHONE, find_axe
from tests.app.test_report import run  # noqa: F401  a fixture
from tests.stages.test_evaluate import project  # noqa: F401  a fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed, such as apt-get install chromium")


@pytest.fixture(scope="module")
def address(run, tmp_path_factory):  # noqa: F811
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report_html(run), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(params=[DESK, DESK | {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"])
def context(request, launched):
    session = launched.new_context(**request.param, offline=True)
    yield session
    session.close()


def test_the_report_asks_for_nothing_and_nothing_goes_wrong_in_it(context, address):
    page, asked, faults = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda line: faults.append(line.text))
    page.goto(address)
    unfold(page)
    page.wait_for_load_state("networkidle")
    assert asked == [address]
    assert faults == []


def test_only_tables_and_pictures_scroll_sideways(context, address):
    page = context.new_page()
    page.goto(address)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_axe_finds_nothing_serious_in_the_report(context, address):
    page = context.new_page()
    page.goto(address)
    unfold(page)
    page.evaluate(find_axe())
    found = [one for one in page.evaluate("axe.run()")["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in found] == []


def unfold(page):
    """Open all that is folded."""
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
