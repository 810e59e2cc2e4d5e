"""`python -m llm serve`: the page and the API on this machine."""

import argparse
import contextlib
import logging

from llm.app.catalogue import list_models
from llm.app.house import House

GRACE_S = 2  # for replies that are being written when Ctrl-C comes


def run_serve(arguments: argparse.Namespace) -> int:
    """Serve the models of the working tree until Ctrl-C; 0."""
    import uvicorn

    from llm.app.api import make_app

    listed = list_models()
    if not listed:
        raise FileNotFoundError("there is no trained model in models/: run `dvc repro` first")
    names = ", ".join(one.about.name for one in listed)
    print(f"{names} at http://{_shown(arguments.host)}:{arguments.port}  (Ctrl-C ends it)", flush=True)
    logging.getLogger("llm").setLevel(logging.INFO)
    app = make_app(House(listed), arguments.host)
    config = uvicorn.Config(
        app, arguments.host, arguments.port, log_level="warning", timeout_graceful_shutdown=GRACE_S, server_header=False
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it when it has ended everything
        uvicorn.Server(config).run()
    print("ended", flush=True)
    return 0


def _shown(host: str) -> str:
    """The host as it stands in an address."""
    return f"[{host}]" if ":" in host else host
