"""What every page that lema serves stands behind: this machine alone, the token of this start, no other web page.

    Guard(Starlette(routes=...), token="kJ2...", cookie="lema_review_8650", command="lema review")

Other web pages in the same browser must not reach it, so a request counts only with the cookie (SameSite=Strict), for
a Host that is this machine (a rebound DNS name is not), and a POST with the page's own Origin. `enter` makes the token
of the printed address, /?token=..., that cookie.
"""

import secrets
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lema_local import printable

HOSTS = {"127.0.0.1", "localhost"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class PrintableResponse(JSONResponse):
    """JSON of characters that a page can hold."""

    def render(self, content: Any) -> bytes:
        return printable.json_text(printable.all_characters(content), indent=None).encode()


def enter(target: str, *, token: str, cookie: str) -> Response:
    """The answer to the printed address: the token becomes a cookie, and leaves the address."""
    answer = RedirectResponse(target, status_code=303)
    answer.set_cookie(cookie, token, httponly=True, samesite="strict", path="/")
    return answer


class Guard:
    """Lets in who has the token, from this machine's own pages; and puts the headers on everything that leaves."""

    def __init__(self, app: ASGIApp, *, token: str, cookie: str, command: str, policy: str = POLICY) -> None:
        self._app, self._token, self._cookie, self._command = app, token, cookie, command
        headers = {"content-security-policy": policy} | _HEADERS
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI call."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers]}
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
            refused = f"This page wants its token: open the address that `{self._command}` printed.\n"
            return PlainTextResponse(refused, status_code=403)
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
