"""A hub of its own for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import Hub, serve


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that serves tmp_path/hub, and to which the real clients turn; its cache is tmp_path/cache.

    The address is what HF_ENDPOINT would have set when the packages were first imported. Waits are left out.
    """
    from datasets import config
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    (tmp_path / "hub").mkdir()
    with serve(tmp_path / "hub") as (hub, address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
        monkeypatch.setattr(config, "HF_ENDPOINT", address)
        monkeypatch.setattr(config, "HUB_DATASETS_URL", f"{address}/datasets/{{repo_id}}/resolve/{{revision}}/{{path}}")
        monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "datasets")
        monkeypatch.setattr(config, "STREAMING_READ_RETRY_INTERVAL", 0)
        monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
        yield hub
