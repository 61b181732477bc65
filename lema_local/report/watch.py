"""`lema report --watch`: the report on a page of this machine while a run goes on. Reads only.

The report is rendered anew in a thread when the database has changed, at most every few seconds; its live part is read
when it is asked for, at most once a second. A database that is busy leaves what was there before.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lema_local import printable
from lema_local.errors import LemaError, StoreError
from lema_local.loopback import listening, serve_page
from lema_local.records.store import Store
from lema_local.report.live import Live, look
from lema_local.report.page import LIVE_MARK, environment
from lema_local.report.write import report_page
from lema_local.settings.profiles import Profile

LOOK_EVERY_S = 1.0
AGE_S = 10.0  # what is older is looked at anew, changed or not: it says what came in the last minute
RENDER_EVERY_S = 5.0
RENDER_SHARE = 0.2  # of the time, at most: a large database takes long to draw


class Watch:
    """A database as a page of now. Safe to use from several threads."""

    def __init__(
        self, store: Store, *, title: str, seed: int, profile: Profile | None, on_notice: Callable[[str], None]
    ) -> None:
        self._store, self._title, self._seed, self._profile = store, title, seed, profile
        self._notice = on_notice
        self._template = environment().get_template("live.html")
        self._looking = threading.Lock()
        self._seen: Any = None  # the files as they were at the last look that went well
        self._looked_at = 0.0
        self._trouble = ""
        self._report = ""
        self._number = 0
        self._rendered: Any = None  # the files as they were when the report was rendered
        self.render()
        self._live: Live = look(store)

    def page(self) -> str:
        """The whole page."""
        return self._report.replace(LIVE_MARK, self.live(), 1)

    def live(self) -> str:
        """Its live part, as HTML."""
        with self._looking:
            now, files = time.monotonic(), self._files()
            due = LOOK_EVERY_S if files != self._seen or self._trouble else AGE_S
            if now >= self._looked_at + due:
                try:
                    self._live, self._seen, self._trouble = look(self._store), files, ""
                except StoreError as error:
                    self._trouble = str(error)
                self._looked_at = time.monotonic()
            return printable.characters(
                self._template.render(live=self._live, trouble=self._trouble, report=self._number)
            )

    def render(self) -> None:
        """Draw the report anew, where the database has changed since."""
        files = self._files()
        if files == self._rendered:
            return
        self._report, _ = report_page(
            self._store, title=self._title, seed=self._seed, profile=self._profile, on_notice=self._notice, watched=True
        )
        self._rendered = files
        self._number += 1

    @contextmanager
    def rendering(self) -> Iterator[None]:
        """Render in a thread for as long as the block lasts."""
        over = threading.Event()

        def work() -> None:
            told, pause = "", RENDER_EVERY_S
            while not over.wait(pause):
                began = time.monotonic()
                try:
                    self.render()
                    told = ""
                except LemaError as error:
                    if str(error) != told:
                        told = str(error)
                        self._notice(f"{told} The page keeps the report of before.")
                pause = max(RENDER_EVERY_S, (time.monotonic() - began) / RENDER_SHARE)

        thread = threading.Thread(target=work, name="lema-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()  # a picture that is being drawn ends with the process

    def _files(self) -> Any:
        """What tells that the database has changed: time and size of its files, and who writes it."""
        found: list[Any] = [self._store.writer_pid()]
        for path in (self._store.path, self._store.path.with_name(self._store.path.name + ".wal")):
            try:
                stat = path.stat()
            except OSError:
                continue
            found.append((path.name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return found


def serve(
    store: Store,
    *,
    title: str,
    seed: int,
    profile: Profile | None,
    port: int,
    on_ready: Callable[[str], None],
    on_notice: Callable[[str], None],
) -> None:
    """Answer on `port` (0: any free one) until Ctrl-C; `on_ready` gets the address. ServerError: the port is taken;
    StoreError: the database cannot be read; MissingPackageError without the extra `report`."""
    from lema_local.report.watch_app import watch_app  # starlette, which the command's help does without

    with listening(port, command="lema report --watch") as listener:
        watch = Watch(store, title=title, seed=seed, profile=profile, on_notice=on_notice)
        with watch.rendering():
            serve_page(
                listener,
                lambda token, cookie: watch_app(watch, token=token, cookie=cookie),
                cookie="lema_watch",
                on_ready=on_ready,
            )
