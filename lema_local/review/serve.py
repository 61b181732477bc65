"""Serving the review page: draw the sample, print the address, answer until Ctrl-C; then all grades are merged.

    http://127.0.0.1:8650/?token=kJ2...        opens the page for whoever has it; a new token at each start

The port stays the same, because what a browser keeps for a page (a note begun, a grade that a dead server did not take)
it keeps by address.
"""

import errno
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lema_local.errors import ServerError
from lema_local.records.store import Store
from lema_local.review.desk import Desk, no_notice, settle
from lema_local.review.draw import draw, read_events, read_items
from lema_local.review.sampling import Wish

HOST = "127.0.0.1"
PORT = 8650
SETTLE_EVERY_S = 10.0  # the events are safe before; whoever writes or counts brings them in sooner


def open_desk(store: Store, wish: Wish, *, on_notice: Callable[[str], None] = no_notice) -> Desk:
    """The sample that is wished for, with what was graded of it before."""
    settle(store, on_notice=on_notice)
    return Desk(store, read_items(store, draw(store, wish)), read_events(store))


def serve(
    store: Store,
    wish: Wish,
    *,
    reviewer: str | None,
    port: int,
    on_ready: Callable[[str, int], None],
    on_notice: Callable[[str], None],
) -> None:
    """Answer on `port` (0: any free one) until Ctrl-C; `on_ready` gets the address. ServerError: the port is taken."""
    import uvicorn

    from lema_local.review.app import review_app  # starlette, which the command's help does without

    desk = open_desk(store, wish, on_notice=on_notice)
    with _listen(port) as listener, _settling(store, on_notice):
        number = listener.getsockname()[1]
        token = secrets.token_urlsafe(24)
        # a cookie is shared by all ports of a host: its name tells two reviews apart
        app = review_app(desk, token=token, cookie=f"lema_review_{number}", reviewer=reviewer)
        # no access log: it would hold the token
        config = uvicorn.Config(
            app, access_log=False, log_level="warning", lifespan="off", ws="none", server_header=False,
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        on_ready(f"http://{HOST}:{number}/?token={token}", len(desk))
        with suppress(KeyboardInterrupt):  # how a review ends
            uvicorn.Server(config).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    # the protocol by name: asyncio sends without delay (TCP_NODELAY) only then, and 40 ms a key press are at stake
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)  # who opens the address at once waits a moment
        return listener
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise ServerError(f"Port {port} is taken, by another `lema review` perhaps. Stop it, or give --port.") from None


@contextmanager
def _settling(store: Store, on_notice: Callable[[str], None]) -> Iterator[None]:
    """Bring the events that wait into the database every now and then, and at the end."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(SETTLE_EVERY_S):
            settle(store, on_notice=on_notice)

    thread = threading.Thread(target=work, name="lema-review", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        settle(store, on_notice=on_notice)
