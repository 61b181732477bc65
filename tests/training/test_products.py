"""bfloat16 on a processor without units for it: the values that units give, and no slow product asked of torch."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from test_operations import ROWS, adapted
from tiny_model import write_tiny_model
from torch.utils._python_dispatch import TorchDispatchMode

from lema_local.training import attention, loss, pointwise, products
from lema_local.training.collate import Collator
from lema_local.training.lora_linear import fuse

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers for a name of before


@pytest.fixture(params=[True, False], ids=["units", "no units"])
def has_units(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_product_is_the_exact_one_rounded_once(has_units: bool, dtype: Any) -> None:
    torch.manual_seed(0)
    a, b, total = torch.randn(64, 300).to(dtype), torch.randn(300, 48).to(dtype), torch.randn(64, 48).to(dtype)
    exact = a.double() @ b.double()
    step = torch.finfo(dtype).eps
    room = 1e-3 if dtype is torch.bfloat16 else 1e-4  # sums of 300 in float32
    for found, expected in (
        (products.multiply(a, b), exact),
        (products.add_product_(total.clone(), a, b), exact + total),
    ):
        assert found.dtype == dtype
        assert ((found.double() - expected).abs() <= expected.abs() * step / 2 + room).all()


def test_without_units_a_sum_is_rounded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """2**-8 + 2**-17 is more than half a step of bfloat16 above one; rounded before it is added, it would be the half,
    and lost."""
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda: False)
    total = torch.ones(1, 1, dtype=torch.bfloat16)
    factor = torch.tensor([[2.0**-8, 2.0**-17]], dtype=torch.bfloat16)
    assert products.add_product_(total, factor, torch.ones(2, 1, dtype=torch.bfloat16)) is total
    assert total.item() == 1 + 2.0**-7


class Products(TorchDispatchMode):
    """The dtypes of all products that torch is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[Any] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__ in ("mm", "bmm", "addmm", "addmm_", "baddbmm"):
            self.dtypes += [each.dtype for each in args if isinstance(each, torch.Tensor)]
        return function(*args, **(kwargs or {}))


def test_a_step_without_units_asks_for_no_product_in_bfloat16(has_units: bool, tmp_path: Path) -> None:
    model = adapted(write_tiny_model(tmp_path), "bfloat16", dropout=0.05)
    base = model.base_model.model
    assert attention.use(base)
    assert pointwise.use(base)
    assert pointwise.keep_stream(base)
    fuse(model)
    head = loss.keep_hidden_states(base)
    batch = Collator(pad_id=0)([{"rows": (row,)} for row in ROWS])
    labels = batch.pop("labels")
    with Products() as asked:
        loss.output_loss(model(**batch, use_cache=False), labels, head=head).backward()
    assert len(asked.dtypes) > 100
    assert set(asked.dtypes) == {torch.bfloat16 if has_units else torch.float32}
