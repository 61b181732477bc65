"""What a request says beside its body: what is meant here, and nothing that the openai client found in the environment.

    request.headers        # {"Authorization": "Bearer sk-other", "OpenAI-Organization": "org-mine", "X-Gateway": ...}
    only_ours(request, "sk-1f")
    request.headers        # {"Host": ..., "Authorization": "Bearer sk-1f", ...}

That client sends what OPENAI_CUSTOM_HEADERS, OPENAI_ORG_ID, OPENAI_PROJECT_ID and their like hold to every server, and
even lets them replace the key; a list of them would be another one in its next version.
"""

from typing import Any

_LENGTH = ("Content-Length", "Transfer-Encoding")


def only_ours(request: Any, api_key: str) -> None:
    """Take from an httpx2 request, just before it goes, every header that is not meant."""
    headers = request.headers
    kind = headers.get("Content-Type", "")
    is_upload = kind.startswith("multipart/form-data; boundary=")
    request.headers = type(headers)(
        {
            "Host": request.url.netloc.decode("ascii"),
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "keep-alive",
            "User-Agent": "lema_local",
            "Authorization": f"Bearer {api_key}",
            "Content-Type": kind if is_upload else "application/json",
            **{name: headers[name] for name in _LENGTH if name in headers},
        }
    )
