"""Which servers a run would ask, and whether they answer now: all asked at once, for two seconds at most."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import requests

from llm.fetching.download import DownloadError, local_path, location_name
from llm.files import lasting_folder
from llm.hub.smollm2 import REQUIREMENT
from stages.estimate import Params
from stages.findings import Finding

TIMEOUT_S = 2.0
HUB = "https://huggingface.co"
PACKAGES = {"chitchat": "chitchat-dataset", "docs": "scikit-learn"}  # that a provider reads
ON_THE_HUB = ("eli5", "stackexchange", "hub")
NO_CONNECTION = "no connection"
PACKAGED = "smollm2-135m"  # the base model that comes by pip
COPY = "check network and proxy, or give the path of a copy as location"


@dataclass(frozen=True)
class Answer:
    """What came of one look; `fault` is empty where all is well."""

    fault: str
    remedy: str = ""
    out_of_reach: bool = False  # nobody answered, or nobody may be asked


FINE = Answer("")
Look = Callable[[], Answer]


def hub() -> str:
    """Address of the Hugging Face hub, or of the mirror that the environment names."""
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")


def token() -> str | None:
    """The hub's token, from the environment or from where `hf auth login` keeps it."""
    if found := os.environ.get("HF_TOKEN"):
        return found
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    try:
        return (home / "token").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def ask_url(url: str) -> Answer:
    """Whether a server has the file."""
    name = location_name(url)
    try:
        status = requests.head(url, timeout=TIMEOUT_S, allow_redirects=True).status_code
    except requests.RequestException:
        return Answer(f"{NO_CONNECTION} to {name}", COPY, out_of_reach=True)
    if status in (401, 403, 404, 410):
        return Answer(f"{name} answers {status}", "correct the location, or give the path of a copy")
    return FINE


def ask_hub(kind: str, name: str, revision: str) -> Answer:
    """Whether the hub has that data set or model (`kind` is datasets or models) and would give it to this user."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "TRUE", "YES"):
        return Answer(f"HF_HUB_OFFLINE is set, and no copy of {name} is here", "unset it to fetch", out_of_reach=True)
    key = token()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"{hub()}/api/{kind}/{name}/revision/{revision}"
    try:
        response = requests.get(url, headers=headers, timeout=TIMEOUT_S)
    except requests.RequestException:
        return Answer(f"{NO_CONNECTION} to {hub()}", COPY, out_of_reach=True)
    if response.status_code in (401, 403):
        return Answer(f"{name} is private or gated", f"accept its terms at {hub()}/{name}, then set HF_TOKEN")
    if response.status_code == 404:
        return Answer(f"the hub has no {name} at {revision}", "correct location and revision")
    try:
        gated = response.json().get("gated")
    except (ValueError, AttributeError):
        return Answer(f"{hub()} does not answer as a hub", "a sign-in page of the network, or a wrong HF_ENDPOINT")
    if gated and not key:
        return Answer(f"{name} is gated and no token is set", f"accept its terms at {hub()}/{name}, then set HF_TOKEN")
    return FINE


def fetched_before() -> list[dict[str, Any]]:
    """What was asked for of all that `.fetched/` keeps: it is not asked for again."""
    found = []
    for record in lasting_folder(".fetched", "TANDEM_FETCHED").glob("*/fetched.json"):
        try:
            found.append(json.loads(record.read_text(encoding="utf-8"))["request"])
        except (OSError, ValueError, LookupError):  # damaged: it is fetched anew
            continue
    return found


def is_kept(**request: str) -> bool:
    """Whether that was fetched before.  is_kept(url="https://example.org/a.zip")"""
    return any(request.items() <= asked.items() for asked in fetched_before())


def is_cached(kind: str, name: str) -> bool:
    """Whether the hub's own cache holds something of that, which is read where the hub is out of reach."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    return (cache / f"{kind}--{name.replace('/', '--')}" / "snapshots").is_dir()


def look_at_hub(kind: str, name: str, revision: str) -> Answer:
    """`ask_hub`, or its cache's copy while it is out of reach."""
    answer = ask_hub(kind, name, revision)
    return FINE if answer.out_of_reach and is_cached(kind, name) else answer


def look_at_file(location: str) -> Answer:
    """Whether a local file or folder is there, or a server has the file of that URL."""
    try:
        path = local_path(location)
    except DownloadError as error:
        return Answer(str(error), "correct the location")
    if path is None:
        return ask_url(location)
    return FINE if path.exists() else Answer(f"there is no {path}", "correct the location")


def look_at_package(name: str) -> Answer:
    """Whether the package that a provider reads is installed."""
    try:
        version(name)
    except PackageNotFoundError:
        return Answer(f"the package {name} is missing", "run `make install`")
    return FINE


