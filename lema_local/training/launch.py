"""The command that starts a training run, as `lema train` runs it and the dry run prints it.

python -m lema_local.training.run --job J                                            one process
accelerate launch --multi_gpu --num_processes 4 --mixed_precision bf16 ... --module lema_local.training.run --job J
"""

from typing import Literal

Strategy = Literal["cpu", "single", "ddp", "fsdp"]
PYTHON = "python"  # the command's first word where no launcher is needed


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
