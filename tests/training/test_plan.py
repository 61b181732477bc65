"""The plan of a training run, its memory estimate, and the settings' checks. No torch."""

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lema_local.errors import TrainingError
from lema_local.settings.architecture import Architecture
from lema_local.settings.profiles import load_profile
from lema_local.settings.training import Attention, TrainingSettings
from lema_local.stages.plan import arm_sizes
from lema_local.training.launch import launch_arguments
from lema_local.training.matching import ArmSize
from lema_local.training.memory import GIB, memory_parts
from lema_local.training.model import attention_implementation
from lema_local.training.plan import fit, plan

LLAMA_2_70B = Architecture(hidden_size=8192, layers=80, intermediate_size=28672, vocab_size=32000, heads=64, kv_heads=8)
LLAMA_2_7B = Architecture(hidden_size=4096, layers=32, intermediate_size=11008, vocab_size=32000, heads=32, kv_heads=32)
SMOLLM2_135M = Architecture(
    hidden_size=576,
    layers=30,
    intermediate_size=1536,
    vocab_size=49152,
    heads=9,
    kv_heads=3,
    is_tied=True,
)
PAPER = TrainingSettings()
GSM8K = {"cot": ArmSize(32421), "lema": ArmSize(44944)}


def planned(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": "llama-2-70b",
        "dataset": "gsm8k",
        "arms": GSM8K,
        "settings": PAPER,
        "architecture": LLAMA_2_70B,
        "num_gpus": 4,
        "memory_gib": 80.0,
    }
    return plan(**{**arguments, **changes})


def test_a_plan_has_the_documented_fields() -> None:
    assert list(planned())[:19] == [
        *("model", "dataset", "arms", "max_steps", "save_steps", "global_batch_size", "per_device_batch_size"),
        *("gradient_accumulation_steps", "num_gpus", "learning_rate", "lora", "quantization", "source_max_length"),
        *("target_max_length", "epochs", "memory_per_gpu_gib", "fits", "strategy", "launch"),
    ]


def test_the_defaults_are_the_papers() -> None:
    fields = planned(settings=replace(PAPER, learning_rate=1e-4))
    assert fields["lora"]["r"] == 64
    assert fields["lora"]["alpha"] == 16
    assert fields["lora"]["dropout"] == 0.05
    assert "lm_head" not in fields["lora"]["target_modules"]
    assert len(fields["lora"]["target_modules"]) == 7
    assert fields["quantization"] == {"type": "nf4", "double": True}
    assert (fields["max_steps"], fields["save_steps"], fields["global_batch_size"]) == (2000, 100, 96)
    assert fields["gradient_accumulation_steps"] == 4
    assert fields["epochs"] == {"cot": 5.92, "lema": 4.27}


def test_a_run_goes_on_by_the_strategy_that_it_began_by_though_another_fits() -> None:
    now = {"num_gpus": 4, "memory_gib": 80.0}
    assert fit(LLAMA_2_70B, PAPER, **now).strategy == "ddp"
    sharded = fit(LLAMA_2_70B, PAPER, began="fsdp", **now)
    assert (sharded.strategy, sharded.fits) == ("fsdp", True)
    less = {"num_gpus": 4, "memory_gib": 40.0}
    assert fit(LLAMA_2_70B, PAPER, **less).strategy == "fsdp"
    whole = fit(LLAMA_2_70B, PAPER, began="ddp", **less)
    assert (whole.strategy, whole.fits) == ("ddp", False)
    assert fit(LLAMA_2_7B, PAPER, num_gpus=1, memory_gib=80.0, began="ddp").strategy == "single"


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [(LLAMA_2_7B, 6_738_415_616), (LLAMA_2_70B, 68_976_648_192), (SMOLLM2_135M, 134_515_008)],
    ids=["llama-2-7b", "llama-2-70b", "smollm2-135m"],
)
def test_shapes_give_the_published_parameters(architecture: Architecture, parameters: int) -> None:
    assert architecture.linear_parameters + architecture.other_parameters == parameters


def test_lora_parameters_are_those_that_peft_trains() -> None:
    # 19,537,920 float32 values: the adapter_model.safetensors of SmolLM2-135M at r = 64 has 78.2 MB
    assert SMOLLM2_135M.lora_parameters(64) == 19_537_920
    # adapter_model.bin of a published Llama-2-7B QLoRA at r = 64 has 160 million parameters
    assert LLAMA_2_7B.lora_parameters(64) == 159_907_840


@pytest.mark.parametrize(
    ("num_gpus", "memory_gib", "fits", "strategy"),
    [
        (1, 24, False, "single"),
        (1, 80, True, "single"),
        (4, 80, True, "ddp"),
        (4, 40, True, "fsdp"),
        (2, 16, False, "fsdp"),
    ],
    ids=["1x24", "1x80", "4x80", "4x40", "2x16"],
)
def test_seventy_billion_parameters_need_their_memory(
    num_gpus: int, memory_gib: float, fits: bool, strategy: str
) -> None:
    fields = planned(num_gpus=num_gpus, memory_gib=memory_gib)
    assert (fields["fits"], fields["strategy"]) == (fits, strategy)


