"""`python -m llm serve`: the page and the API on this machine."""

import argparse
import contextlib
import socket

from llm.app.catalogue import watch_models
from llm.app.served_models import ServedModels

GRACE_S = 2  # for replies that are being written when Ctrl-C comes


def run_serve(arguments: argparse.Namespace) -> int:
    """Serve the models of the working tree until Ctrl-C; 0.

    Raises FileNotFoundError without a model, OSError for an address that cannot be listened on.
    """
    from llm.app.api import make_app
    from llm.app.connections import make_server

    served = ServedModels(watch_models())
    if not served.listed:
        raise FileNotFoundError("there is no trained model in models/: run `dvc repro` first")
    server = make_server(make_app(served, arguments.host), GRACE_S)
    with listen(arguments.host, arguments.port) as listening:
        names, port = ", ".join(served.listed), listening.getsockname()[1]
        host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        print(f"{names} at http://{host}:{port}  (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it when it has ended everything
            server.run([listening])
    print("ended", flush=True)
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError saying what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise OSError(f"cannot listen on port {port} of {host} ({error}): name others by --port and --host") from error
