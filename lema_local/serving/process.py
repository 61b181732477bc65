"""Start a servers/*.toml recipe, wait until it answers, stop it whatever happens.

    with serve("llama_cpp", model=model, options=ServeOptions(...)) as server:
        server.base_url                       # http://127.0.0.1:43121/v1

A server runs in a session of its own, so that Ctrl-C reaches lema first and lema stops it in order. When lema is
killed the kernel ends it (Linux), and keeper.py all that it started. Its output goes to a log file that errors name.
"""

import errno
import http.client
import importlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lema_local.calls.endpoint import Endpoint
from lema_local.errors import EndpointError, MissingPackageError, ServerError
from lema_local.hardware import die_with_parent
from lema_local.serving.command import (
    ServeOptions,
    batch_that_fits,
    build_command,
    is_built,
    models_file,
    servers_that_fit,
)
from lema_local.serving.endpoints import ResolvedEndpoint, read_key
from lema_local.serving.forms import weights_in_form
from lema_local.serving.keeper import ended_with_us
from lema_local.serving.measuring import FOREIGN_BUILD
from lema_local.serving.recipes import Recipe, load_recipe
from lema_local.settings.models import Model
from lema_local.settings.published import adapter_rank

_ERROR = re.compile(r"\w(?:Error|Exception): ")
# What a server is given of our environment: never a key, nor an option by which it would serve otherwise.
_GIVEN = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|LD_LIBRARY_PATH|DYLD_\w+|VIRTUAL_ENV|PYTHON\w+|"
    r"XDG_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|(?i:https?_proxy|no_proxy|all_proxy)|HF_\w+|HUGGING_FACE_HUB_TOKEN|"
    r"(?:CUDA|NVIDIA|NCCL|ROCR|HIP|OMP|MKL|KMP|GOMP|OPENBLAS|TORCH|TRITON|TOKENIZERS|VLLM|COV|COVERAGE)_\w+|CC|CXX"
)
_KEY = re.compile(r"KEY|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_HEALTH_BYTES = 2**16
STOP_PATIENCE_S = 0.5  # a server has nothing to save, and Ctrl-C must be over within two seconds on a busy machine too


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers."""

    base_url: str
    log: Path
    process: "subprocess.Popen[bytes]"
    served_model: str  # the name of the model there
    api_key: str = field(default="none", repr=False)

    def is_alive(self) -> bool:
        """Whether its process still runs."""
        return self.process.poll() is None

    def died(self) -> ServerError:
        """Why it ended by itself."""
        return ServerError(f"The server ended by itself, {_how(self.process, self.log)}")


@dataclass(frozen=True, slots=True)
class RunningServers:
    """The servers of an endpoint, which share its work."""

    servers: tuple[RunningServer, ...]

    def is_alive(self) -> bool:
        """Whether all of them still run."""
        return all(server.is_alive() for server in self.servers)

    def died(self) -> ServerError:
        """Why the first that ended did so."""
        return next(server for server in self.servers if not server.is_alive()).died()


@contextmanager
def serve(
    recipe_name: str,
    *,
    model: Model | None,
    options: ServeOptions,
    on_notice: Callable[[str], None] = lambda message: None,
) -> Iterator[RunningServer]:
    """A server for the length of a `with` block. Raises ServerError, one line, when it does not come up."""
    recipe = load_recipe(recipe_name)
    _require(recipe)
    port = options.port or free_port(options.host)
    if options.port is not None:
        _refuse_taken_port(options.host, port)
    with TemporaryDirectory(prefix="lema-") as scratch:
        yield from _serve(recipe, model, replace(options, scratch=Path(scratch)), port, on_notice)


def _serve(
    recipe: Recipe, model: Model | None, options: ServeOptions, port: int, on_notice: Callable[[str], None]
) -> Iterator[RunningServer]:
    command = build_command(recipe, model, options, port=port)
    try:
        options.log_directory.mkdir(parents=True, exist_ok=True)
        log = options.log_directory / f"{recipe.name}-{port}.log"
        output = log.open("wb")
        if options.adapters and recipe.has_models_file:
            options.models_path(recipe, port).write_text(models_file(recipe, model, options, port=port), "utf-8")
    except OSError as error:
        raise ServerError(f"Cannot write a log in {options.log_directory}: {error.strerror}.") from error
    on_notice(f"starting {recipe.name}" + (f" with {model.name}" if model else ""))
    with output:
        process = subprocess.Popen(
            command,
            env=server_environment(os.environ)
            | ({recipe.key_variable: options.key} if recipe.key_variable and options.key else {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
    with ExitStack() as kept:  # until it is stopped: lema may be killed while it waits for that
        try:
            root, served_model = f"http://{options.host}:{port}", options.served_model(recipe, model)
            server = RunningServer(f"{root}/v1", log, process, served_model, options.key or "none")
            kept.enter_context(ended_with_us(process.pid))
            _wait_until_healthy(server, root + recipe.health, recipe)
            yield server
        finally:
            _stop(process)


@contextmanager
def open_endpoint(
    resolved: ResolvedEndpoint, *, options: ServeOptions, on_notice: Callable[[str], None] = lambda message: None
) -> Iterator[Endpoint]:
    """An endpoint, ready to be called: its server started if it has a recipe, its key read from the environment."""
    # The client is loaded here, where Ctrl-C ends it at once: in the event loop an import holds it up, by seconds when
    # the machine is busy.
    importlib.import_module("openai")
    if resolved.recipe is None:
        yield replace(resolved.endpoint, api_key=read_key(resolved.name, resolved.profile))
        return
    with open_recipe(resolved, options=options, on_notice=on_notice) as (served, _):
        yield served


@contextmanager
def open_recipe(
    resolved: ResolvedEndpoint,
    *,
    options: ServeOptions,
    model: Model | None = None,
    on_notice: Callable[[str], None] = lambda message: None,
) -> Iterator[tuple[Endpoint, RunningServers]]:
    """The same where the profile names a recipe, with its servers; `model`: other weights than the profile's."""
    recipe, profile, model = resolved.recipe, resolved.profile, model or resolved.model
    assert recipe is not None
    importlib.import_module("openai")
    count = servers_that_fit(profile.servers, recipe, model)
    parallel = batch_that_fits(profile.parallel, recipe, model, context_length=profile.context_length, servers=count)
    if parallel < profile.parallel:
        on_notice(f"{recipe.name}: {parallel} calls in a batch, not {profile.parallel}: their caches fit in the memory")
    options = replace(options, context_length=profile.context_length, servers=count, parallel=parallel)
    if recipe.forms and model is not None:
        options = replace(options, weights=weights_in_form(model, resolved.form, on_notice=on_notice))
    if profile.adapter is not None:
        adapter = Path(profile.adapter)
        rank = adapter_rank(adapter) if recipe.weights == "hf" else options.lora_rank
        options = replace(options, adapters={resolved.endpoint.served_model: adapter}, lora_rank=rank)
    with ExitStack() as running:
        servers = tuple(
            running.enter_context(serve(recipe.name, model=model, options=options, on_notice=on_notice))
            for _ in range(count)
        )
        endpoint = replace(
            resolved.endpoint,
            base_url=servers[0].base_url,
            more_base_urls=tuple(server.base_url for server in servers[1:]),
            served_model=resolved.endpoint.served_model if profile.adapter else servers[0].served_model,
            api_key=servers[0].api_key,
            concurrency=parallel if recipe.batches else resolved.endpoint.concurrency,
            slots=parallel if recipe.batches and parallel > 1 and not options.adapters else 0,
            adapters=tuple(options.adapters) if recipe.adapters_by == "scales" else (),
            answers_as=servers[0].served_model if recipe.adapters_by == "scales" else None,
            adapter_over=servers[0].served_model if profile.adapter is not None else None,
        )
        together = RunningServers(servers)
        try:
            yield endpoint, together
        except EndpointError as error:
            if together.is_alive():
                raise
            raise ServerError(f"{together.died()} Run the same command again to go on.") from error


def free_port(host: str) -> int:
    """A TCP port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def direct_opener() -> urllib.request.OpenerDirector:
    """For a server that lema itself started: a proxy does not know this machine's ports."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _require(recipe: Recipe) -> None:
    if recipe.interpreter is not None:
        if not Path(recipe.interpreter).exists():
            raise MissingPackageError(
                f"{recipe.name} runs from {recipe.interpreter}, which is not here: make setup-vllm"
            )
    elif recipe.extra is not None and importlib.util.find_spec(recipe.module.partition(".")[0]) is None:
        raise MissingPackageError(
            f"The {recipe.name} server is not installed: pip install 'lema-local[{recipe.extra}]'"
        )
    elif not is_built(recipe):
        raise MissingPackageError(
            f"{recipe.program} is not built here: make llama-server builds it. "
            f"The recipe {recipe.otherwise} does without."
        )


def _refuse_taken_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ServerError(f"Cannot listen on {host}: {error.strerror}. Check --host.") from error
            raise ServerError(
                f"Port {port} on {host} is taken ({error.strerror}). Choose another with --port, or stop what "
                f"listens there."
            ) from error


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a server that lema starts gets of an environment: no API keys. Its Hub token it needs to fetch weights."""
    given = {name: value for name, value in environment.items() if _GIVEN.fullmatch(name)}
    return {name: value for name, value in given.items() if not _KEY.search(name)}


def _wait_until_healthy(server: RunningServer, url: str, recipe: Recipe) -> None:
    """Until the server lists the name that was made up for it: who else listens on its port cannot know that."""
    process, log = server.process, server.log
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {server.api_key}"})  # noqa: S310 (http)
    deadline = time.monotonic() + recipe.start_timeout_s
    opener = direct_opener()
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"The {recipe.name} server did not start, {_how(process, log)}")
        try:
            with opener.open(request, timeout=5) as reply:
                if server.served_model.encode() in reply.read(_HEALTH_BYTES):
                    return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.1)
    raise ServerError(
        f"The {recipe.name} server did not answer at {url} within {recipe.start_timeout_s:g} s. See {log}."
    )


def _how(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """How a process ended, and where to read on."""
    said = FOREIGN_BUILD if process.returncode == -signal.SIGILL else _last_line(log)  # it says nothing itself
    return f"code {process.returncode}: {said} (whole output: {log})"


def _last_line(log: Path) -> str:
    """What a server said last of an error; else what it said last."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.search(line)]
    return (errors or lines or ["no output"])[-1][:300]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and all it started, within STOP_PATIENCE_S."""
    try:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_PATIENCE_S)
    finally:  # a second Ctrl-C ends the wait
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a worker of a server that has ended may live on
        process.wait()
