"""method = "full": all weights train, a checkpoint is a model that loads by itself, and goes on like any other."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from needs import needs
from training_runs import EXAMPLES, SETTINGS, run

from lema_local.errors import TrainingError
from lema_local.records.store import Writer
from lema_local.settings.profiles import load_profile
from lema_local.stages.run import Run
from lema_local.stages.train import train
from lema_local.training.base import BaseModel
from lema_local.training.checkpoints import SavedCheckpoint, find_checkpoints, has_adapter, refuse_damaged
from lema_local.training.metrics import StepProgress

pytestmark = needs("torch", "transformers")

FULL = replace(SETTINGS, method="full", quantization="none", learning_rate=1e-3, gradient_checkpointing=True)


class Stopped(BaseException):
    """Like KeyboardInterrupt, but pytest does not take it for its own."""


@pytest.fixture(scope="module")
def whole(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> list[SavedCheckpoint]:
    return run(base, tmp_path_factory.mktemp("full"), FULL)


def weights(directory: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(directory / "model.safetensors")


def test_every_weight_trains(base: BaseModel, whole: list[SavedCheckpoint]) -> None:
    assert base.path is not None
    before, after = weights(base.path), weights(whole[-1].path)
    assert before.keys() == after.keys()
    assert [name for name in before if (before[name] == after[name]).all()] == []
    assert whole[-1].loss < whole[0].loss


def test_a_checkpoint_is_a_model_that_loads_by_itself(whole: list[SavedCheckpoint]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for saved in whole:
        model = AutoModelForCausalLM.from_pretrained(saved.path)
        ids = AutoTokenizer.from_pretrained(saved.path)(EXAMPLES[0][0], return_tensors="pt").input_ids
        assert model(ids).logits.shape[:2] == ids.shape
        assert not list(saved.path.glob("adapter*"))
        assert has_adapter(saved.path)
        refuse_damaged(saved.path)


def test_it_goes_on_as_if_it_had_not_stopped(base: BaseModel, whole: list[SavedCheckpoint], tmp_path: Path) -> None:
    def stop(progress: StepProgress) -> None:
        if progress.step == 3:
            raise Stopped

    with pytest.raises(Stopped):
        run(base, tmp_path, FULL, on_progress=stop)
    resumed = run(base, tmp_path, FULL)
    for name, tensor in weights(whole[-1].path).items():
        assert abs(tensor - weights(resumed[-1].path)[name]).max() < 1e-6, name


def test_a_model_without_its_weights_is_no_checkpoint(whole: list[SavedCheckpoint], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(whole[-1].path.parent, directory)
    (directory / whole[-1].path.name / "model.safetensors").unlink()
    assert [saved.step for saved in find_checkpoints(directory)] == [saved.step for saved in whole[:-1]]


def test_whole_models_that_the_recipe_cannot_serve_are_not_trained(tmp_path: Path) -> None:
    profile = load_profile("laptop", environment={})
    profile = replace(profile, training=replace(profile.training, method="full", quantization="none"))
    with Writer(tmp_path / "lema.duckdb") as store, pytest.raises(TrainingError, match='set recipe = "vllm"'):
        train(Run(profile, store))


def test_weights_that_train_are_float32_whatever_dtype_computes(base: BaseModel) -> None:
    """In bfloat16 most steps are below half a unit of a weight, and lost."""
    import torch

    from lema_local.training.model import load_model

    model = load_model(str(base.path), base, replace(FULL, compute_dtype="bfloat16"))
    assert {weights.dtype for weights in model.parameters()} == {torch.float32}
