"""Products of bfloat16 matrices on a CPU, with units for them or without: the same values but for the order of sums.

    multiply(a, b)              a @ b
    add_product_(total, a, b)   total + a @ b, in place

Units multiply two bfloat16 values exactly, add in float32 and round once. Without them torch takes ten to forty times
float32's time (training/bfloat16.py measures it); here the factors are then widened to float32, multiplied, and the
product is rounded, in float32's time and some hundredths. So a run that names bfloat16 trains on any machine.
"""

from typing import Any

from lema_local.training.bfloat16 import multiplies_bfloat16
from lema_local.training.packages import require


def multiply(a: Any, b: Any) -> Any:
    """a @ b, in their dtype."""
    return (widen(a) @ widen(b)).to(a.dtype)


def add_product_(total: Any, a: Any, b: Any) -> Any:
    """`total` (m, n), with a (m, k) @ b (k, n) added before the sum is rounded, once."""
    wide = widen(total)
    wide.addmm_(widen(a), widen(b))
    return total if wide is total else total.copy_(wide)


def widen(x: Any) -> Any:
    """What is multiplied in place of `x`: itself, or its float32 values where bfloat16 is slow."""
    torch = require("torch")
    is_slow = x.dtype is torch.bfloat16 and x.device.type == "cpu" and not multiplies_bfloat16()
    return x.float() if is_slow else x
