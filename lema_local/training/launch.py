"""The command that starts a training run, as `lema train` runs it and the dry run prints it.

python -m lema_local.training.run --job J                                            one process
accelerate launch --multi_gpu --num_processes 4 --mixed_precision bf16 ... --module lema_local.training.run --job J
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from lema_local.errors import TrainingError

Strategy = Literal["cpu", "single", "ddp", "fsdp"]
PYTHON = "python"  # the command's first word where no launcher is needed
LISTED_GPUS = "LEMA_TRAINING_GPUS"  # that the run was planned for
_SHARDED_STATE = "pytorch_model_fsdp*"  # that transformers writes of FSDP, and of nothing else


def launch_arguments(
    job: str, *, strategy: Strategy, num_processes: int, config: str = "", in_float32: bool = False
) -> list[str]:
    """The command that trains `job` (the path of a job file, training/job.py): one process is plain Python, several
    have a launcher.

    With `config`, a file that `accelerate config` wrote, nothing else is said: the file decides.
    """
    module = ["lema_local.training.run", "--job", job]
    if config:
        return ["accelerate", "launch", "--config_file", config, "--module", *module]
    if num_processes == 1:
        return [PYTHON, "-m", *module]
    if strategy == "cpu":
        # accelerate launch starts several processes on CPUs through MPI only; under torchrun it finds them with gloo
        return ["torchrun", "--standalone", "--nproc_per_node", str(num_processes), "--module", *module]
    processes = ["--num_processes", str(num_processes), "--mixed_precision", "no" if in_float32 else "bf16"]
    # num_machines and dynamo_backend are accelerate's own defaults: unsaid, it prints a warning.
    common = [*processes, "--num_machines", "1", "--dynamo_backend", "no", "--module", *module]
    if strategy == "fsdp":
        # QLoRA under FSDP: one flat dtype (bnb_4bit_quant_storage), LoRA and frozen weights wrapped apart, and a full
        # state dict, so that the adapter is written as one file.
        sharding = {
            "--fsdp_version": "1",
            "--fsdp_sharding_strategy": "FULL_SHARD",
            "--fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "--fsdp_state_dict_type": "FULL_STATE_DICT",
            "--fsdp_use_orig_params": "false",
            "--fsdp_cpu_ram_efficient_loading": "true",
            "--fsdp_sync_module_states": "true",
        }
        flags = [word for pair in sharding.items() for word in pair]
        return ["accelerate", "launch", "--use_fsdp", *flags, *common]
    return ["accelerate", "launch", "--multi_gpu", *common]


def began_as(directory: Path) -> Strategy | None:
    """How a run with checkpoints to go on from was started, where that binds it: sharded (fsdp), or whole in each
    process (ddp). None where it can begin either way."""
    states = list(directory.glob("step-*/optimizer*"))
    if not states:
        return None
    return "fsdp" if any(was_sharded(state.parent) for state in states) else "ddp"


def was_sharded(checkpoint: Path) -> bool:
    """Whether a checkpoint goes on under FSDP alone."""
    return any(checkpoint.glob(_SHARDED_STATE))


def refuse_other_sharding(checkpoint: Path, *, is_sharded: bool) -> None:
    """transformers takes no state of the one kind for the other. Raises TrainingError, one line."""
    if was_sharded(checkpoint) != is_sharded:
        how = ("whole on each GPU", "sharded over several GPUs (FSDP)")[was_sharded(checkpoint)]
        raise TrainingError(
            f"{checkpoint.parent} was begun with the model {how}, and goes on only so: give it such GPUs, and the "
            "--accelerate-config that it had, or move the folder away to begin anew."
        )


def refuse_engines(environment: Mapping[str, str]) -> None:
    """Refuse what takes an optimizer step of its own for each micro-batch. Raises TrainingError, one line."""
    for name, variable in (("DeepSpeed", "ACCELERATE_USE_DEEPSPEED"), ("Megatron-LM", "ACCELERATE_USE_MEGATRON_LM")):
        if environment.get(variable, "").lower() in ("true", "1", "yes"):
            raise TrainingError(
                f"{name} would take a step for each micro-batch, which is no training by these settings: choose "
                "MULTI_GPU or FSDP in `accelerate config`, or leave --accelerate-config out."
            )


def refuse_unusable_gpus(environment: Mapping[str, str], *, has_cuda: bool) -> None:
    """Refuse to train on the CPU what was planned for GPUs (LISTED_GPUS). Raises TrainingError, one line."""
    listed = environment.get(LISTED_GPUS, "0")
    if listed != "0" and not has_cuda:
        raise TrainingError(
            f"nvidia-smi lists {listed} GPUs, and this torch cannot use them: install its CUDA build for this driver "
            "(https://pytorch.org/get-started), or set CUDA_VISIBLE_DEVICES= to train on the CPU."
        )
