"""An exported arm in the hands of the trainers it is for: one real step each, by their own code."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bulk_records import Counts, fill, write_files
from needs import needs
from tiny_model import write_tiny_model

from lema_local.examples.shapes import Shape
from lema_local.records.store import Writer
from lema_local.records.types import Example
from lema_local.stages.build import build
from lema_local.stages.export_arm import export_arm
from lema_local.stages.run import Run

pytestmark = [needs("torch", "transformers", "trl", "datasets"), pytest.mark.slow]

COUNTS = Counts(gold=4, sampled=4, right=4, corrections=3)
# of our own, as chat templates are: turns between marks, a system text where none is given, no generation marks
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<bos>system\nYou do sums.<eos>\n{% endif %}"
    "{% for message in messages %}<bos>{{ message['role'] }}\n{{ message['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<bos>assistant\n{% endif %}"
)
STEP = """
import json, sys, warnings
from pathlib import Path
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
import trl
kind, model, data, out = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
rows = load_dataset(data, split="train", cache_dir=out + "/cache")
config = getattr(trl, kind + "Config")(
    output_dir=out, max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False,
    save_strategy="no", learning_rate=1e-3, max_length=None)
trainer = getattr(trl, kind + "Trainer")(
    model=AutoModelForCausalLM.from_pretrained(model), args=config, train_dataset=rows, processing_class=tokenizer)
batch = next(iter(trainer.get_train_dataloader()))
print(json.dumps({
    "loss": trainer.train().training_loss,
    "rows": len(rows),
    "batch": {name: value.tolist() for name, value in batch.items() if hasattr(value, "tolist")},
}))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("records")
    with Writer(folder / "lema.duckdb") as store:
        yield fill(store, write_files(folder, COUNTS), COUNTS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a chat template, and room for whole examples."""
    folder = write_tiny_model(tmp_path_factory.mktemp("chat") / "tiny")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}))
    return folder


def step(run: Run, model: Path, folder: Path, *, shape: Shape, trainer: str) -> dict[str, Any]:
    """One step of TRL's trainer on the arm lema in this shape: its loss, and its first batch."""
    export_arm(run, "lema", folder / "arm", shape=shape, form="jsonl")
    command = [sys.executable, "-c", STEP, trainer, model, folder / "arm", folder / "out"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("shape", ["trl", "trl-chat"])
def test_trl_takes_an_sft_step_with_loss_on_the_output_and_its_end(
    made: Run, model: Path, tmp_path: Path, shape: Shape
) -> None:
    from transformers import AutoTokenizer

    done = step(made, model, tmp_path, shape=shape, trainer="SFT")
    examples = build(made, ("lema",))[0].examples
    assert done["rows"] == len(examples)
    assert done["loss"] > 0
    tokenizer = AutoTokenizer.from_pretrained(model)
    for ids, labels in zip(done["batch"]["input_ids"], done["batch"]["labels"], strict=True):
        trained = tokenizer.decode([label for label in labels if label != -100])
        read = tokenizer.decode(ids[: next(k for k, label in enumerate(labels) if label != -100)])
        assert any((read, trained) == expected(example, shape) for example in examples)


def expected(example: Example, shape: Shape) -> tuple[str, str]:
    """What a model should read of an example without loss, and with it."""
    if shape == "trl":
        return example.prompt, f"{example.output}<eos>"
    frame = f"<bos>system\nYou do sums.<eos>\n<bos>user\n{example.prompt.strip()}<eos>\n<bos>assistant\n"
    return frame, f"{example.output.strip()}<eos>\n"


@pytest.mark.parametrize("trainer", ["DPO", "KTO"])
@pytest.mark.parametrize("shape", ["dpo", "dpo-chat"])
def test_trl_takes_a_preference_step(made: Run, model: Path, tmp_path: Path, shape: Shape, trainer: str) -> None:
    done = step(made, model, tmp_path, shape=shape, trainer=trainer)
    assert done["rows"] == COUNTS.corrections
    assert done["loss"] > 0
