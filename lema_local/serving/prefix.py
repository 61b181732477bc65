"""The text that all prompts of a stage begin with, read once and handed to every slot of llama.cpp's server.

Each call in a batch has a slot with a cache of its own, and a prompt goes on in its slot's. Without this, 16 slots read
the same examples 16 times before the first word is written: with the correction prompt's 1,000 tokens a quarter of the
stage. llama.cpp's own way of saving and restoring a slot carries the cache from one to the others:

    share_prefix(endpoint, common_prefix([text_of(endpoint, prompt) for prompt in prompts]))
"""

import json
import os
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from lema_local.calls.bodies import MOST_BODY_BYTES
from lema_local.calls.endpoint import Endpoint, Prompt
from lema_local.serving.process import direct_opener

LEAST_CHARACTERS = 600  # below that, reading it costs no more than handing it on
_FILE = "prefix"


def common_prefix(texts: Sequence[str]) -> str:
    """What all of them begin with, up to the last end of a line: there a tokenizer joins nothing. "" if too short."""
    prefix = os.path.commonprefix(list(texts))  # noqa: RUF071 (texts, character by character)
    prefix = prefix[: prefix.rfind("\n") + 1]
    return prefix if len(prefix) >= LEAST_CHARACTERS else ""


def text_of(endpoint: Endpoint, prompt: Prompt) -> str:
    """What the model reads of a prompt: its text, or its messages in the chat template that the server has. OSError
    where the server does not say."""
    if prompt.text is not None:
        return prompt.text
    root = endpoint.base_url.removesuffix("/v1")
    try:
        said = json.loads(_post(root, endpoint, "/apply-template", messages=prompt.messages, **endpoint.request))
        return str(said["prompt"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise OSError(f"{root}/apply-template does not say it") from error


def share_prefix(endpoint: Endpoint, prefix: str) -> None:
    """Fill the slots of all of an endpoint's servers. OSError where a server does not do it: then each slot reads the
    prefix itself, and the answers are the same."""
    pool = ThreadPoolExecutor(len(endpoint.base_urls))
    filling = [pool.submit(_fill, url.removesuffix("/v1"), endpoint, prefix) for url in endpoint.base_urls]
    wait(filling)  # outside of a `with` block, which would make Ctrl-C wait for the servers: it is what stops them
    pool.shutdown()
    for each in filling:
        each.result()


def _fill(root: str, endpoint: Endpoint, prefix: str) -> None:
    # reads it, writes nothing
    _post(root, endpoint, "/completion", prompt=prefix, n_predict=0, id_slot=0, cache_prompt=True)
    _post(root, endpoint, "/slots/0?action=save", filename=_FILE)
    for slot in range(1, endpoint.slots):
        _post(root, endpoint, f"/slots/{slot}?action=restore", filename=_FILE)


def _post(root: str, endpoint: Endpoint, path: str, **fields: object) -> bytes:
    headers = {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(root + path, json.dumps(fields).encode(), headers)  # noqa: S310 (http)
    with direct_opener().open(request, timeout=endpoint.deadline_s) as reply:
        return bytes(reply.read(MOST_BODY_BYTES))