def provider_look(name: str, section: Mapping[str, Any]) -> Look:
    """The look at one provider, with its section of params.yaml."""
    location = section.get("location", "")
    if name in PACKAGES:
        return lambda: look_at_package(PACKAGES[name])
    if name in ON_THE_HUB and not Path(location).expanduser().exists():
        return lambda: look_at_hub("datasets", location, section["revision"])
    if is_kept(url=location_name(location)):
        return lambda: FINE
    return lambda: look_at_file(location)


def base_look(base: Mapping[str, Any]) -> Look | None:
    """The look at the base model, None where it is generated, comes by pip, or was fetched before."""
    location = base["location"]
    if location in (PACKAGED, "tiny"):
        return None
    if Path(location).expanduser().exists() or location.count("/") != 1:
        return lambda: look_at_file(location)
    if is_kept(hub=location, revision=base["revision"]):
        return None
    return lambda: look_at_hub("models", location, base["revision"])


def asked_entries(config: Mapping[str, Any]) -> Sequence[str]:
    """Entries of a source's providers that the stage would try."""
    return config["providers"] if config["fallback"] else config["providers"][:1]


def looks(params: Params) -> dict[tuple[str, str], Look]:
    """A look for each provider of each source, and for the base model, by source and provider."""
    found: dict[tuple[str, str], Look] = {}
    for source, config in params["download"].items():
        for name in (name for entry in asked_entries(config) for name in entry.split("+")):
            found[source, name] = provider_look(name, config.get(name) or {})
    if look := base_look(params["base"]):
        found["base", params["base"]["location"]] = look
    return found


def ask_all(asked: Mapping[tuple[str, str], Look]) -> dict[tuple[str, str], Answer]:
    """What came of all looks, taken together."""
    with ThreadPoolExecutor(max(1, len(asked))) as pool:
        return dict(zip(asked, pool.map(lambda look: look(), asked.values()), strict=True))


@dataclass(frozen=True)
class Served:
    """Who will serve a source, or the base model."""

    name: str
    finding: Finding
    unconnected: bool  # whether a server that should be asked first cannot be reached
    instead: str = ""  # who serves it then


def serve(source: str, config: Mapping[str, Any], answers: Mapping[tuple[str, str], Answer]) -> Served:
    """The entry of a source's providers that will serve it, and why not those before it."""
    failed: list[Answer] = []
    for entry in asked_entries(config):
        faults = [answer for name in entry.split("+") if (answer := answers[source, name]).fault]
        if not faults:
            break
        failed += faults
    else:
        entry = ""
    why, cut_off = "; ".join(answer.fault for answer in failed), any(answer.out_of_reach for answer in failed)
    if not failed:
        return Served(source, Finding("ok", f"{source}: {entry}"), cut_off)
    if entry:
        finding = Finding("warning", f"{source}: {why}; {entry} will serve it", failed[0].remedy)
        return Served(source, finding, cut_off, entry)
    following = config["providers"][1:] if not config["fallback"] else []
    advice = f", or set download.{source}.fallback to true: {following[0]} serves it then" if following else ""
    return Served(source, Finding("problem", f"{source}: {why}", failed[0].remedy + advice), cut_off)


def serve_base(location: str, answer: Answer) -> Served:
    """Whether the base model can be had."""
    if answer.fault:
        finding = Finding("problem", f"base model: {answer.fault}", answer.remedy)
        return Served("base model", finding, answer.out_of_reach)
    by_pip = location == PACKAGED and not is_kept(package=REQUIREMENT)
    where = " by pip from the package index, 93 MB (not asked now)" if by_pip else ""
    return Served("base model", Finding("ok", f"base model: {location}{where}"), False)


def source_findings(params: Params, stages: Sequence[str], answers: Mapping[tuple[str, str], Answer]) -> list[Finding]:
    """Who will serve each source, and the base model, of those that the stages to run fetch."""
    location = params["base"]["location"]
    served = [
        serve(name, config, answers) for name, config in params["download"].items() if f"download@{name}" in stages
    ]
    if "download_base" in stages:
        served.append(serve_base(location, answers.get(("base", location), FINE)))
    return in_one_line(served) or [Finding("ok", "all data and the base model are here already")]


def in_one_line(served: Sequence[Served]) -> list[Finding]:
    """The findings; of two or more that lack a connection only one, which names all."""
    lost = [one for one in served if one.unconnected]
    if len(lost) < 2:
        return [one.finding for one in served]
    named = ", ".join(f"{one.name} ({one.instead} serves it)" if one.instead else one.name for one in lost)
    prevents = any(one.finding.mark == "problem" for one in lost)
    told = Finding("problem" if prevents else "warning", f"{NO_CONNECTION} for {named}", lost[-1].finding.remedy)
    return [*(one.finding for one in served if not one.unconnected), told]