def test_nf4_weights_take_half_a_byte_and_a_little() -> None:
    parts = memory_parts(LLAMA_2_70B, PAPER, strategy="single", num_gpus=1)
    bits = 8 * (parts["weights"] * GIB - LLAMA_2_70B.other_parameters * 2) / LLAMA_2_70B.linear_parameters
    assert bits == pytest.approx(4.127, abs=1e-3)


def test_a_cpu_run_is_planned_in_float32() -> None:
    settings = replace(PAPER, global_batch_size=8, per_device_batch_size=2)
    fields = planned(architecture=SMOLLM2_135M, settings=settings, num_gpus=0, memory_gib=16.0)
    assert fields["strategy"] == "cpu"
    assert fields["gradient_accumulation_steps"] == 4


@pytest.mark.parametrize("num_gpus", [0, 1], ids=["CPU", "one GPU"])
def test_one_process_is_launched_without_a_launcher(num_gpus: int) -> None:
    fields = planned(architecture=SMOLLM2_135M, num_gpus=num_gpus)
    assert fields["launch"] == "python -m lema_local.training.run --job RUN/job.json"


def test_epochs_of_an_unknown_size_are_null() -> None:
    assert planned(arms={"cot": ArmSize(0)})["epochs"] == {"cot": None}


def test_a_sharded_model_that_is_trained_whole_is_saved_as_fsdps_own_too() -> None:
    full = TrainingSettings(method="full", quantization="none", global_batch_size=128, per_device_batch_size=8)
    plain, sharded = (
        planned(architecture=LLAMA_2_7B, settings=full, num_gpus=num_gpus, memory_gib=memory_gib)
        for num_gpus, memory_gib in ((1, 640.0), (4, 80.0))
    )
    assert (plain["strategy"], sharded["strategy"]) == ("single", "fsdp")
    assert sharded["checkpoint_disk_gib"]["state"] == pytest.approx(1.5 * plain["checkpoint_disk_gib"]["state"], 1e-3)


@pytest.mark.parametrize(
    ("wanted", "is_nf4", "is_flash"), [("auto", True, True), ("auto", False, False), ("sdpa", True, False)]
)
def test_flash_attention_is_chosen_for_an_nf4_base_alone(
    monkeypatch: pytest.MonkeyPatch, wanted: Attention, is_nf4: bool, is_flash: bool
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())  # as where flash-attn is installed
    chosen = attention_implementation(wanted, on_cuda=True, is_nf4=is_nf4)
    assert (chosen == "flash_attention_2") is is_flash


def test_each_seed_takes_its_disk() -> None:
    one, five = (planned(settings=replace(PAPER, seeds=seeds)) for seeds in (1, 5))
    for part in ("weights", "state"):
        assert five["checkpoint_disk_gib"][part] == pytest.approx(5 * one["checkpoint_disk_gib"][part], abs=0.05)
    assert five["checkpoint_disk_gib"]["one_checkpoint"] == one["checkpoint_disk_gib"]["one_checkpoint"]
    assert five["runs"] == one["runs"]


def test_the_checkpoint_that_match_beside_saves_is_counted() -> None:
    sizes = {"cot": ArmSize(100, 10_000), "lema": ArmSize(100, 16_000)}
    plain = planned(arms=sizes)
    beside = planned(arms=sizes, settings=replace(PAPER, match_beside="tokens"))
    counts = [{arm: run["checkpoints"] for arm, run in fields["runs"].items()} for fields in (plain, beside)]
    assert counts == [{"cot": 20, "lema": 20}, {"cot": 20, "lema": 21}]  # at step 1,250, beside each 100
    assert beside["checkpoint_disk_gib"]["weights"] > plain["checkpoint_disk_gib"]["weights"]


def test_match_beside_leaves_the_steps_of_a_match_whose_sizes_are_known() -> None:
    sizes = {"cot": ArmSize(100), "lema": ArmSize(150)}
    fields = planned(arms=sizes, settings=replace(PAPER, match="epochs", match_beside="tokens"))
    assert fields["runs"]["lema"]["max_steps"] == 3000


def test_several_gpus_are_launched_by_accelerate() -> None:
    launch = shlex.split(planned(job="runs/a b/job.json")["launch"])
    assert launch[:5] == ["accelerate", "launch", "--multi_gpu", "--num_processes", "4"]
    assert launch[-4:] == ["--module", "lema_local.training.run", "--job", "runs/a b/job.json"]
    assert "--use_fsdp" in launch_arguments("job.json", strategy="fsdp", num_processes=4)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_accelerate_understands_the_launch_line(strategy: Any) -> None:
    launcher = pytest.importorskip("accelerate.commands.launch")
    arguments = launch_arguments("runs/9f/job.json", strategy=strategy, num_processes=4)
    parsed = launcher.launch_command_parser().parse_args(arguments[2:])
    assert (parsed.module, parsed.training_script) == (True, "lema_local.training.run")
    assert parsed.training_script_args == ["--job", "runs/9f/job.json"]
    assert parsed.num_processes == 4
    assert parsed.use_fsdp == (strategy == "fsdp")


