"""A Chromium on the page of a real server with three tiny models."""

import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import torch

from llm.app.catalogue import watch_models
from llm.files import write_json
from llm.hub.pretrained import load_base
from llm.training.lora import FinetuneConfig, add_lora, save_adapter
from tests.app.served import serving
from tests.app.small_project import write_models
from tests.evaluation.test_recompute import perturb

MODELS = ("scratch", "mistral", "base")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESK = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"}
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
LORA = FinetuneConfig(True, None, 64, 2, 4, 0.0, "lora", "replies", "none", False, train=None)
EXPECTED_REFUSAL = "Failed to load resource"  # the browser's line about any answer that is no 200


def find_axe():
    """The accessibility checker's script; the test is skipped where its package is missing."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python brings axe-core")
    return (Path(package.__path__[0]) / "axe.min.js").read_text(encoding="utf-8")


def write_three_models(folder):
    """One of each kind, as the stages leave them."""
    write_models(folder)
    torch.manual_seed(1)  # for the adapter's first matrices
    network = add_lora(load_base(folder / "base")[0], LORA)
    perturb(network, "lora_B")
    save_adapter(folder / "mistral", network)
    write_json(folder / "mistral/tandem.json", {"enabled": True, "description": "tiny Mistral, fine-tuned"})


@contextmanager
def served(models):
    """Address of the server of these models."""
    with serving(watch_models(models)) as (_, port):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def browser():
    """A browser of its own, headless."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        launched = launch(driver.chromium)
        yield launched
        launched.close()


def launch(chromium):
    """A process of the browser; the sandbox needs rights that a container lacks."""
    return chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@contextmanager
def opened(launched, address, **context):
    """The page; no request of it leaves the server, and nothing goes wrong in it."""
    session = launched.new_context(**(DESK | context))
    page, hosts, faults = session.new_page(), set(), []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.goto(address)
    page.locator("#prompts button").first.wait_for()
    yield page
    session.close()
    assert hosts == {urlsplit(address).netloc}
    assert not [fault for fault in faults if not fault.startswith(EXPECTED_REFUSAL)]


def ask(page, question, tokens=12):
    """Ask all models for short replies, and wait for them."""
    shorten(page, tokens)
    page.get_by_label("Your question", exact=True).last.fill(question)
    page.keyboard.press("Enter")
    finish(page)


def shorten(page, tokens):
    """Set how long a reply may be."""
    page.locator("#settings").evaluate("node => { node.open = true }")
    page.get_by_label("Length").fill(str(tokens))
    page.get_by_label("Length").blur()


def finish(page):
    """Wait until every reply of the last question is there."""
    from playwright.sync_api import expect

    last = page.locator(".turn").last
    expect(last.locator("article[aria-busy=false]")).to_have_count(3, timeout=30_000)


def words(page, model):
    """The tokens of the model's last reply, as they stand there."""
    return tokens_of(page, model).all_text_contents()


def tokens_of(page, model):
    """Their elements, but for the mark of the end."""
    return page.get_by_role("article", name=f"Reply of {model}").last.locator(".token:not(.end)")


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
