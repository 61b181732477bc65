"""Merging an adapter: the merged weights are the adapter over its base, another base is refused, nothing half-made."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from needs import needs

from lema_local.errors import TrainingError
from lema_local.settings.training import TrainingSettings
from lema_local.stages.merge import merge_checkpoint
from lema_local.training import merge as merging
from lema_local.training.base import BaseModel
from lema_local.training.job import Job
from lema_local.training.quiet import quiet
from lema_local.training.trainer import train

pytestmark = needs("torch", "peft", "bitsandbytes")

SETTINGS = TrainingSettings(
    learning_rate=3e-2,
    max_steps=3,
    save_steps=3,
    global_batch_size=4,
    per_device_batch_size=2,
    lora_r=4,
    lora_dropout=0.0,
    source_max_length=64,
    target_max_length=64,
    gradient_checkpointing=False,
)
EXAMPLES = tuple((f"Question: {a} + 1\nAnswer:\n", f"Step 1: {a} + 1 = {a + 1}.") for a in range(8))
Train = Callable[[str], Path]


@pytest.fixture(scope="module")
def checkpoints(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint trained over each quantisation."""
    made = {}
    for quantization in ("nf4", "none"):
        directory = tmp_path_factory.mktemp(quantization)
        settings = replace(SETTINGS, quantization=quantization)
        Job(examples=EXAMPLES, base=base, settings=settings, directory=directory).write()
        saved = train(
            examples=EXAMPLES,
            base=base,
            settings=settings,
            directory=directory,
            on_checkpoint=lambda _: None,
            on_progress=lambda _: None,
        )
        made[quantization] = saved[-1].path
    return made


def merge(checkpoint: Path, output: Path, **more: Any) -> list[str]:
    notices: list[str] = []
    options = {"base": "trained", "dtype": "fp32", "output": output} | more
    merge_checkpoint(Path("none.duckdb"), str(checkpoint), on_notice=notices.append, **options)
    return notices


def logits(place: Path, adapter: Path | None = None, *, nf4: bool = False) -> Any:
    import peft
    import torch
    import transformers

    quantization = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    with quiet(), torch.no_grad():
        model = transformers.AutoModelForCausalLM.from_pretrained(
            place,
            dtype=torch.float32,
            quantization_config=quantization if nf4 else None,
            device_map={"": "cpu"} if nf4 else None,
        )
        if adapter is not None:
            model = peft.PeftModel.from_pretrained(model, adapter)
        # as in training: bitsandbytes' fast CPU kernel for inference rounds more (0.002 here); there is no dropout
        return model.train()(torch.arange(3, 60)[None]).logits


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_the_merged_model_is_the_one_that_was_trained(
    tiny_model: Path, checkpoints: dict[str, Path], tmp_path: Path, quantization: str
) -> None:
    notices = merge(checkpoints[quantization], tmp_path / "merged")
    trained = logits(tiny_model, checkpoints[quantization], nf4=quantization == "nf4")
    assert (logits(tmp_path / "merged") - trained).abs().max() < 1e-4
    assert (logits(tiny_model) - trained).abs().max() > 0.05  # the adapter changes something
    assert "of memory" in notices[0]
    assert len(notices) == 1


