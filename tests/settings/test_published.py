"""Who an adapter is: its weights, and what its config makes of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from lema_local.settings.published import adapter_sha256

CONFIG = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "base_model_name_or_path": "here", "inference_mode": True}


def folder(path: Path, weights: bytes = b"weights", **changes: Any) -> str:
    path.mkdir()
    (path / "adapter_model.safetensors").write_bytes(weights)
    (path / "adapter_config.json").write_text(json.dumps({**CONFIG, **changes}))
    return str(path)


@pytest.mark.parametrize("changes", [{"lora_alpha": 32}, {"use_rslora": True}, {"r": 4}], ids=str)
def test_a_config_that_changes_answers_is_another_adapter(changes: dict[str, Any], tmp_path: Path) -> None:
    one, other = folder(tmp_path / "a"), folder(tmp_path / "b", **changes)
    assert adapter_sha256(one, is_gguf=False) != adapter_sha256(other, is_gguf=False)


def test_where_the_base_lies_is_no_part_of_an_adapter(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "a"), folder(tmp_path / "b", base_model_name_or_path="there", inference_mode=False)
    assert adapter_sha256(one, is_gguf=False) == adapter_sha256(other, is_gguf=False)
    assert adapter_sha256(one, is_gguf=False) != adapter_sha256(folder(tmp_path / "c", b"others"), is_gguf=False)
