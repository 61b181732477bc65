"""Two gloo processes on the CPU, by the path that a user takes: the run of one process with twice the accumulation."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT
from needs import needs

from lema_local.errors import TrainingError
from lema_local.settings.training import TrainingSettings
from lema_local.training.base import BaseModel
from lema_local.training.checkpoints import find_checkpoints
from lema_local.training.job import Job, run_job

pytestmark = [needs("torch", "peft", "bitsandbytes"), pytest.mark.usefixtures("quick_python")]

# Outputs of 5 to 60 tokens: micro-batches of unequal weight, on which a mean of means would go wrong.
EXAMPLES = tuple(
    (f"Question: {a} + {b}\nAnswer:\n", f"The answer is {a + b}." + " Good." * (a * b % 5) * 3)
    for a in range(4)
    for b in range(5)
)
SETTINGS = TrainingSettings(
    learning_rate=1e-2,
    max_steps=4,
    save_steps=2,
    global_batch_size=8,
    per_device_batch_size=2,
    lora_r=4,
    lora_dropout=0.0,
    source_max_length=64,
    target_max_length=128,
    gradient_checkpointing=False,
    quantization="none",
    seed=7,
)
WITH_DROPOUT = replace(SETTINGS, lora_dropout=0.3)
# accelerate's own shape of a file for one process on the CPU
ACCELERATE_FILE = """
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
mixed_precision: 'no'
num_machines: 1
num_processes: 1
use_cpu: true
"""


def job_of(base: BaseModel, directory: Path, settings: TrainingSettings = SETTINGS) -> Job:
    return Job(examples=EXAMPLES, base=base, settings=settings, directory=directory)


def losses_of(job: Job) -> list[float]:
    losses: list[float] = []
    run_job(
        job, num_gpus=0, on_event=lambda event: losses.append(event["loss"]) if event["event"] == "progress" else None
    )
    return losses


def weights(directory: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(find_checkpoints(directory)[-1].path / "adapter_model.safetensors")


def assert_same_weights(one: Path, other: Path, tolerance: float) -> None:
    import numpy

    theirs = weights(other)
    assert weights(one).keys() == theirs.keys()
    for name, tensor in weights(one).items():
        numpy.testing.assert_allclose(tensor, theirs[name], atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def one(quick_python: None, base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    directory = tmp_path_factory.mktemp("one")
    return directory, losses_of(job_of(base, directory))


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_two_processes_train_as_one_with_twice_the_accumulation(
    base: BaseModel, one: tuple[Path, list[float]], tmp_path: Path, packing: bool
) -> None:
    directory, losses = one
    assert losses_of(job_of(base, tmp_path, replace(SETTINGS, processes=2, packing=packing))) == pytest.approx(
        losses, abs=1e-5
    )
    assert_same_weights(tmp_path, directory, 1e-5)
    assert find_checkpoints(tmp_path)[-1].tokens_seen == find_checkpoints(directory)[-1].tokens_seen


def test_two_processes_go_on_as_if_they_had_not_stopped(base: BaseModel, tmp_path: Path) -> None:
    """With dropout: each process finds its own random state again."""
    settings = replace(WITH_DROPOUT, processes=2)
    losses = losses_of(job_of(base, tmp_path / "whole", settings))

    def stop(event: dict[str, Any]) -> None:
        if event.get("step") == 3:
            raise KeyboardInterrupt

    job = job_of(base, tmp_path / "stopped", settings)
    with pytest.raises(KeyboardInterrupt):
        run_job(job, num_gpus=0, on_event=stop)
    assert [saved.step for saved in find_checkpoints(job.directory)] == [2]
    assert losses_of(job) == pytest.approx(losses[2:], abs=1e-6)
    assert_same_weights(job.directory, tmp_path / "whole", 1e-6)


def test_what_stops_one_of_two_processes_is_one_line(base: BaseModel, tmp_path: Path) -> None:
    job = job_of(replace(base, path=tmp_path / "nowhere"), tmp_path, replace(SETTINGS, processes=2))
    with pytest.raises(TrainingError, match=r"^No model in .*nowhere[^\n]*$"):
        losses_of(job)


def test_the_users_accelerate_file_decides(base: BaseModel, one: tuple[Path, list[float]], tmp_path: Path) -> None:
    file = tmp_path / "accelerate.yaml"
    file.write_text(ACCELERATE_FILE)
    settings = replace(SETTINGS, processes=2, accelerate_config=str(file))  # the file says one process
    assert losses_of(job_of(base, tmp_path / "run", settings)) == pytest.approx(one[1], abs=1e-6)
    assert not (find_checkpoints(tmp_path / "run")[-1].path / "rng_state_1.pth").exists()


def test_an_accelerate_file_that_is_not_there_is_named(base: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"`accelerate config --config_file nowhere\.yaml` makes one"):
        losses_of(job_of(base, tmp_path, replace(SETTINGS, accelerate_config="nowhere.yaml")))


def start_two(worker: str, *arguments: str, **environment: str) -> None:
    """A script of this directory in two processes under torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *launcher, str(ROOT / "tests" / "helpers" / worker), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr


def test_the_whole_gradient_is_clipped_and_dropout_is_each_process_own(base: BaseModel, tmp_path: Path) -> None:
    job, out = job_of(base, tmp_path, WITH_DROPOUT).write(), tmp_path / "seen"
    start_two("ddp_worker.py", str(job), str(out))
    seen = [json.loads(Path(f"{out}.{rank}.json").read_text()) for rank in range(2)]
    for each in seen:
        assert min(each["norms"]) > SETTINGS.max_grad_norm  # else nothing would be clipped here
        assert each["clipped"] == pytest.approx([SETTINGS.max_grad_norm] * 4, rel=1e-4)
    assert seen[0]["gradients"] == seen[1]["gradients"]
    assert seen[0]["dropout"] != seen[1]["dropout"]


def test_a_sharded_nf4_model_has_the_gradient_of_a_whole_one(base: BaseModel, tmp_path: Path) -> None:
    """FSDP-QLoRA as far as a CPU goes: packed weights in float32's clothes, sharded, and gathered for each layer."""
    start_two("fsdp_worker.py", str(base.path), str(tmp_path / "seen.json"), ACCELERATE_USE_FSDP="true")
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["dtypes"] == ["torch.float32"]
    assert seen["compared"] == 2 * 7 * 2  # two layers, seven linear modules, A and B
    assert seen["worst"] < 1e-6 < seen["largest"]
