"""Our operations against those they stand for: peft's LoRA layer, torch's attention, torch's cross entropy."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("bitsandbytes")

import peft
import torch
from tiny_model import write_tiny_model

from lema_local.settings.training import TrainingSettings
from lema_local.training import attention, loss, pointwise
from lema_local.training import model as models
from lema_local.training.base import BaseModel
from lema_local.training.collate import Collator
from lema_local.training.lora_linear import draw_mask, fuse, masked_
from lema_local.training.rows import Row

ROWS = [Row(tuple(3 + (n * 37 + at * 11) % 300 for at in range(length)), 4) for n, length in enumerate((23, 9, 31, 14))]
# peft asks transformers for a name of before
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
DTYPES = ("float32", "bfloat16")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def adapted(place: Path, dtype: str, *, dropout: float = 0.0, **changes: Any) -> Any:
    """The tiny model with an adapter that does something; seeded."""
    import transformers

    model: Any = transformers.AutoModelForCausalLM.from_pretrained(place, dtype=getattr(torch, dtype))
    for name, value in changes.items():
        setattr(model.config, name, value)
    torch.manual_seed(1)
    lora = peft.LoraConfig(r=8, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, lora)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.2)
        if "q_proj.base" in name or "k_proj.base" in name:
            weights.data.mul_(40)  # attention that looks somewhere
    return model.train()


def loss_and_gradient(model: Any, dtype: str, *, head: Any = None, packs: Any = None) -> tuple[float, Any]:
    batch = Collator(pad_id=0)(packs or [{"rows": (row,)} for row in ROWS])
    labels = batch.pop("labels")
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
        found = loss.output_loss(model(**batch, use_cache=False), labels, head=head)
    found.backward()
    trained = [weights.grad for weights in model.parameters() if weights.requires_grad]
    assert {grad.dtype for grad in trained} == {torch.float32}
    return found.item(), torch.cat([grad.flatten() for grad in trained])


def assert_as_good(ours: tuple[float, Any], theirs: tuple[float, Any], exact: tuple[float, Any], dtype: str) -> None:
    """In float32 the same but for the order of sums; in bfloat16, where each way of rounding is another, no farther
    from the exact one."""
    if dtype == "float32":
        assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
        assert (ours[1] - theirs[1]).norm() < 3e-5 * theirs[1].norm()
        return
    assert ours[0] == pytest.approx(exact[0], rel=0.02)
    assert (ours[1] - exact[1]).norm() < 1.5 * (theirs[1] - exact[1]).norm()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_fused_lora_layer_is_that_of_peft(place: Path, dtype: str) -> None:
    model = adapted(place, dtype)
    theirs = loss_and_gradient(model, dtype)
    assert fuse(model) == 14
    exact = loss_and_gradient(adapted(place, "float32"), "float32")
    assert_as_good(loss_and_gradient(model, dtype), theirs, exact, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_and_feed_forward_that_keep_their_inputs_alone_are_those_of_transformers(place: Path, dtype: str) -> None:
    model = adapted(place, dtype)
    theirs = loss_and_gradient(model, dtype)
    assert pointwise.use(model.base_model.model)
    ours = loss_and_gradient(model, dtype)
    assert_as_good(ours, theirs, loss_and_gradient(adapted(place, "float32"), "float32"), dtype)


def test_what_a_young_adapter_says_is_not_rounded_away() -> None:
    """It is far below a step of bfloat16 at the base's output: right on average, if it is added before rounding."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 96, bias=False, dtype=torch.bfloat16)
    model = peft.get_peft_model(
        torch.nn.Sequential(layer), peft.LoraConfig(r=8, lora_alpha=8, target_modules=["0"], lora_dropout=0.0)
    )
    fuse(model)
    lora = model.base_model.model[0]
    x = torch.randn(4096, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        without = model(x).float()
        torch.nn.init.normal_(lora.lora_B["default"].weight, std=3e-4)
        meant = x.float() @ (lora.lora_B["default"].weight @ lora.lora_A["default"].weight).T
        said = model(x).float() - without
    assert 0 < meant.abs().mean() < 2**-9 * without.abs().mean()
    assert ((said * meant).sum() / (meant * meant).sum()).item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gemma3_text", "granite", "olmo2", "phi3"])
def test_the_stream_of_a_model_in_bfloat16_holds_float32(family: str, tmp_path: Path) -> None:
    """What a layer adds to a stream a hundred times as large is there to the last bit that bfloat16 has of it."""
    import transformers

    torch.manual_seed(0)
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    small |= {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 320, "pad_token_id": 0}
    config = transformers.AutoConfig.for_model(family, **small, bos_token_id=1, eos_token_id=2)
    plain = transformers.AutoModelForCausalLM.from_config(config)
    plain.get_input_embeddings().weight.data.mul_(50)
    plain.save_pretrained(tmp_path)
    states = {}
    for dtype in ("float32", "bfloat16"):
        settings = TrainingSettings(
            compute_dtype=dtype, lora_r=4, lora_dropout=0.0, quantization="none", gradient_checkpointing=False
        )
        model = models.load_model(str(tmp_path), BaseModel(name=family, path=tmp_path), settings).train()
        states[dtype] = model(input_ids=torch.arange(3, 60)[None], output_hidden_states=True).hidden_states[:-1]
        loss_and_gradient(model, dtype)
    exact, found = ((stream[-1] - stream[0]).detach() for stream in (states["float32"], states["bfloat16"]))
    assert states["bfloat16"][-1].dtype == torch.float32
    assert (found - exact).norm() < 0.02 * exact.norm()


def test_norms_of_another_formula_are_left_alone(place: Path) -> None:
    for changes in ({"hidden_act": "gelu"}, {"model_type": "gemma3_text"}):
        assert not pointwise.use(adapted(place, "float32", **changes).base_model.model)


def test_layers_asked_apart_answer_each_for_its_own_input(place: Path) -> None:
    model = adapted(place, "float32")
    attention_ = model.base_model.model.model.layers[0].self_attn
    x, y = torch.randn(2, 5, attention_.q_proj.in_features)
    expected = attention_.k_proj(x), attention_.v_proj(y), attention_.q_proj(y), attention_.k_proj(y)
    fuse(model)
    found = attention_.k_proj(x), attention_.v_proj(y), attention_.q_proj(y), attention_.k_proj(y)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_gradient_is_that_of_the_loss_with_its_dropout(place: Path) -> None:
    """A small step along the gradient, the same masks drawn again, changes the loss as the gradient says."""
    model = adapted(place, "float32", dropout=0.3)
    fuse(model)
    torch.manual_seed(5)
    before, gradient = loss_and_gradient(model, "float32")
    step, at = 1e-3 / gradient.norm(), 0
    with torch.no_grad():
        for weights in (weights for weights in model.parameters() if weights.requires_grad):
            weights -= step * gradient[at : at + weights.numel()].view_as(weights)
            at += weights.numel()
    torch.manual_seed(5)
    after, _ = loss_and_gradient(model, "float32")
    assert before - after == pytest.approx(1e-3 * gradient.norm().item(), rel=0.1)  # the rest is curvature
    other, _ = loss_and_gradient(model, "float32")  # other masks
    assert abs(other - after) > abs(before - after)


def test_dropout_drops_its_share_and_scales_the_rest() -> None:
    mask = draw_mask((1000, 999), 0.05, seed=3)
    assert torch.equal(mask, draw_mask((1000, 999), 0.05, seed=3))
    assert set(mask.unique().tolist()) == {-1, 0}
    assert (mask == 0).float().mean().item() == pytest.approx(0.05, abs=0.001)
    neighbours = ((mask[:, 1:] == 0) & (mask[:, :-1] == 0)).float().mean().item()
    assert neighbours == pytest.approx(0.05**2, abs=0.0003)  # drawn apart
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(1000, 999).to(dtype)
        assert torch.equal(masked_(x.clone(), mask), torch.where(mask == 0, 0, x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_packed", [False, True], ids=["rows", "packed"])
def test_our_attention_is_that_of_torch(place: Path, dtype: str, is_packed: bool) -> None:
    packs = [{"rows": (ROWS[0], ROWS[1])}, {"rows": (ROWS[2],)}] if is_packed else None
    model = adapted(place, dtype)
    theirs = loss_and_gradient(model, dtype, packs=packs)
    assert attention.use(model.base_model.model)
    exact = loss_and_gradient(adapted(place, "float32"), "float32", packs=packs)
    assert_as_good(loss_and_gradient(model, dtype, packs=packs), theirs, exact, dtype)


def test_attention_that_is_more_than_softmax_is_left_alone(place: Path) -> None:
    for changes in ({"attention_dropout": 0.1}, {"model_type": "gemma2"}):
        assert not attention.use(adapted(place, "float32", **changes).base_model.model)


@pytest.mark.parametrize("chunk", [7, 4096])
def test_the_loss_in_chunks_is_that_of_all_logits(place: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK", chunk)
    model = adapted(place, "float32")
    expected, gradient = loss_and_gradient(model, "float32")
    head = loss.keep_hidden_states(model)
    assert head is not None
    found, ours = loss_and_gradient(model, "float32", head=head)
    assert found == pytest.approx(expected, rel=1e-6)
    assert (ours - gradient).norm() < 1e-5 * gradient.norm()


def test_the_loss_in_chunks_trains_the_output_layer_too() -> None:
    torch.manual_seed(0)
    states, targets = torch.randn(1, 20, 16, requires_grad=True), torch.randint(0, 50, (1, 20))
    head = torch.nn.Linear(16, 50)
    labels = torch.cat([torch.tensor([[-100]]), targets], dim=1)

    class Outputs:
        logits = states

    loss.output_loss(Outputs, labels, head=head).backward()
    found = [tensor.grad.clone() for tensor in (states, head.weight, head.bias)]
    for tensor in (states, head.weight, head.bias):
        tensor.grad = None
    torch.nn.functional.cross_entropy(head(states[0]), targets[0]).backward()
    for ours, tensor in zip(found, (states, head.weight, head.bias), strict=True):
        torch.testing.assert_close(ours, tensor.grad)


def test_logits_that_are_more_than_a_product_are_left_to_the_model() -> None:
    import transformers

    small = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 16,
    }
    config = transformers.AutoConfig.for_model("gemma2", **small, num_key_value_heads=1, vocab_size=64, pad_token_id=0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    before = torch.get_rng_state()
    assert loss.keep_hidden_states(model) is None
    assert model(input_ids=torch.arange(4)[None]).logits.shape[-1] == 64
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_in_chunks_multiplies_in_the_dtype_of_the_output_layer() -> None:
    """Under autocast the Trainer hands out float32 states; a bias is of the layer's dtype too."""
    torch.manual_seed(0)
    states, targets = torch.randn(1, 20, 16, requires_grad=True), torch.randint(0, 50, (1, 20))
    head = torch.nn.Linear(16, 50, dtype=torch.bfloat16).requires_grad_(False)
    labels = torch.cat([torch.tensor([[-100]]), targets], dim=1)

    class Outputs:
        logits = states

    found = loss.output_loss(Outputs, labels, head=head)
    found.backward()
    expected = torch.nn.functional.cross_entropy(head(states[0].detach().bfloat16()).float(), targets[0])
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert states.grad.dtype == torch.float32
