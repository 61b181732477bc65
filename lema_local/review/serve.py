"""Serving the review page: draw the sample, print the address, answer until Ctrl-C; then all grades are merged."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lema_local.loopback import listening, serve_page
from lema_local.records.store import Store
from lema_local.review.desk import Desk, no_notice, settle
from lema_local.review.draw import draw, read_events, read_items
from lema_local.review.sampling import Wish

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
) -> bool:
    """Answer on `port` (0: any free one) until Ctrl-C; `on_ready` gets the address. Returns whether all grades are in
    the database: else they wait beside it. ServerError: the port is taken."""
    from lema_local.review.app import review_app  # starlette, which the command's help does without

    desk = open_desk(store, wish, on_notice=on_notice)

    def app(token: str, cookie: str) -> Any:
        return review_app(desk, token=token, cookie=cookie, reviewer=reviewer)

    with listening(port, command="lema review") as listener:
        try:
            with _settling(store, on_notice):
                serve_page(listener, app, cookie="lema_review", on_ready=lambda address: on_ready(address, len(desk)))
        finally:
            is_settled = settle(store, on_notice=on_notice)
    return is_settled


@contextmanager
def _settling(store: Store, on_notice: Callable[[str], None]) -> Iterator[None]:
    """Bring the events that wait into the database every now and then."""
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