def test_a_batch_that_gpus_cannot_share_is_refused() -> None:
    with pytest.raises(TrainingError, match="no multiple of 6 per device x 5"):
        planned(num_gpus=5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_steps", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("lora_dropout", 1.0),
        ("adam_beta2", 1.0),
        ("target_max_length", 1),
        ("weight_decay", -0.1),
        ("warmup_steps", 5),
    ],
)
def test_settings_without_sense_are_refused(field: str, value: float) -> None:
    with pytest.raises(TrainingError, match=f"training.{field}"):
        replace(PAPER, **{field: value})


def test_the_last_of_several_seeds_must_fit_its_column_too() -> None:
    assert replace(PAPER, seed=2**31 - 2, seeds=2).seeds == 2
    with pytest.raises(TrainingError, match="seeds end at 2147483648"):
        replace(PAPER, seed=2**31 - 2, seeds=3)


def test_settings_added_later_leave_the_ids_of_recorded_runs() -> None:
    first = {
        *("learning_rate", "global_batch_size", "lora_r", "lora_alpha", "lora_dropout"),
        *("weight_decay", "adam_beta2", "max_grad_norm", "warmup_steps", "schedule", "source_max_length", "seed"),
        *("target_max_length", "quantization", "double_quantization", "compute_dtype", "group_by_length"),
    }
    assert set(PAPER.identity) == first
    faster = replace(PAPER, attention="eager", match="tokens", packing=True, processes=2, accelerate_config="a.yaml")
    assert set(faster.identity) == first
    linear = replace(PAPER, schedule="linear", save_at=(10,))  # where the length decides on the learning rate
    assert set(linear.identity) == first | {"max_steps", "save_steps", "save_at"}
    full = replace(PAPER, method="full", quantization="none", truncate=True)
    assert set(full.identity) == first | {"method", "truncate"}


def test_processes_that_a_cpu_run_is_given_are_in_its_arithmetic() -> None:
    found = planned(settings=replace(PAPER, processes=4, per_device_batch_size=6), num_gpus=0, memory_gib=4000.0)
    assert (found["processes"], found["gradient_accumulation_steps"]) == (4, 4)
    assert found["per_device_batch_size"] * found["processes"] * 4 == found["global_batch_size"]


def test_full_fine_tuning_of_packed_weights_is_refused() -> None:
    with pytest.raises(TrainingError, match='quantization = "none"'):
        replace(PAPER, method="full")


def test_the_last_step_is_always_saved() -> None:
    assert replace(PAPER, max_steps=250).checkpoint_steps == (100, 200, 250)
    assert replace(PAPER, max_steps=200).checkpoint_steps == (100, 200)
    assert replace(PAPER, max_steps=3, save_steps=20).checkpoint_steps == (3,)
    assert replace(PAPER, max_steps=250, save_at=(30, 250, 400)).checkpoint_steps == (30, 100, 200, 250)


def test_planning_imports_no_torch() -> None:
    code = "import sys, lema_local.stages.plan, lema_local.training.job; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_plan_of_arms_whose_sizes_the_paper_does_not_give_says_so(tmp_path: Path) -> None:
    profile = load_profile("a100", environment={})
    paper, _ = arm_sizes(profile, tmp_path / "none.duckdb")
    assert paper["cot"].examples == 32_421
    more = replace(profile, build=replace(profile.build, arms=("cot", "cot-expanded")))
    sizes, origin = arm_sizes(more, tmp_path / "none.duckdb")
    assert sizes == {"cot": ArmSize(0), "cot-expanded": ArmSize(0)}
    assert "not known" in origin


def test_a_plan_for_fewer_processes_than_gpus_counts_the_gpus_that_train() -> None:
    one, two = (planned(settings=replace(PAPER, processes=count), memory_gib=24.0) for count in (1, 2))
    assert (one["strategy"], one["fits"]) == ("single", False)
    assert two["memory_per_gpu_gib"] == planned(settings=PAPER, num_gpus=2, memory_gib=24.0)["memory_per_gpu_gib"]
    with pytest.raises(TrainingError, match="processes is 8, and there are 4 GPUs"):
        planned(settings=replace(PAPER, processes=8))


def test_several_gpus_launch_in_the_dtype_that_the_settings_say() -> None:
    assert "--mixed_precision no" in planned(settings=replace(PAPER, compute_dtype="float32"))["launch"]
    assert "--mixed_precision bf16" in planned()["launch"]


def test_a_negative_seed_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(TrainingError, match=r"training\.seed is -1: give 0 or more"):
        replace(PAPER, seed=-1)
