"""llama.cpp's own server: many calls in one batch, adapters by request, weights in the form that was measured.

It is built by `make llama-server`, which no other set-up does: where it was not, this file is skipped.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from adapters import adapter

from lema_local.calls.client import Client
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.errors import EndpointError, ServerError
from lema_local.serving.command import ServeOptions, program_path
from lema_local.serving.endpoints import Endpoints
from lema_local.serving.forms import choose_form, served_form, weights_in_form
from lema_local.serving.measuring import LEAST_AGREEMENT
from lema_local.serving.prefix import common_prefix, share_prefix, text_of
from lema_local.serving.process import RunningServers, open_recipe
from lema_local.serving.recipes import load_recipe
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.models import resolve_model
from lema_local.stages.probe import Probe
from lema_local.training.adapter_gguf import convert_adapter

RECIPE = load_recipe("llama_server")


def _is_built() -> bool:
    try:
        return program_path(RECIPE).exists()
    except ServerError:
        return False


pytestmark = pytest.mark.skipif(not _is_built(), reason="llama.cpp's server is not built: make llama-server")

PROFILE = EndpointProfile(
    model="smollm2-135m-instruct", recipe="llama_server", api="completions", context_length=256, form="file"
)
GREEDY = Sampling(temperature=0.0, max_tokens=4)
PROMPTS = [Prompt(text=f"{n}, {n + 1}, {n + 2}, {n + 3},") for n in range(10, 26)]


def answers(asked: Sequence[tuple[Endpoint, Prompt]], *, at_once: int) -> list[str]:
    """The texts of greedy calls, so many of them at once."""

    async def ask_all() -> list[str]:
        free = asyncio.Semaphore(at_once)

        async def ask(endpoint: Endpoint, prompt: Prompt) -> str:
            async with free, Client(endpoint) as client:
                reply = await client.complete(prompt, GREEDY)
                assert reply.answered_by is None
                return reply.text

        return await asyncio.gather(*(ask(endpoint, prompt) for endpoint, prompt in asked))

    return asyncio.run(ask_all())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Endpoint, RunningServers]]:
    """A server without adapters."""
    resolved = Endpoints().resolve("student", PROFILE)
    with open_recipe(resolved, options=ServeOptions(log_directory=tmp_path_factory.mktemp("logs"))) as served:
        yield served


def test_sixteen_calls_in_one_batch_are_each_answered_by_their_own_text(plain: tuple[Endpoint, RunningServers]) -> None:
    endpoint, _ = plain
    assert endpoint.concurrency == 16
    texts = answers([(endpoint, prompt) for prompt in PROMPTS], at_once=16)
    assert [text.split(",")[0] for text in texts] == [f" {n + 4}" for n in range(10, 26)]


def test_only_who_has_its_key_is_answered_and_each_has_its_own(
    plain: tuple[Endpoint, RunningServers], tmp_path: Path
) -> None:
    endpoint, _ = plain
    assert endpoint.served_model.startswith("smollm2-135m-instruct-")
    with pytest.raises(EndpointError, match="refuses the key"):
        answers([(replace(endpoint, api_key="none"), PROMPTS[0])], at_once=1)
    again = Endpoints().resolve("student", PROFILE)
    with open_recipe(again, options=ServeOptions(log_directory=tmp_path)) as (other, _):
        assert other.api_key != endpoint.api_key
        assert other.served_model != endpoint.served_model


def test_base_and_adapters_side_by_side_answer_as_each_does_alone(
    plain: tuple[Endpoint, RunningServers], tmp_path: Path
) -> None:
    made = {}
    for name, seed in (("cot-20", 1), ("lema-20", 2)):
        made[name] = tmp_path / f"{name}.gguf"
        folder = adapter(tmp_path / name, strength=0.3, seed=seed)
        convert_adapter(folder, made[name], base_gguf=resolve_model(PROFILE.model).gguf())
    resolved = Endpoints().resolve("student", PROFILE)
    prompts = [Prompt(text=text) for text in ("Once upon a time", "In the garden, we", "A dog and a", "My friend said")]
    alone = [answers([(plain[0], prompt) for prompt in prompts], at_once=1)]
    for name, path in made.items():
        options = ServeOptions(log_directory=tmp_path, adapters={name: path})
        with open_recipe(resolved, options=options) as (endpoint, _):
            tuned = replace(endpoint, served_model=name)
            alone.append(answers([(tuned, prompt) for prompt in prompts], at_once=1))
    assert alone[0] != alone[1] != alone[2] != alone[0]
    with open_recipe(resolved, options=ServeOptions(log_directory=tmp_path, adapters=made)) as (endpoint, _):
        for name in made:
            Probe(endpoint, prompts[:1]).refuse_inactive(name)
        three = [endpoint, *(replace(endpoint, served_model=name) for name in made)]
        asked = [(each, prompt) for prompt in prompts for each in three]
        for at_once in (1, 12):
            texts = answers(asked, at_once=at_once)
            assert [texts[k::3] for k in range(3)] == alone


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_what_all_prompts_begin_with_is_read_once_for_all_slots(
    api: Literal["completions", "chat"], plain: tuple[Endpoint, RunningServers]
) -> None:
    """A chat's begins with what the model's template puts before it."""
    endpoint = replace(plain[0], api=api)
    beginning = "".join(f"{n}. One more line of the examples.\n" for n in range(18))
    texts = [f"{beginning}{name}" for name in ("Ann", "Ben", "Cleo", "Dan")]
    prompts = [
        Prompt(text=text) if api == "completions" else Prompt(messages=({"role": "user", "content": text},))
        for text in texts
    ]
    shared = common_prefix([text_of(endpoint, prompt) for prompt in prompts])
    assert shared == beginning if api == "completions" else shared.endswith(f"<|im_start|>user\n{beginning}")

    async def cached() -> list[int]:
        async with Client(endpoint) as client:
            replies = await asyncio.gather(*(client.complete(prompt, GREEDY) for prompt in prompts))
        return [reply.cached_prompt_tokens or 0 for reply in replies]

    assert max(asyncio.run(cached())[:3]) < 50
    share_prefix(endpoint, shared)
    assert min(asyncio.run(cached())) > 150


def test_it_stops_at_once_and_cleanly(tmp_path: Path) -> None:
    resolved = Endpoints().resolve("student", PROFILE)
    with open_recipe(resolved, options=ServeOptions(log_directory=tmp_path)) as (_, running):
        (server,) = running.servers
        server.process.terminate()
        assert server.process.wait(10) == 0


def test_a_models_identity_says_engine_and_form() -> None:
    identities = {
        Endpoints().resolve("student", replace(PROFILE, form=form)).endpoint.identity for form in ("file", "bf16")
    }
    plain = Endpoints().resolve("student", replace(PROFILE, recipe="llama_cpp")).endpoint.identity
    assert identities == {plain + served_form(RECIPE, form) for form in ("file", "bf16")}
    assert all(":llama_server-" in identity for identity in identities)


@pytest.mark.slow  # half a minute of CPU time
def test_the_form_that_is_chosen_is_faster_and_agrees_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    choose_form.cache_clear()
    choice = choose_form(resolve_model(PROFILE.model))
    chosen = choice.measured[choice.form]
    assert choice.form == "file" or (choice.speed_up > 1 and (chosen.agreement or 0) >= LEAST_AGREEMENT)
    assert choice.measured.keys() == {"file", *RECIPE.forms}
    assert {path.name.rpartition("-")[2] for path in tmp_path.rglob("*.gguf")} <= {f"{choice.form}.gguf"}
    if choice.form != "file":
        assert weights_in_form(resolve_model(PROFILE.model), choice.form, on_notice=pytest.fail).is_file()
