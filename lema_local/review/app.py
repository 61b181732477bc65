"""The review page as a web application: three files and a small JSON interface, for this machine alone.

    GET  /?token=...                  the address that is printed; the token becomes a cookie, and leaves the address
    GET  /  /as/NAME                  the page: pick a name; grade as NAME
    GET  /api/reviewers  /api/as/NAME        who has begun; what NAME sees now
    POST /api/as/NAME                 {"id": "8c1e...", "event": "grade", "correction": "77aa...", "grade": "good"}

The guard keeps other web pages out. Model text leaves as JSON and is put in as text; the policy of the page allows no
inline script, no other host, and no markup from strings.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from lema_local.errors import StoreError
from lema_local.guard import Guard, PrintableResponse, enter
from lema_local.review.desk import Desk, RefusedError
from lema_local.review.rubric import DEFINITIONS

MAX_BODY_BYTES = 64_000
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
        return enter(target, token=token, cookie=cookie)

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
    app = Starlette(routes=routes, exception_handlers=handlers)
    return Guard(app, token=token, cookie=cookie, command="lema review")


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
