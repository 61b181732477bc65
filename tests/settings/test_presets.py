"""Every model of models.toml on GSM8K and MATH, planned against the paper's settings; and the shapes themselves."""

import json
import sys
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from commands import lema

from lema_local.errors import ProfileError, TrainingError
from lema_local.settings.architecture import from_config
from lema_local.settings.models import known_models, parameters_of, prompt_of, resolve_model, shapes_of
from lema_local.settings.profiles import load_profile
from lema_local.stages.plan import parse_gpus, plan_training

PAPER_MODELS = (
    *("llama-2-7b", "llama-2-13b", "llama-2-70b", "llama-65b", "codellama-34b"),
    *("wizardmath-7b", "wizardmath-70b", "metamath-13b", "metamath-70b", "llemma-34b"),
)
# arXiv 2310.20689, sections 3 and 4.1
PAPER: dict[str, dict[str, Any]] = {
    "gsm8k": {"lengths": (512, 512), "batch": (6, 4), "epochs": {"cot": 5.92, "lema": 4.27, "lema-controlled": 5.92}},
    "math": {"lengths": (768, 768), "batch": (3, 8), "epochs": {"cot": 9.6, "lema": 7.3, "lema-controlled": 9.6}},
}


def planned(model: str, dataset: str, gpus: str | None = "4xA100-80GB", **more: Any) -> dict[str, Any]:
    overrides = {"model": model, "dataset": dataset, **more}
    return plan_training("a100", overrides, db=Path("there is none"), gpus=gpus)


@pytest.mark.parametrize("dataset", list(PAPER))
@pytest.mark.parametrize("model", list(known_models()))
def test_every_preset_is_planned_as_the_paper_trained(model: str, dataset: str) -> None:
    plan, paper = planned(model, dataset), PAPER[dataset]
    is_large = plan["parameters"] >= 33e9
    assert plan["learning_rate"] == (1e-4 if is_large else 2e-4)
    assert plan["settings"]["learning_rate"]["from"].startswith("profile, variant" if is_large else "profile")
    assert (plan["source_max_length"], plan["target_max_length"]) == paper["lengths"]
    assert (plan["per_device_batch_size"], plan["gradient_accumulation_steps"], plan["num_gpus"]) == (
        *paper["batch"],
        4,
    )
    assert (plan["global_batch_size"], plan["max_steps"], plan["save_steps"]) == (96, 2000, 100)
    assert plan["lora"] == {
        "r": 64,
        "alpha": 16,
        "dropout": 0.05,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    }
    assert plan["quantization"] == {"type": "nf4", "double": True}
    assert plan["epochs"] == paper["epochs"]
    assert (plan["fits"], plan["strategy"]) == (True, "ddp")  # what the paper did
    assert "the paper" in plan["sizes_from"]
    assert plan["prompt"] == ("alpaca" if model.startswith(("wizardmath", "metamath")) else "cot")
    assert plan["launch"].startswith("accelerate launch --multi_gpu --num_processes 4 --mixed_precision bf16 ")


def test_the_papers_models_are_there() -> None:
    assert set(PAPER_MODELS) <= known_models().keys()
    assert [model for model in PAPER_MODELS if parameters_of(model) >= 33e9] == [
        *("llama-2-70b", "llama-65b", "codellama-34b", "wizardmath-70b", "metamath-70b", "llemma-34b")
    ]


# As their publishers' files count them (safetensors metadata on the Hub).
PUBLISHED = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-65b": 65_285_660_672,
    "codellama-34b": 33_743_970_304,
    "smollm2-135m-instruct": 134_515_008,
    "smollm2-1.7b-instruct": 1_711_376_384,
    "smollm3-3b": 3_075_098_624,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-0.6b": 596_049_920,
    "qwen3-8b": 8_190_735_360,
    "qwen3-32b": 32_762_123_264,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "mistral-7b": 7_248_023_552,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-27b": 27_227_128_320,
    "gemma-3-270m": 268_098_176,
    "gemma-3-1b": 999_885_952,
}


@pytest.mark.parametrize(("model", "parameters"), PUBLISHED.items(), ids=list(PUBLISHED))
def test_shapes_give_the_published_parameters(model: str, parameters: int) -> None:
    assert parameters_of(model) == parameters


FAMILIES = {
    "llama-2-70b": "llama",
    "smollm3-3b": "smollm3",
    "qwen2.5-1.5b": "qwen2",
    "qwen2.5-7b": "qwen2",
    "qwen3-4b": "qwen3",
    "qwen3-14b": "qwen3",
    "mistral-7b": "mistral",
    "llama-3.2-3b": "llama",
    "gemma-2-9b": "gemma2",
    "gemma-3-1b": "gemma3_text",
}


