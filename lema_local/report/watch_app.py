"""The watched report as a web application: a page, its live part and a script, for this machine alone; no POST.

    GET  /?token=...        the address that is printed; the token becomes a cookie, and leaves the address
    GET  /                  the report, with what the run has done until now on top
    GET  /live              that part alone, as HTML; the page's script fetches it

The functions that read the database are no coroutines: Starlette runs them in threads, so that others are answered
meanwhile.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from lema_local.guard import POLICY, Guard, enter
from lema_local.report.page import asset, script_hash
from lema_local.report.watch import Watch


def watch_app(watch: Watch, *, token: str, cookie: str = "lema_watch") -> ASGIApp:
    """The application."""
    script = asset("live.js")

    def page(request: Request) -> Response:
        if "token" in request.query_params:
            return enter("/", token=token, cookie=cookie)
        return HTMLResponse(watch.page())

    def live(request: Request) -> Response:
        return HTMLResponse(watch.live())

    def live_script(request: Request) -> Response:
        return Response(script, media_type="text/javascript")

    app = Starlette(routes=[Route("/", page), Route("/live", live), Route("/live.js", live_script)])
    # the report is one file that opens from disk too: its styles, and those of its pictures, are in it
    policy = POLICY.replace("style-src 'self'", "style-src 'unsafe-inline'")
    policy = policy.replace("script-src 'self'", f"script-src 'self' '{script_hash()}'")
    return Guard(app, token=token, cookie=cookie, command="lema report --watch", policy=policy)