def test_a_named_base_is_merged_into_as_it_is_and_the_difference_is_said(
    tiny_model: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    notices = merge(checkpoints["nf4"], tmp_path / "merged", base=str(tiny_model))
    assert (logits(tmp_path / "merged") - logits(tiny_model, checkpoints["nf4"])).abs().max() < 1e-4
    assert (logits(tmp_path / "merged") - logits(tiny_model, checkpoints["nf4"], nf4=True)).abs().max() > 1e-3
    assert "is not the model that was trained" in notices[0]


def test_a_merged_folder_is_whole_and_says_what_it_is(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    import transformers

    merge(checkpoints["nf4"], tmp_path / "merged", dtype="bf16")
    marker = json.loads((tmp_path / "merged" / "COMPLETE").read_text())
    assert (marker["base"], marker["dtype"]) == ("tiny as NF4 dequantised", "bf16")
    there = {path.name for path in (tmp_path / "merged").iterdir()}
    assert marker["files"].keys() == there - {"COMPLETE"}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= there
    assert "tiny as NF4 dequantised" in (tmp_path / "merged" / "README.md").read_text()
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert str(model.dtype) == "torch.bfloat16"
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "merged").bos_token == "<bos>"
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def other_base(directory: Path, **config: int) -> Path:
    """A model like the tiny one in all but some of its shape."""
    import transformers

    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2} | config
    transformers.LlamaForCausalLM(
        transformers.LlamaConfig(vocab_size=320, num_attention_heads=4, num_key_value_heads=2, **shape)
    ).save_pretrained(directory)
    return directory


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"intermediate_size": 96}, "is 64x128, the base has 64x96"),
        ({"num_hidden_layers": 1}, "no such matrix"),
        ({"num_hidden_layers": 3}, "it has nothing for model.layers.2"),
    ],
    ids=["narrower", "shallower", "deeper"],
)
def test_an_adapter_of_another_base_is_refused(
    checkpoints: dict[str, Path], tmp_path: Path, config: dict[str, int], reason: str
) -> None:
    base = other_base(tmp_path / "tiny", **config)
    with pytest.raises(TrainingError, match=reason):
        merge(checkpoints["nf4"], tmp_path / "merged", base=str(base))
    assert not (tmp_path / "merged").exists()


def test_a_base_of_another_name_is_merged_into_only_on_request(
    tiny_model: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    renamed = shutil.copytree(tiny_model, tmp_path / "renamed")
    with pytest.raises(TrainingError, match=r"trained over tiny, not over renamed: .*--any-base"):
        merge(checkpoints["none"], tmp_path / "merged", base=str(renamed))
    merge(checkpoints["none"], tmp_path / "merged", base=str(renamed), any_base=True)


def damaged(path: Path) -> None:
    adapter = path / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"x")


def no_plain_lora(path: Path) -> None:
    from lema_local.records.keys import file_sha256

    config, marker = path / "adapter_config.json", path / "COMPLETE"
    config.write_text(json.dumps({**json.loads(config.read_text()), "use_dora": True}))
    fields = json.loads(marker.read_text())
    fields["files"]["adapter_config.json"] = [file_sha256(config), config.stat().st_size]
    marker.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (damaged, "is damaged or gone: `lema train` makes it anew"),
        (lambda path: (path / "COMPLETE").unlink(), "is damaged or gone: `lema train` makes it anew"),
        (no_plain_lora, r"is no plain LoRA \(use_dora\)"),
        (lambda path: (path.parent / "job.json").unlink(), "name its base model with --base"),
    ],
    ids=["damaged-adapter", "no-marker", "dora", "apart-from-its-run"],
)
def test_a_checkpoint_that_cannot_be_merged_is_one_line(
    checkpoints: dict[str, Path], tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    run = shutil.copytree(checkpoints["nf4"].parent, tmp_path / "run")
    path = run / checkpoints["nf4"].name
    spoil(path)
    with pytest.raises(TrainingError, match=reason) as caught:
        merge(path, tmp_path / "merged")
    assert "\n" not in str(caught.value)


def test_an_output_that_is_there_is_left_alone(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    with pytest.raises(TrainingError, match="is there already"):
        merge(checkpoints["nf4"], tmp_path / "merged")


def test_no_room_is_said_before_anything_is_written(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(merging.shutil, "disk_usage", lambda _: full)
    with pytest.raises(TrainingError, match=r"No room for 3\d MB beside"):
        merge(checkpoints["nf4"], tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_values_beyond_fp16_are_refused_and_nothing_is_left(
    tiny_model: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    loud = shutil.copytree(tiny_model, tmp_path / "tiny")
    weights = load_file(loud / "model.safetensors")
    weights["model.norm.weight"][0] = 1e6
    save_file(weights, loud / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingError, match="choose --dtype bf16 or fp32"):
        merge(checkpoints["none"], tmp_path / "merged", base=str(loud), dtype="fp16")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_without_the_training_packages_merging_says_what_to_install(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lema_local.errors import MissingPackageError
    from lema_local.training.packages import require

    require.cache_clear()  # another test had it
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingPackageError, match=r"lema-local\[train\]"):
        merge(checkpoints["nf4"], tmp_path / "merged")
