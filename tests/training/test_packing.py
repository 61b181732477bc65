"""Packing: packed and separate examples give the same loss and gradient, and a mask that leaks would be seen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from needs import needs

from lema_local.errors import TrainingError
from lema_local.settings.training import TrainingSettings
from lema_local.training.base import BaseModel
from lema_local.training.collate import Collator
from lema_local.training.loss import output_loss
from lema_local.training.model import load_model
from lema_local.training.packing import balance, length, pack_steps, refuse_leaks, share_step, tokens
from lema_local.training.rows import Row

pytestmark = needs("torch", "transformers")

LENGTHS = (23, 5, 31, 12, 9, 17, 4, 28)


def row(number: int, tokens: int) -> Row:
    """Ids of its own, a third of them prompt."""
    return Row(tuple(3 + (number * 37 + place * 11) % 300 for place in range(tokens)), max(tokens // 3, 1))


ROWS = [row(number, tokens) for number, tokens in enumerate(LENGTHS)]


def rows_of(lengths: list[int]) -> list[Row]:
    return [row(number, tokens) for number, tokens in enumerate(lengths)]


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request: pytest.FixtureRequest, base: BaseModel) -> Any:
    import torch

    settings = TrainingSettings(method="full", quantization="none", attention=request.param)
    loaded = load_model(str(base.path), base, settings)
    with torch.no_grad():  # attention that looks somewhere: fresh weights of 0.02 spread over all positions alike
        for name, weights in loaded.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                weights.mul_(40)
    return loaded


def loss_and_gradient(model: Any, micro_batches: list[dict[str, Any]]) -> tuple[float, Any]:
    import torch

    model.zero_grad()
    wanted = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in micro_batches)
    total = 0.0
    for batch in micro_batches:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        loss = output_loss(model(**inputs), batch["labels"], num_items_in_batch=wanted)
        loss.backward()
        total += loss.item()
    return total, torch.cat([weights.grad.flatten() for weights in model.parameters()])


def separately(model: Any) -> tuple[float, Any]:
    return loss_and_gradient(model, [Collator(pad_id=0)([{"rows": (each,)}]) for each in ROWS])


@pytest.mark.parametrize("is_flat", [False, True], ids=["sequences", "flat"])
def test_packed_and_separate_examples_give_the_same_loss_and_gradient(model: Any, is_flat: bool) -> None:
    packs = [{"rows": pack} for pack in balance(ROWS, 4)]
    collate = Collator(pad_id=0, is_flat=is_flat)
    loss, gradient = loss_and_gradient(model, [collate(packs[:2]), collate(packs[2:])])
    expected, expected_gradient = separately(model)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert (gradient - expected_gradient).abs().max() < 1e-5 * expected_gradient.abs().max()


def test_padded_and_separate_examples_give_the_same_loss_and_gradient(model: Any) -> None:
    loss, gradient = loss_and_gradient(model, [Collator(pad_id=2)([{"rows": (each,)} for each in ROWS])])
    expected, expected_gradient = separately(model)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert (gradient - expected_gradient).abs().max() < 1e-5 * expected_gradient.abs().max()


@pytest.mark.parametrize("leak", ["no-positions", "a-mask-of-ones", "a-cache"])
def test_a_mask_that_leaks_between_examples_would_be_seen(model: Any, leak: str) -> None:
    """Causal attention over a whole pack: what the two tests above must be able to tell from the right one."""
    import torch

    batch = Collator(pad_id=0)([{"rows": tuple(ROWS[:4])}])
    if leak == "no-positions":
        del batch["position_ids"]
    elif leak == "a-mask-of-ones":
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])  # transformers looks for packs only without one
    else:
        batch["use_cache"] = True  # and only without a cache, which a model's configuration asks for until load_model()
    loss, gradient = loss_and_gradient(model, [batch])
    expected, right = loss_and_gradient(model, [Collator(pad_id=0)([{"rows": (each,)}]) for each in ROWS[:4]])
    assert abs(loss - expected) > 1e-3
    assert (gradient - right).abs().max() > 1e-2 * right.abs().max()


def test_a_step_holds_the_same_examples_packed() -> None:
    rows = rows_of([17 * n % 41 + 4 for n in range(96)])
    packs = pack_steps(rows, batch=16, at_once=2, capacity=64)
    per_step = len(packs) // 6
    assert len(packs) == 6 * per_step
    assert per_step % 2 == 0
    assert per_step < 16
    for step in range(6):
        seen = [each for pack in packs[step * per_step : (step + 1) * per_step] for each in pack]
        wanted = rows[step * 16 : (step + 1) * 16]
        assert sorted(each.input_ids for each in seen) == sorted(each.input_ids for each in wanted)
    assert all(tokens(pack) <= 64 and pack for pack in packs)


def test_rows_as_long_as_a_pack_stay_alone() -> None:
    packs = pack_steps(rows_of([64] * 8), batch=4, at_once=2, capacity=64)
    assert [len(pack) for pack in packs] == [1] * 8


@pytest.mark.parametrize(
    ("lengths", "capacity"), [([65, 3, 3, 3], 64), ([5, 5, 5], 64)], ids=["too-long", "half-a-step"]
)
def test_what_cannot_be_packed_is_an_error(lengths: list[int], capacity: int) -> None:
    with pytest.raises(ValueError, match="rows"):
        pack_steps(rows_of(lengths), batch=4, at_once=2, capacity=capacity)


def test_packs_are_of_about_the_same_length() -> None:
    packs = balance(rows_of([9, 7, 5, 3, 8, 4]), 3)
    assert [tokens(pack) for pack in packs] == [12, 12, 12]
    assert [length(pack[0]) for pack in packs] == sorted((length(pack[0]) for pack in packs), reverse=True)


def test_two_processes_share_a_step_evenly_in_micro_batches_that_fit() -> None:
    step = rows_of([17 * n % 293 + 70 for n in range(16)])
    shares = share_step(step, processes=2, capacity=600)
    by_process = [sum(length(each) for batch in share for each in batch) for share in shares]
    assert max(by_process) < 1.03 * min(by_process)
    batches = [batch for share in shares for batch in share]
    assert sorted(each.input_ids for batch in batches for each in batch) == sorted(each.input_ids for each in step)
    for batch in batches:
        longest = max(map(length, batch))
        assert len(batch) == 1 or len(batch) * longest <= 600
        assert longest - min(map(length, batch)) <= 64  # padding costs less than a micro-batch
    assert len(share_step(rows_of([70, 68, 66, 64]), processes=1, capacity=600)[0]) == 1


TINY = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "head_dim": 16,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
FAMILIES: dict[str, tuple[bool, dict[str, Any]]] = {
    "llama": (True, {}),
    "qwen3": (True, {"head_dim": 16}),
    "gemma3_text": (True, {"head_dim": 16}),
    "lfm2": (False, {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}),
    "qwen3_5_text": (False, LINEAR),
    "qwen3_next": (False, {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 32}),
    "granitemoehybrid": (False, {**MAMBA, "layer_types": ["mamba", "attention"], "num_local_experts": 0}),
    "falcon_h1": (False, {**MAMBA, "mamba_d_ssm": 128}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_packing_is_exact_or_refused_in_one_line(family: str) -> None:
    import torch
    import transformers

    is_exact, more = FAMILIES[family]
    torch.manual_seed(0)
    built = transformers.AutoConfig.for_model(family, **TINY, **more)
    model = transformers.AutoModelForCausalLM.from_config(built).train()
    model.config.use_cache = False
    collate = Collator(pad_id=0)
    if is_exact:
        refuse_leaks(model, collate, family)
    else:
        with pytest.raises(TrainingError, match=rf"packing = true .* see each other in {family}") as caught:
            refuse_leaks(model, collate, family)
        assert "\n" not in str(caught.value)
    first, last = ROWS[0], ROWS[1]
    packed = collate([{"rows": (first, last)}])
    with torch.no_grad():
        together = model(input_ids=packed["input_ids"], position_ids=packed["position_ids"]).logits[0]
        alone = model(input_ids=torch.tensor([last.input_ids])).logits[0]
    difference = (together[len(first.input_ids) :] - alone).abs().max().item()
    assert (difference < 1e-5) is is_exact, difference


def test_a_run_that_would_mix_its_packs_does_not_start(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training_runs import SETTINGS, run

    from lema_local.training import packing

    monkeypatch.setattr(packing.require("torch"), "equal", lambda *_: False)
    with pytest.raises(TrainingError, match="packing = false"):
        run(base, tmp_path / "run", replace(SETTINGS, packing=True))
    assert not list((tmp_path / "run").glob("step-*"))
