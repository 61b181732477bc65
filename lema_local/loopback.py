"""Serving a page to this machine alone, until Ctrl-C.

    http://127.0.0.1:8650/?token=kJ2...        opens the page for whoever has it; a new token at each start

The port stays the same, because what a browser keeps for a page (a note begun, a grade that a dead server did not take)
it keeps by address.
"""

import errno
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lema_local.errors import ServerError

HOST = "127.0.0.1"


@contextmanager
def listening(port: int, *, command: str) -> Iterator[socket.socket]:
    """A socket that listens on `port` (0: any free one). ServerError: the port is taken, by `command` perhaps."""
    # the protocol by name: asyncio sends without delay (TCP_NODELAY) only then, and 40 ms a key press are at stake
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, port))
            listener.listen(128)  # who opens the address at once waits a moment
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise ServerError(
                f"Port {port} is taken, by another `{command}` perhaps. Stop it, or give --port."
            ) from None
        yield listener


def serve_page(
    listener: socket.socket, app_of: Callable[[str, str], Any], *, cookie: str, on_ready: Callable[[str], None]
) -> None:
    """Answer by `app_of(token, cookie's name)` until Ctrl-C; `on_ready` gets the address to open."""
    import uvicorn

    number, token = listener.getsockname()[1], secrets.token_urlsafe(24)
    # a cookie is shared by all ports of a host: its name tells two pages apart
    app = app_of(token, f"{cookie}_{number}")
    # no access log: it would hold the token
    config = uvicorn.Config(
        app, access_log=False, log_level="warning", lifespan="off", ws="none", server_header=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    on_ready(f"http://{HOST}:{number}/?token={token}")
    with suppress(KeyboardInterrupt):  # how it ends
        uvicorn.Server(config).run(sockets=[listener])