def config_of(model: str, family: str) -> dict[str, Any]:
    """The config.json that such a model has."""
    a = resolve_model(model).architecture
    assert a is not None
    return {
        "model_type": family,
        "hidden_size": a.hidden_size,
        "num_hidden_layers": a.layers,
        "intermediate_size": a.intermediate_size,
        "vocab_size": a.vocab_size,
        "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads,
        "head_dim": a.head_size,
        "tie_word_embeddings": a.is_tied,
    }


@pytest.mark.parametrize(("model", "family"), FAMILIES.items(), ids=list(FAMILIES))
def test_transformers_counts_the_same_parameters(model: str, family: str) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(**config_of(model, family), pad_token_id=0)
    with torch.device("meta"):  # shapes alone: no memory
        built = transformers.AutoModelForCausalLM.from_config(config)
    built.tie_weights()
    assert built.num_parameters() == parameters_of(model)
    linear = {name: module for name, module in built.named_modules() if isinstance(module, torch.nn.Linear)}
    adapted = {name: m.weight.numel() for name, m in linear.items() if "lm_head" not in name}
    architecture = shapes_of(resolve_model(model))
    assert architecture is not None
    assert sum(adapted.values()) == architecture.linear_parameters
    lora = sum(8 * (m.in_features + m.out_features) for name, m in linear.items() if name in adapted)
    assert lora == architecture.lora_parameters(8)


@pytest.mark.parametrize(("model", "family"), FAMILIES.items(), ids=list(FAMILIES))
def test_a_folder_tells_its_shapes_by_its_config(model: str, family: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config_of(model, family)))
    found, known = resolve_model(str(tmp_path)).architecture, resolve_model(model).architecture
    assert found is not None
    assert known is not None
    assert (found.parameters, found.linear_shapes) == (known.parameters, known.linear_shapes)
    assert planned(str(tmp_path), "gsm8k")["learning_rate"] == (1e-4 if known.parameters >= 33e9 else 2e-4)


@pytest.mark.parametrize(
    "config",
    [{}, {"model_type": "mixtral"}, {"model_type": "llama", "hidden_size": "wide"}, {"model_type": "llama"}],
    ids=["empty", "mixture of experts", "no number", "no shapes"],
)
def test_a_folder_of_unknown_shapes_is_refused_in_one_line(config: dict[str, Any], tmp_path: Path) -> None:
    assert from_config(config) is None
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ProfileError, match=r"shapes of .* are not known") as refused:
        planned(str(tmp_path), "gsm8k")
    assert "\n" not in str(refused.value)


def test_a_gguf_tells_its_shapes_by_its_metadata() -> None:
    pytest.importorskip("gguf")
    model = resolve_model("smollm2-135m-instruct")
    by_path = resolve_model(str(model.gguf()))
    found = shapes_of(by_path)
    assert found is not None
    assert found.parameters == 134_515_008
    assert found.is_tied


def test_a_hub_id_of_the_table_has_its_shapes_prompt_and_bos() -> None:
    known, by_id = resolve_model("wizardmath-7b"), resolve_model("WizardLMTeam/WizardMath-7B-V1.0")
    assert (by_id.architecture, by_id.prompt, by_id.hub_id) == (known.architecture, "alpaca", known.hub_id)
    assert prompt_of("WizardLMTeam/WizardMath-7B-V1.0") == "alpaca"
    assert resolve_model("HuggingFaceTB/SmolLM2-135M-Instruct").bos_text == "<|im_start|>"
    assert resolve_model("HuggingFaceTB/SmolLM2-135M-Instruct").gguf_path is None


def test_reasoners_are_asked_by_the_input_they_were_tuned_with() -> None:
    wizard = load_profile("a100", environment={"LEMA_REASONER_MODEL": "wizardmath-70b"})
    assert wizard.sampling.by("reasoner").prompt == "alpaca"
    assert load_profile("a100", environment={}).sampling.by("reasoner").prompt == "few-shot"


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(ProfileError, match="did you mean 'llama-2-70b'"):
        planned("llama2-70b", "gsm8k")


@pytest.mark.parametrize("text", ["", "4", "0xA100-80GB", "4xA100", "A100-80", "-1xA100-80GB", "4xA100-0GB", "a b-8GB"])
def test_gpus_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ProfileError, match="COUNTxNAME-MEMORYGB"):
        parse_gpus(text)


