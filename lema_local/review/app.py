"""The review page as a web application: three files and a small JSON interface, for this machine alone.

    GET  /?token=...                  the address that is printed; the token becomes a cookie, and leaves the address
    GET  /  /as/NAME                  the page: pick a name; grade as NAME
    GET  /api/reviewers  /api/as/NAME        who has begun; what NAME sees now
    POST /api/as/NAME                 {"id": "8c1e...", "event": "grade", "correction": "77aa...", "grade": "good"}

Other web pages in the same browser must not reach it, so a request counts only with the cookie (SameSite=Strict), for
a Host that is this machine (a rebound DNS name is not), and a POST with the page's own Origin. Model text leaves as
JSON and is put in as text; the policy of the page allows no inline script, no other host, and no markup from strings.
"""

import json
import secrets
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lema_local import printable
from lema_local.errors import StoreError
from lema_local.review.desk import Desk, RefusedError
from lema_local.review.rubric import DEFINITIONS

MAX_BODY_BYTES = 64_000
HOSTS = {"127.0.0.1", "localhost"}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
REFUSED = "This page wants its token: open the address that `lema review` printed.\n"
_ASSETS = {
    "review.css": ("review", "text/css"),
    "review.js": ("review", "text/javascript"),
    "theme.css": ("report", "text/css"),
}


def review_app(desk: Desk, *, token: str, cookie: str = "lema_review", reviewer: str | None = None) -> ASGIApp:
    """The application; `reviewer` is who the printed address is for."""
    page = files("lema_local.review").joinpath("assets", "page.html").read_bytes()

    async def show(request: Request) -> Response:
        return Response(page, media_type="text/html")

    async def begin(request: Request) -> Response:
        if "token" not in request.query_params:
            return await show(request)
        target = f"/as/{quote(reviewer, safe='')}" if reviewer else "/"
        answer = RedirectResponse(target, status_code=303)
        answer.set_cookie(cookie, token, httponly=True, samesite="strict", path="/")
        return answer

    async def reviewers(request: Request) -> Response:
        return PrintableResponse({"reviewers": desk.reviewers(), "definitions": dict(DEFINITIONS)})

    async def view(request: Request) -> Response:
        return PrintableResponse(desk.view(request.path_params["name"]))

    async def answer(request: Request) -> Response:
        # in the event loop, not in a thread: on a busy machine each change of threads costs more than the write
        return PrintableResponse(desk.answer(request.path_params["name"], await _json(request)))

    routes = [
        Route("/", begin),
        Route("/as/{name}", show),
        Route("/api/reviewers", reviewers),
        Route("/api/as/{name}", view),
        Route("/api/as/{name}", answer, methods=["POST"]),
        *(Route(f"/{name}", _asset(package, name, kind)) for name, (package, kind) in _ASSETS.items()),
    ]
    handlers: Mapping[Any, Any] = {
        RefusedError: lambda request, error: PrintableResponse({"error": str(error)}, status_code=400),
        StoreError: lambda request, error: PrintableResponse({"error": str(error)}, status_code=507),
        HTTPException: lambda request, error: PrintableResponse({"error": error.detail}, status_code=error.status_code),
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers), token=token, cookie=cookie)


class PrintableResponse(JSONResponse):
    """JSON of characters that a page can hold."""

    def render(self, content: Any) -> bytes:
        return printable.json_text(printable.all_characters(content), indent=None).encode()


def _asset(package: str, name: str, kind: str) -> Any:
    folder = files(f"lema_local.{package}")
    content = (folder.joinpath("assets", name) if package == "review" else folder.joinpath(name)).read_bytes()

    async def asset(request: Request) -> Response:
        return Response(content, media_type=kind)

    return asset


async def _json(request: Request) -> dict[str, Any]:
    """The object that a request holds, never more of it than is allowed."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY_BYTES:
            raise HTTPException(413, "That is too long.")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise HTTPException(400, "A JSON object is wanted.")
    return body


class Guard:
    """Lets in who has the token, from this machine's own pages; and puts the headers on everything that leaves."""

    def __init__(self, app: ASGIApp, *, token: str, cookie: str) -> None:
        self._app, self._token, self._cookie = app, token, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI call."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        refused = self._refused(Request(scope))
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refused(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if _hostname(f"http://{host}") not in HOSTS:
            return PlainTextResponse("This address is not this machine's.\n", status_code=421)
        given = request.query_params.get("token") if request.url.path == "/" else None
        if not self._is_token(given) and not self._is_token(request.cookies.get(self._cookie)):
            return PlainTextResponse(REFUSED, status_code=403)
        if request.method not in ("GET", "HEAD") and not _is_own_page(request.headers, host):
            return PlainTextResponse("Only the page itself may send this.\n", status_code=403)
        return None

    def _is_token(self, given: str | None) -> bool:
        return given is not None and secrets.compare_digest(given.encode(), self._token.encode())


def _is_own_page(headers: Headers, host: str) -> bool:
    """Whether a request was made by a page of this very address; a form of another site cannot send JSON either."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return (
        headers.get("origin") == f"http://{host}"
        and headers.get("sec-fetch-site", "same-origin") == "same-origin"
        and kind == "application/json"
    )


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
