"""Servers start, answer and stop whatever happens; commands are built as the recipes say."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from commands import lema_command
from fake_vllm import fake_vllm, started
from waiting import wait_until

from lema_local.errors import EndpointError, LemaError, MissingPackageError, ProfileError, ServerError
from lema_local.hardware import Gpu
from lema_local.serving.command import ServeOptions, batch_that_fits, build_command, models_file, servers_that_fit
from lema_local.serving.endpoints import Endpoints
from lema_local.serving.process import _stop, free_port, open_recipe, serve
from lema_local.serving.recipes import load_recipe, recipe_names, tensor_parallel_size
from lema_local.settings.architecture import Architecture
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.models import Model, known_models, resolve_model

LLAMA_70B = resolve_model("llama-2-70b")
LLAMA_7B = resolve_model("llama-2-7b")


def test_every_recipe_loads_and_an_unknown_one_is_refused() -> None:
    assert recipe_names() == ["llama_cpp", "llama_server", "oracle", "vllm"]
    assert all(load_recipe(name).command for name in recipe_names())
    with pytest.raises(ProfileError, match="No recipe named vlm"):
        load_recipe("vlm")


def test_vllm_serves_the_base_once_with_every_adapter_as_a_model_name() -> None:
    options = ServeOptions(adapters={"cot-100": Path("/a"), "lema-100": Path("/b")}, context_length=2048)
    command = build_command(load_recipe("vllm"), LLAMA_7B, options, port=8000)
    assert command[0].endswith(".venv-vllm/bin/python")
    assert command[command.index("--model") + 1] == "meta-llama/Llama-2-7b-hf"
    assert command[command.index("--max-cpu-loras") + 1] == "2"
    assert command[command.index("--lora-modules") + 1 :] == ["cot-100=/a", "lema-100=/b"]
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_more_adapters_than_fit_in_memory_wait_on_disk() -> None:
    options = ServeOptions(adapters={f"cot-{step}": Path(f"/{step}") for step in range(100, 2100, 100)}, lora_rank=48)
    command = build_command(load_recipe("vllm"), LLAMA_7B, options, port=8000)
    said = dict(itertools.pairwise(command))
    assert (said["--max-loras"], said["--max-cpu-loras"], said["--max-lora-rank"]) == ("1", "8", "64")
    assert len(command[command.index("--lora-modules") + 1 :]) == 20


@pytest.mark.parametrize(
    ("model", "gpus", "tensor", "data"),
    [
        ("llama-2-7b", [Gpu("A100", 80)] * 4, "1", "4"),
        ("llama-2-70b", [Gpu("A100", 80)] * 4, "4", "1"),
        ("llama-2-70b", [Gpu("H200", 141)] * 8, "2", "4"),
        ("llama-2-7b", [Gpu("RTX 4090", 24)], "1", "1"),
    ],
    ids=["small", "as large as all", "on half of the GPUs", "one GPU"],
)
def test_the_gpus_that_one_replica_leaves_over_hold_more_of_them(
    model: str, gpus: list[Gpu], tensor: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lema_local.serving.command.gpus", lambda: gpus)
    options = ServeOptions(dtype="bfloat16")
    command = build_command(load_recipe("vllm"), resolve_model(model), options, port=8000)
    said = dict(itertools.pairwise(command))
    assert (said["--tensor-parallel-size"], said["--data-parallel-size"]) == (tensor, data)
    assert said["--dtype"] == "bfloat16"
    assert "--enforce-eager" not in command


def test_llama_cpp_serves_every_adapter_from_one_process(tmp_path: Path) -> None:
    model = resolve_model("smollm2-135m-instruct")
    adapters = {"cot-20": Path("/a.gguf"), "lema-20": Path("/b.gguf")}
    options = ServeOptions(adapters=adapters, context_length=512, log_directory=tmp_path, mark="mark")
    recipe = load_recipe("llama_cpp")
    command = build_command(recipe, model, options, port=8001)
    assert command[1:] == ["-m", "llama_cpp.server", "--config_file", str(tmp_path / "llama_cpp-8001.json")]
    file = json.loads(models_file(recipe, model, options, port=8001))
    assert (file["host"], file["port"]) == ("127.0.0.1", "8001")
    assert [(each["model_alias"], each.get("lora_path")) for each in file["models"]] == [
        ("smollm2-135m-instruct-mark", None), ("cot-20", "/a.gguf"), ("lema-20", "/b.gguf")
    ]  # fmt: skip
    assert {each["n_ctx"] for each in file["models"]} == {"512"}


def test_a_recipe_without_adapters_gets_no_adapter_options() -> None:
    assert "--enable-lora" not in build_command(load_recipe("vllm"), LLAMA_7B, ServeOptions(), port=8000)


@pytest.mark.parametrize(
    ("gpus", "size"),
    [([], 1), ([Gpu("A100", 80)] * 4, 4), ([Gpu("H200", 141)] * 4, 2)],
    ids=["no GPU", "A100-80GB", "H200"],
)
def test_a_70b_is_spread_over_as_many_gpus_as_its_weights_need(gpus: list[Gpu], size: int) -> None:
    assert tensor_parallel_size(LLAMA_70B, gpus) == size


def test_a_70b_by_its_hub_id_is_spread_as_one_by_its_name() -> None:
    reasoner = resolve_model("WizardLMTeam/WizardLM-70B-V1.0")
    assert tensor_parallel_size(reasoner, [Gpu("A100", 80)] * 4) == 4


def test_an_adapter_of_a_larger_rank_is_given_room_by_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 128, "base_model_name_or_path": "x"}))
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    seen: list[ServeOptions] = []

    @contextmanager
    def noted(_recipe: str, *, model: Model, options: ServeOptions, on_notice: object) -> Iterator[None]:
        seen.append(options)
        raise ServerError("noted")
        yield

    monkeypatch.setattr("lema_local.serving.process.serve", noted)
    profile = EndpointProfile(recipe="vllm", model="llama-2-7b", adapter=str(adapter))
    resolved = Endpoints().resolve("reasoner", profile)
    with pytest.raises(ServerError, match="noted"), open_recipe(resolved, options=ServeOptions()):
        pass
    assert (seen[0].lora_rank, list(seen[0].adapters.values())) == (128, [adapter])


def test_a_model_that_no_gpu_here_can_hold_is_refused_in_one_line() -> None:
    with pytest.raises(ServerError, match="needs 128 GiB for its weights") as refused:
        tensor_parallel_size(LLAMA_70B, [Gpu("RTX 4090", 24)])
    assert "\n" not in str(refused.value)


def test_every_model_of_the_table_resolves() -> None:
    for name in known_models():
        model = resolve_model(name)
        assert model.architecture is not None
        assert model.hub_id


def test_an_unknown_model_is_refused_with_the_nearest_right_one() -> None:
    with pytest.raises(ProfileError, match="did you mean 'llama-2-70b'"):
        resolve_model("llama2-70b")
    with pytest.raises(ProfileError, match=r"No GGUF file at nowhere\.gguf"):
        resolve_model("nowhere.gguf")


def test_a_file_that_is_no_gguf_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"no model")
    with pytest.raises(ProfileError, match="is not a GGUF file"):
        resolve_model(str(file))


def test_the_identity_of_a_model_is_its_weights_not_its_alias() -> None:
    profile = EndpointProfile(model="smollm2-135m-instruct", recipe="llama_cpp")
    base = Endpoints().resolve("student", profile).endpoint
    assert base.identity.startswith("gguf:")
    renamed = Endpoints().resolve("other", replace(profile, model=str(resolve_model(profile.model).gguf()))).endpoint
    assert renamed.identity == base.identity


@pytest.mark.parametrize(
    "file", ["model-00001-of-00002.safetensors", "pytorch_model.bin", "pytorch_model-00002-of-00002.bin"]
)
def test_a_folder_is_known_by_its_weights_of_either_form(tmp_path: Path, file: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    profile = EndpointProfile(model=str(tmp_path), recipe="vllm")
    identities = set()
    for weights in ("one", "two"):
        (tmp_path / file).write_text(weights)
        identities.add(Endpoints().resolve("student", profile).endpoint.identity)
    assert len(identities) == 2


def test_safetensors_alone_are_a_folder_s_identity_where_both_forms_are_there(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    before = resolve_model(str(tmp_path)).hf_identity
    (tmp_path / "pytorch_model.bin").write_text("the same weights")
    assert resolve_model(str(tmp_path)).hf_identity == before


def test_a_folder_without_weights_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "training_args.bin").write_text("no weights")
    with pytest.raises(ProfileError, match=r"No weights in .*pytorch_model\*\.bin") as refused:
        Endpoints().resolve("student", EndpointProfile(model=str(tmp_path), recipe="vllm"))
    assert "\n" not in str(refused.value)


def test_a_server_answers_and_is_gone_after_its_block(tmp_path: Path) -> None:
    with serve("oracle", model=None, options=ServeOptions(log_directory=tmp_path)) as server:
        with urllib.request.urlopen(f"{server.base_url}/models", timeout=5) as reply:
            assert reply.status == 200
        assert server.is_alive()
    assert not server.is_alive()


def test_several_servers_of_an_endpoint_share_its_work_and_fail_together(tmp_path: Path) -> None:
    oracle = Endpoints().resolve("oracle", EndpointProfile(model="oracle", recipe="oracle", servers=2))
    with open_recipe(oracle, options=ServeOptions(log_directory=tmp_path)) as (
        endpoint,
        servers,
    ):
        assert len(set(endpoint.base_urls)) == 2
        for url in endpoint.base_urls:
            with urllib.request.urlopen(f"{url}/models", timeout=5) as reply:
                assert reply.status == 200
        assert servers.is_alive()
        servers.servers[1].process.kill()
        servers.servers[1].process.wait()
        assert not servers.is_alive()
        assert "ended by itself" in str(servers.died())
    assert not servers.servers[0].is_alive()


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_a_server_that_was_compiled_for_another_processor_says_what_to_type(tmp_path: Path) -> None:
    with serve("oracle", model=None, options=ServeOptions(log_directory=tmp_path)) as server:
        server.process.send_signal(signal.SIGILL)
        server.process.wait()
        assert re.search(r"compiled on another machine; `make llama-server`.*\(whole output", str(server.died()))


@pytest.mark.parametrize(
    ("stopped", "kind", "said"),
    [
        (True, ServerError, r"ended by itself, code -9: .* Run the same command again to go on\.$"),
        (False, EndpointError, "^No server at this URL$"),
    ],
)
def test_work_that_a_stopped_server_ended_is_told_how_that_stopped(
    tmp_path: Path, stopped: bool, kind: type[LemaError], said: str
) -> None:
    def work() -> None:
        oracle = Endpoints().resolve("oracle", EndpointProfile(model="oracle", recipe="oracle"))
        with open_recipe(oracle, options=ServeOptions(log_directory=tmp_path)) as (_, running):
            if stopped:
                running.servers[0].process.kill()
                running.servers[0].process.wait()
            raise EndpointError("No server at this URL")

    with pytest.raises(kind, match=said):
        work()


def test_servers_side_by_side_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lema_local.serving.command.cores", lambda: 8)

    def threads(servers: int) -> list[str]:
        options = ServeOptions(servers=servers)
        command = build_command(load_recipe("llama_cpp"), Model(name="m", gguf_path=Path("m.gguf")), options, port=1)
        return [command[command.index(name) + 1] for name in ("--n_threads", "--n_threads_batch")]

    assert threads(1) == ["7", "8"]  # alone, one core stays free
    assert threads(4) == ["2", "2"]
    assert threads(16) == ["1", "1"]


def test_no_more_servers_are_started_than_cores_and_memory_hold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lema_local.serving.command.cores", lambda: 4)
    monkeypatch.setattr("lema_local.serving.command.ram_gib", lambda: 3 * 2 / 2**30)  # bytes: half of it is 3
    file = tmp_path / "m.gguf"
    file.write_bytes(b"1")
    model, llama_cpp = Model(name="m", gguf_path=file), load_recipe("llama_cpp")
    assert [servers_that_fit(asked, llama_cpp, model) for asked in (1, 2, 8)] == [1, 2, 3]
    file.write_bytes(b"more than there is")
    assert servers_that_fit(2, llama_cpp, model) == 1
    assert servers_that_fit(2, load_recipe("oracle"), None) == 2


def test_a_batch_holds_no_more_calls_than_a_quarter_of_the_memory_has_caches_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lema_local.serving.command.ram_gib", lambda: 8.0)
    shapes = Architecture(hidden_size=4096, layers=32, intermediate_size=11008, vocab_size=32000, heads=32, kv_heads=32)
    model = Model(name="m", architecture=shapes)
    fits = partial(batch_that_fits, recipe=load_recipe("llama_server"), model=model, context_length=1024)
    # Llama 2 7B: keys and values of 1,024 tokens are 32 layers x 2 x 4,096 x 2 bytes x 1,024 = half a GiB
    assert [fits(asked, servers=1) for asked in (1, 3, 4, 16)] == [1, 3, 4, 4]
    assert fits(16, servers=2) == 2
    assert fits(16, servers=16) == 1
    assert batch_that_fits(16, load_recipe("llama_server"), None, context_length=1024, servers=1) == 16


def test_an_adapter_under_a_reasoner_is_part_of_its_name_and_identity(tmp_path: Path) -> None:
    file = tmp_path / "tuned.gguf"
    profile = EndpointProfile(model="smollm2-135m-instruct", recipe="llama_cpp", adapter=str(file))
    with pytest.raises(ProfileError, match=r"^No adapter at [^\n]*tuned\.gguf"):
        Endpoints().resolve("reasoner", profile)
    file.write_bytes(b"no adapter")
    for wrong in (str(file), str(tmp_path)):
        with pytest.raises(ProfileError, match=r"^No adapter at [^\n]*: llama_cpp loads a LoRA GGUF file\.$"):
            Endpoints().resolve("reasoner", replace(profile, adapter=wrong))
    identities = set()
    for content in (b"GGUF one", b"GGUF two"):
        file.write_bytes(content)
        os.utime(file, (len(identities), len(identities)))
        endpoint = Endpoints().resolve("reasoner", profile).endpoint
        assert endpoint.model == endpoint.served_model == "smollm2-135m-instruct+tuned"
        identities.add(endpoint.identity)
    assert len(identities) == 2


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with serve("oracle", model=None, options=ServeOptions(log_directory=tmp_path)) as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
        options = ServeOptions(log_directory=tmp_path, port=port)
        with (
            pytest.raises(ServerError, match=f"Port {port} on 127.0.0.1 is taken"),
            serve("oracle", model=None, options=options),
        ):
            pass


def test_a_server_that_cannot_start_says_its_last_line_and_where_the_rest_is(tmp_path: Path) -> None:
    options = ServeOptions(log_directory=tmp_path, problems=tmp_path / "missing.jsonl")
    with pytest.raises(ServerError, match="did not start") as failed, serve("oracle", model=None, options=options):
        pass
    assert str(tmp_path) in str(failed.value)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_asked_for_a_name_that_was_made_up_for_its_server(name: str) -> None:
    recipe, options = load_recipe(name), ServeOptions(mark="5c1d")
    model = {"vllm": LLAMA_7B, "oracle": None}.get(name, Model(name="m", gguf_path=Path("m.gguf")))
    assert recipe.health == "/v1/models"
    assert options.served_model(recipe, model) in build_command(recipe, model, options, port=8000)
    assert ServeOptions().mark != ServeOptions().mark


def test_a_stranger_on_the_port_is_not_taken_for_our_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve("oracle", model=None, options=ServeOptions(log_directory=tmp_path)) as stranger:
        taken = int(stranger.base_url.split(":")[2].split("/")[0])
        monkeypatch.setattr("lema_local.serving.process.free_port", lambda host: taken)  # taken after it was found free
        with (
            pytest.raises(ServerError, match="did not start"),
            serve("oracle", model=None, options=ServeOptions(log_directory=tmp_path)),
        ):
            pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_server_is_given_no_key_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "VLLM_API_KEY", "MY_CORRECTOR", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, f"value-of-{name}")
    with serve("oracle", model=None, options=ServeOptions(log_directory=tmp_path)) as server:
        given = Path(f"/proc/{server.process.pid}/environ").read_text()
    assert [part for part in given.split("\0") if "value-of-" in part] == [
        "CUDA_VISIBLE_DEVICES=value-of-CUDA_VISIBLE_DEVICES"
    ]


def test_a_program_that_is_not_built_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lema_local.serving.command.program_path", lambda recipe: tmp_path / "llama-server")
    with (
        pytest.raises(MissingPackageError, match="make llama-server builds it"),
        serve("llama_server", model=None, options=ServeOptions()),
    ):
        pass


def test_vllm_without_its_environment_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(MissingPackageError, match="make setup-vllm"),
        serve("vllm", model=LLAMA_7B, options=ServeOptions()),
    ):
        pass


def test_a_model_without_a_gguf_cannot_be_served_by_llama_cpp() -> None:
    with pytest.raises(ProfileError, match="has no GGUF file here"):
        build_command(load_recipe("llama_cpp"), Model(name="x", hub_id="a/b"), ServeOptions(), port=1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("is_up", [True, False], ids=["it answers", "it is starting"])
def test_a_killed_lema_leaves_neither_a_server_behind_nor_what_that_started(tmp_path: Path, is_up: bool) -> None:
    fake_vllm(tmp_path, answers=is_up)
    script = textwrap.dedent("""
        import time
        from pathlib import Path
        from lema_local.serving.process import serve
        from lema_local.serving.command import ServeOptions
        from lema_local.settings.models import Model
        with serve("vllm", model=Model(name="m", hub_id="a/m"), options=ServeOptions(log_directory=Path("logs"))):
            print("up", flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        server, worker = started(tmp_path)
        if is_up:
            assert parent.stdout.readline() == "up\n"
        else:
            wait_until(lambda: keepers(parent.pid) == 1)
        parent.kill()
    try:
        wait_until(lambda: not _runs(server) and not _runs(worker))
    finally:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_would_end_a_server_is_gone_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_vllm(tmp_path)
    monkeypatch.chdir(tmp_path)
    with serve("vllm", model=LLAMA_7B, options=ServeOptions(log_directory=tmp_path)):
        assert keepers(os.getpid()) == 1
    assert keepers(os.getpid()) == 0
    ended = started(tmp_path)
    wait_until(lambda: not any(map(_runs, ended)))  # what a server started is killed with it, and ends by itself


PREFIX = """
from pathlib import Path
from lema_local.calls.endpoint import Endpoint
from lema_local.serving.command import ServeOptions
from lema_local.serving.prefix import share_prefix
from lema_local.serving.process import serve
from lema_local.settings.models import Model
with serve("vllm", model=Model(name="m", hub_id="a/m"), options=ServeOptions(log_directory=Path("logs"))) as server:
    share_prefix(Endpoint("e", server.base_url, "m", "m", "x", slots=2), "the beginning of all prompts")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("while_it", ["starts", "reads what all prompts begin with"])
def test_ctrl_c_does_not_wait_for_a_server_that(while_it: str, tmp_path: Path) -> None:
    is_up = while_it != "starts"
    fake_vllm(tmp_path, answers=is_up)
    command = lema_command("serve", "vllm", "--model", "a/m", "--port", str(free_port("127.0.0.1")))
    if is_up:
        command = [sys.executable, "-c", PREFIX]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        started_ = started(tmp_path)
        wait_until(lambda: (tmp_path / "asked").exists() if is_up else keepers(process.pid) == 1)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=30)  # the server would take two minutes
        finally:
            process.kill()
    assert said.rstrip().endswith("KeyboardInterrupt" if is_up else "run the same command again to go on.")
    assert is_up or "Traceback" not in said
    wait_until(lambda: not any(map(_runs, started_)))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_worker_that_will_not_stop_does_not_outlive_its_server(tmp_path: Path) -> None:
    worker = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    code = textwrap.dedent(f"""
        import subprocess, sys, time
        worker = subprocess.Popen([sys.executable, "-c", {worker!r}], stdout=subprocess.PIPE)
        worker.stdout.readline()
        print(worker.pid, flush=True)
        time.sleep(60)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    _stop(process)
    process.stdout.close()
    wait_until(lambda: not _runs(child))


STOPS = """
import time
from pathlib import Path
from lema_local.serving import process
from lema_local.serving.command import ServeOptions
from lema_local.settings.models import Model
process.STOP_PATIENCE_S = 120
with process.serve("vllm", model=Model(name="m", hub_id="a/m"), options=ServeOptions(log_directory=Path("logs"))):
    print("up", flush=True)
    time.sleep(120)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["a second Ctrl-C", "kill -9"])
def test_a_lema_that_ends_while_it_stops_a_server_leaves_nothing_of_it_behind(tmp_path: Path, end: int) -> None:
    fake_vllm(tmp_path)
    program = tmp_path / ".venv-vllm" / "bin" / "python"
    goes_on = 'signal.signal(signal.SIGTERM, lambda *_: open("told", "w").close())\nworker = '
    program.write_text(program.read_text().replace("worker = ", goes_on, 1))
    with subprocess.Popen([sys.executable, "-c", STOPS], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as lema:
        assert lema.stdout is not None
        server, worker = started(tmp_path)
        try:
            assert lema.stdout.readline() == "up\n"
            lema.send_signal(signal.SIGINT)
            wait_until((tmp_path / "told").exists)
            lema.send_signal(end)
            lema.wait(timeout=60)
            wait_until(lambda: not _runs(server) and not _runs(worker))
        finally:
            lema.kill()
            with suppress(ProcessLookupError):
                os.killpg(server, signal.SIGKILL)


def keepers(parent: int) -> int:
    """How many processes of keeper.py a process has."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sum(b"lema-keeper" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_client_is_loaded_before_the_event_loop_where_ctrl_c_would_wait_for_it() -> None:
    code = textwrap.dedent("""
        import sys
        from lema_local.settings.endpoints import EndpointProfile
        from lema_local.serving.endpoints import Endpoints
        from lema_local.serving.process import open_endpoint
        from lema_local.serving.command import ServeOptions
        profile = EndpointProfile(model="m", base_url="http://127.0.0.1:9/v1")
        with open_endpoint(Endpoints().resolve("corrector", profile), options=ServeOptions()):
            print("openai" in sys.modules)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_free_port_is_free() -> None:
    assert 1024 < free_port("127.0.0.1") < 65536
