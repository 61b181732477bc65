#!/usr/bin/env bash
# The openai client over aiohttp says "Request timed out." at once, where nothing listens or the line was dropped.
#
# Our guess: APIConnectionError, as without aiohttp; APITimeoutError only after the timeout. Seen with openai 3.57.0 as
# openai[aiohttp] takes its packages: with a timeout of 600 s both a refused connection and one that the server closes
# without an answer are an APITimeoutError at once; over the default transport both are an APIConnectionError,
# "Connection error.". Who then raises the timeout, or looks for a slow server, was told wrong.
# Fails where that changes. So lema looks at what aiohttp itself raised, below the openai client's error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "openai[aiohttp]==3.57.0"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import socket
import time

import openai


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def error_of(port: int, **transport: object) -> str:
    """The class of the error that a call ends with, without retries."""
    url, began = f"http://127.0.0.1:{port}/v1", time.monotonic()
    async with openai.AsyncOpenAI(base_url=url, api_key="none", timeout=600, max_retries=0, **transport) as client:
        try:
            await client.completions.create(model="m", prompt="2 + 2 =")
        except openai.APIConnectionError as error:
            assert time.monotonic() - began < 60
            return type(error).__name__
    raise SystemExit("an answer?")


async def main() -> None:
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    with socket.socket() as held:  # bound, and nobody listens
        held.bind(("127.0.0.1", 0))
        ports = {"dropped": server.sockets[0].getsockname()[1], "refused": held.getsockname()[1]}
        for what, port in ports.items():
            plain, aiohttp = await error_of(port), await error_of(port, http_client=openai.DefaultAioHttpClient())
            print("openai", openai.__version__, what, plain, aiohttp)
            assert plain == "APIConnectionError", "the default transport calls it otherwise"
            assert aiohttp == "APITimeoutError", "over aiohttp it is no longer called a timeout"


asyncio.run(main())
PY
