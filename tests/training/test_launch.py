"""The launch lines, read by the launchers' own parsers; and what accelerate makes of the one for sharding."""

import dataclasses
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from needs import needs
from training_runs import SETTINGS, run

from lema_local.errors import TrainingError
from lema_local.settings.profiles import Overrides, load_profile
from lema_local.training.base import BaseModel
from lema_local.training.launch import LISTED_GPUS, Strategy, began_as, refuse_other_sharding
from lema_local.training.metrics import recorded
from lema_local.training.plan import launch_arguments
from lema_local.training.run import _as_module

pytestmark = needs("accelerate")

SHARDED_CONFIG = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
fsdp_config:
  fsdp_version: 2
mixed_precision: bf16
num_machines: 2
machine_rank: 1
num_processes: 16
main_process_ip: 10.0.0.1
main_process_port: 29500
"""


def read_by_accelerate(arguments: list[str]) -> Any:
    """The launcher's arguments with its configuration file in them."""
    from accelerate.commands import launch

    assert arguments[:2] == ["accelerate", "launch"]
    arguments, _, _ = launch._validate_launch_command(launch.launch_command_parser().parse_args(arguments[2:]))
    return arguments


def test_several_processes_on_a_cpu_are_torchruns() -> None:
    launcher = pytest.importorskip("torch.distributed.run")
    arguments = launch_arguments("runs/a b/job.json", strategy="cpu", num_processes=2)
    assert arguments[0] == "torchrun"
    parsed = launcher.get_args_parser().parse_args(arguments[1:])
    assert (parsed.nproc_per_node, parsed.standalone, parsed.module) == ("2", True, True)
    assert parsed.training_script == "lema_local.training.run"
    assert parsed.training_script_args == ["--job", "runs/a b/job.json"]


@pytest.mark.parametrize(("kind", "name"), [("DEEPSPEED", "DeepSpeed"), ("MEGATRON_LM", "Megatron-LM")])
def test_an_engine_with_steps_of_its_own_is_refused_before_anything_is_loaded(
    kind: str, name: str, tmp_path: Path, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "true")
    with pytest.raises(TrainingError, match=f"{name} would take a step for each micro-batch"):
        run(base, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_was_planned_for_gpus_that_torch_cannot_use_is_not_trained_on_the_cpu(
    tmp_path: Path, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv(LISTED_GPUS, "4")
    with pytest.raises(TrainingError, match="nvidia-smi lists 4 GPUs, and this torch cannot use them"):
        run(base, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("files", "began"), [((), None), (("optimizer.pt",), "ddp"), (("optimizer.bin", "pytorch_model_fsdp.bin"), "fsdp")]
)
def test_a_run_goes_on_by_the_strategy_that_it_began_by(
    files: tuple[str, ...], began: Strategy | None, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "step-000020"
    checkpoint.mkdir()
    for name in ("adapter_model.safetensors", *files):
        (checkpoint / name).touch()
    assert began_as(tmp_path) == began
    if began is not None:
        refuse_other_sharding(checkpoint, is_sharded=began == "fsdp")
        with pytest.raises(TrainingError, match="goes on only so"):
            refuse_other_sharding(checkpoint, is_sharded=began != "fsdp")


def test_the_users_accelerate_file_is_not_overridden(tmp_path: Path) -> None:
    file = tmp_path / "two nodes.yaml"
    file.write_text(SHARDED_CONFIG)
    parsed = read_by_accelerate(launch_arguments("job.json", strategy="ddp", num_processes=4, config=str(file)))
    assert (parsed.num_machines, parsed.machine_rank, parsed.num_processes) == (2, 1, 16)
    assert (parsed.use_fsdp, parsed.multi_gpu, parsed.fsdp_version) == (True, False, 2)
    assert (parsed.mixed_precision, parsed.main_process_ip) == ("bf16", "10.0.0.1")
    assert (parsed.module, parsed.training_script) == (True, "lema_local.training.run")


def test_the_sharding_line_is_what_accelerate_shards_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """From our line to the plugin that FSDP is made from; what only GPUs can run begins after it."""
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    parsed = read_by_accelerate(launch_arguments("job.json", strategy="fsdp", num_processes=4))
    for name, value in prepare_multi_gpu_env(parsed).items():
        if name.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(name, value)
    assert os.environ["ACCELERATE_USE_FSDP"] == os.environ["FSDP_SYNC_MODULE_STATES"] == "true"
    monkeypatch.setenv("FSDP_SYNC_MODULE_STATES", "false")  # asks for a GPU at once
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "false")  # which needs the former
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 1
    assert plugin.sharding_strategy.name == "FULL_SHARD"
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert plugin.use_orig_params is False


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["accelerate", "launch", "--cpu", "--module", "m"], ["accelerate.commands.launch", "--cpu", "--module", "m"]),
        (["torchrun", "--standalone", "--module", "m"], ["torch.distributed.run", "--standalone", "--module", "m"]),
    ],
    ids=["accelerate", "torchrun"],
)
def test_launchers_are_modules_of_this_environment(arguments: list[str], module: list[str]) -> None:
    assert _as_module(arguments) == module


def test_processes_and_the_accelerate_file_are_options_and_no_other_run() -> None:
    plain = load_profile("laptop", environment={}).training
    given = load_profile("laptop", Overrides(processes=2, accelerate_config="a.yaml"), environment={}).training
    assert given == dataclasses.replace(plain, processes=2, accelerate_config="a.yaml")
    assert given.identity == plain.identity


def test_what_a_launcher_says_of_precision_and_devices_does_not_change_a_run(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """accelerate's launcher sets a variable; several GPUs in one process would share its batch."""
    import transformers

    settings = replace(SETTINGS, compute_dtype="float32", max_steps=2)
    run(base, tmp_path / "plain", settings)
    post_init = transformers.TrainingArguments.__post_init__

    def on_four_gpus(arguments: Any) -> None:
        post_init(arguments)
        arguments._n_gpu = 4

    monkeypatch.setattr(transformers.TrainingArguments, "__post_init__", on_four_gpus)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    run(base, tmp_path / "launched", settings)
    plain, launched = ([step.loss for step in recorded(tmp_path / name)] for name in ("plain", "launched"))
    assert plain == launched
