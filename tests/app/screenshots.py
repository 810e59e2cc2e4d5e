"""`python -m tests.app.screenshots`: the pictures in docs/screenshots, of the run that is here, in a real browser."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from PIL import Image

from tests.app.browsing import CHROMIUM, DESK, PHONE, browser, dialog, opened, shorten

COLOURS = 256  # as many as a palette holds
OUT, REPORT = Path("docs/screenshots"), Path("metrics/report.html")
QUESTION, TOKENS = "What is overfitting, and how do I notice it?", 60
REPLIES_MS = 300_000  # models are loaded when they are first asked
ASKED = "mistral"  # the model of which a token is opened
DOUBTFUL = ".level2, .level3, .level4"  # tokens that the model found unlikely


def main():
    """Write all pictures; 0, or 1 with a line that says what is missing."""
    if missing := find_missing():
        print(missing, file=sys.stderr)
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    with served_run() as address, browser() as launched:
        picture_page(launched, address, OUT / "page.png", color_scheme="light")
        picture_page(launched, address, OUT / "phone.png", color_scheme="dark", **PHONE)
        picture_report(launched, OUT / "report.png")
    return 0


def find_missing():
    """What to do first, None where everything is there."""
    if find_spec("playwright") is None:
        return "playwright drives the browser: pip install -r requirements-test.lock"
    if CHROMIUM is None:
        return "no Chromium is installed: install one, such as by apt-get install chromium"
    if not REPORT.exists():
        return f"{REPORT} is not there: run `dvc repro` first"
    return None


@contextmanager
def served_run():
    """Address at which the command serves the models of this folder."""
    command = [sys.executable, "-m", "llm", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            names, at, rest = server.stdout.readline().partition(" at ")
            if not at:
                raise SystemExit(server.wait() or 1)  # it has said why
            print(names)
            yield rest.split()[0] + "/"
        finally:
            server.send_signal(signal.SIGINT)


def picture_page(launched, address, path, **context):
    """The replies of all models to the question, and what else might have stood at a token."""
    from playwright.sync_api import expect

    with opened(launched, address, **context) as page:
        shorten(page, TOKENS)
        page.locator("#settings").evaluate("node => { node.open = false }")
        page.get_by_label("Your question", exact=True).last.fill(QUESTION)
        page.keyboard.press("Enter")
        page.locator("article").first.wait_for()
        expect(page.locator("article[aria-busy=true]")).to_have_count(0, timeout=REPLIES_MS)
        replies = page.get_by_role("article", name=f"Reply of {ASKED}")
        replies.locator(DOUBTFUL).first.click()
        dialog(page).get_by_role("listitem").nth(9).wait_for()
        expect(page.locator("#bars")).to_have_attribute("aria-busy", "false")
        write_picture(page, path)


def picture_report(launched, path):
    """The top of the report."""
    session = launched.new_context(**DESK)
    page = session.new_page()
    page.goto(REPORT.resolve().as_uri())
    write_picture(page, path)
    session.close()


def write_picture(page, path):
    """What the window shows, in a palette: a third of the bytes for git to keep."""
    with Image.open(BytesIO(page.screenshot())) as shown:
        shown.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
