"""Calls of the client against a scripted server, and replies that lie."""

import asyncio
import gzip
import json
from typing import Any

from scripted_server import Say, chat

from lema_local.calls.client import CallFailedError, Client, Failure
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.calls.replies import Reply
from lema_local.errors import EndpointError

GREEDY = Sampling(temperature=0.0, max_tokens=16)
ASK = Prompt(messages=({"role": "user", "content": "1 + 1"},))
CANARY = "sk-canary-7c1e2f"
WHOLE = json.loads(chat("The answer is 2.").body)


def endpoint(url: str, **more: Any) -> Endpoint:
    fields: dict[str, Any] = {
        "name": "reasoner",
        "served_model": "tiny",
        "model": "tiny",
        "identity": "x",
        "max_retries": 1,
    } | more
    return Endpoint(base_url=url, **fields)


def ask(
    where: Endpoint, prompt: Prompt = ASK, sampling: Sampling = GREEDY, *, index: int = 0
) -> tuple[Reply | Exception, list[Failure]]:
    """The reply, or the exception, and the failures on the way."""
    failures: list[Failure] = []

    async def run() -> Reply | Exception:
        async with Client(where) as client:
            try:
                return await client.complete(prompt, sampling, index=index, on_failure=failures.append)
            except (CallFailedError, EndpointError) as error:
                return error

    return asyncio.run(run()), failures


def reply_of(where: Endpoint, prompt: Prompt = ASK, sampling: Sampling = GREEDY, *, index: int = 0) -> Reply:
    outcome, failures = ask(where, prompt, sampling, index=index)
    assert isinstance(outcome, Reply), (outcome, failures)
    return outcome


def body(choice: object = None, **more: object) -> bytes:
    return json.dumps({**WHOLE, **({"choices": [choice]} if choice else {}), **more}).encode()


LIES = {
    "empty body": Say(body=b""),
    "spaces only": Say(body=b" \n "),
    "HTML": Say(body=b"<html><h1>Bad gateway</h1></html>", headers={"content-type": "text/html"}),
    "error object": Say(body=body(error={"message": "overloaded"})),
    "a list": Say(body=b"[]"),
    "null": Say(body=b"null"),
    "null choices": Say(body=body(choices=None)),
    "empty choices": Say(body=body(choices=[])),
    "choices of text": Say(body=body("2")),
    "null message": Say(body=body({"message": None})),
    "null content": Say(body=body({"message": {"role": "assistant", "content": None}})),
    "a text where none was asked for": Say(
        body=body(choices=[{"message": {"content": None}}, {"message": {"content": "2"}, "index": 1}])
    ),
    "content that is a list": Say(body=body({"message": {"content": [1]}})),
    "JSON cut off": Say(body=chat("The answer is 2.").body[:-9]),
    "deeply nested": Say(body=b"[" * 200_000),
    "no usage": Say(body=body(usage=None)),
    "compressed, unasked": Say(body=gzip.compress(chat("The answer is 2.").body), headers={"content-encoding": "gzip"}),
    "a part of a reply": Say(206, chat("The answer is 2.").body),
    "connection dropped in the body": Say(body=chat("The answer is 2.").body, cut=True),
}


def many(where: Endpoint, calls: int, said: list[str] | None = None) -> list[Reply]:
    """Replies to so many calls, as a stage makes them: as many tasks as the servers take at once."""
    notices: list[str] = [] if said is None else said

    async def run() -> list[Reply]:
        left, replies = iter(range(calls)), list[Reply]()
        async with Client(where, on_notice=notices.append) as client:

            async def work() -> None:
                for _ in left:
                    reply = await client.complete(ASK, GREEDY)
                    replies.append(reply)

            await asyncio.gather(*(work() for _ in range(where.most_calls)))
        return replies

    return asyncio.run(run())