@pytest.mark.parametrize(
    ("model", "gpus", "fits", "strategy", "batch"),
    [
        ("llama-2-70b", "4xA100-80GB", True, "ddp", 6),
        ("llama-2-70b", "8xA100-40GB", True, "fsdp", 6),
        ("llama-2-70b", "1xA100-40GB", False, "single", 1),
        ("llama-2-70b", "2xRTX4090-24GB", False, "fsdp", 1),
        ("llama-2-13b", "1xRTX4090-24GB", True, "single", 6),
        ("llama-2-7b", "3xA100-80GB", True, "ddp", 4),
        ("llama-2-7b", "1xT4-16GB", True, "single", 6),
        ("llama-2-13b", "1xRTX4080-16GB", True, "single", None),
    ],
)
def test_the_batch_is_the_largest_that_divides_and_fits(
    model: str, gpus: str, fits: bool, strategy: str, batch: int | None
) -> None:
    plan = planned(model, "gsm8k", gpus)
    assert (plan["fits"], plan["strategy"]) == (fits, strategy)
    per_device = plan["per_device_batch_size"]
    assert per_device * plan["gradient_accumulation_steps"] * plan["num_gpus"] == 96
    if batch is not None:
        assert per_device == batch
    if not fits:
        assert "does not fit" in plan["verdict"]
        assert "take GPUs of" in plan["verdict"]
    elif per_device < 6:
        assert plan["settings"]["per_device_batch_size"]["from"].startswith("the plan")


def test_a_number_of_gpus_that_cannot_share_the_batch_is_refused() -> None:
    with pytest.raises(TrainingError, match="no multiple of"):
        planned("llama-2-7b", "gsm8k", "5xA100-80GB")


def test_matched_runs_see_the_same_epochs_or_tokens() -> None:
    by_epochs = planned("llama-2-70b", "gsm8k", match="epochs")
    assert by_epochs["epochs"] == {"cot": 5.92, "lema": 5.92, "lema-controlled": 5.92}
    assert by_epochs["runs"]["lema"]["max_steps"] == 2773  # 2000 x 44,944 / 32,421
    assert by_epochs["settings"]["match"] == {"value": "epochs", "from": "option"}
    by_tokens = planned("llama-2-70b", "gsm8k", match="tokens")
    seen = [run["tokens_seen"] for run in by_tokens["runs"].values()]
    assert max(seen) / min(seen) < 1.001
    assert by_tokens["runs"]["lema"]["max_steps"] < 2000  # its examples are longer


def test_every_setting_that_an_option_gives_says_so() -> None:
    given = {
        "seeds": 5,
        "keep": 2,
        "truncate": True,
        "tensorboard": True,
        "processes": 4,
        "match": "steps",
    }
    settings = planned("llama-2-70b", "gsm8k", accelerate_config="nodes.yaml", **given)["settings"]
    assert {name: settings[name] for name in given} == {
        name: {"value": value, "from": "option"} for name, value in given.items()
    }
    assert settings["accelerate_config"] == {"value": "nodes.yaml", "from": "option"}
    assert settings["seed"]["from"] == "default"


def test_the_command_prints_the_plan_without_torch_in_two_seconds(tmp_path: Path) -> None:
    arguments = ("train", "--profile", "a100", "--model", "llama-2-70b", "--dataset", "math", "--dry-run")
    done = lema(*arguments, "--gpus", "4xA100-80GB", "--match", "epochs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for said in ("fits 4 x 80 GiB", "3 per device x 8 accumulation x 4 processes = 96", "accelerate launch"):
        assert said in done.stdout
    assert "profile, variant from 33B parameters" in done.stdout
    assert not list(tmp_path.iterdir())
    code = (
        "import sys, time; start = time.process_time(); from pathlib import Path; from lema_local.stages.plan import "
        "plan_training; plan_training('a100', {'model': 'gemma-2-27b', 'dataset': 'math'}, db=Path('none'), "
        "gpus='4xA100-80GB'); print(time.process_time() - start, 'torch' in sys.modules)"
    )
    seconds, has_torch = _run(code)
    assert not has_torch
    assert seconds < 2.0


def _run(code: str) -> tuple[float, bool]:
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, has_torch = done.stdout.split()
    return float(seconds), has_torch == "True"


def test_the_presets_are_sorted_into_what_the_loader_understands() -> None:
    text = files("lema_local.settings").joinpath("models.toml").read_text(encoding="utf-8")
    allowed = {"hub_id", "gguf_package", "gguf_file", "bos_text", "prompt", "architecture"}
    assert all(entry.keys() <= allowed for entry in _entries(text))


def _entries(text: str) -> Iterator[dict[str, Any]]:
    yield from tomllib.loads(text).values()


@pytest.mark.parametrize("dataset", ["gsm8k", "math"])
def test_full_fine_tuning_is_planned_with_the_settings_of_v4(dataset: str) -> None:
    overrides = {"model": "llama-2-7b", "dataset": dataset}
    planned = plan_training("a100-full", overrides, db=Path("there is none"), gpus="4xA100-80GB")
    assert planned["epochs"] == {"cot": 3.0, "lema": 3.0, "lema-controlled": 3.0}
    assert (planned["learning_rate"], planned["global_batch_size"]) == (1e-5, 128)
    assert (planned["strategy"], planned["fits"], planned["quantization"]["type"]) == ("fsdp", True, "none")
