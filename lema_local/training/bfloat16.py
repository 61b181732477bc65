"""Whether this CPU multiplies bfloat16 natively, found by multiplying: with AVX-512 BF16, AMX or ARM's BF16 it takes
less than half of float32's time, without them ten to forty times as long.

    python -m lema_local.training.bfloat16        {"float32": 0.0171, "bfloat16": 0.0072}     seconds
"""

import functools
import importlib.util
import json
import os
import subprocess
import sys
import time

from lema_local.errors import TrainingError
from lema_local.hardware import has_bfloat16_units
from lema_local.training.packages import require

# What native units gain is a factor of two and more; what casts cost around the products must not eat it up.
_WORTH = 1.3
_REPEATS = 8
_SECONDS = 120


@functools.cache
def multiplies_bfloat16() -> bool:
    """Measured once a process, in a child (the command line imports no torch), where the processor's flags do not rule
    it out. Raises TrainingError where the child fails."""
    if has_bfloat16_units() is False or importlib.util.find_spec("torch") is None:
        return False
    command = [sys.executable, "-m", "lema_local.training.bfloat16"]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=True)
        taken = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise TrainingError(
            f'The speed of bfloat16 cannot be measured ({error}): set training.compute_dtype = "float32".'
        ) from error
    return bool(taken["float32"] > _WORTH * taken["bfloat16"])


def measure() -> dict[str, float]:
    """Seconds of CPU for one product of a small decoder's shape: the least of several in turn, as others use the
    cores too."""
    torch = require("torch")
    torch.set_num_threads(1)
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    least = dict.fromkeys(kinds, float("inf"))
    factors = {name: (torch.randn(256, 576).to(kind), torch.randn(1536, 576).to(kind)) for name, kind in kinds.items()}
    for _ in range(_REPEATS):
        for name, (x, weight) in factors.items():
            begin = time.process_time()
            torch.nn.functional.linear(x, weight)
            least[name] = min(least[name], time.process_time() - begin)
    return least


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure()) + "\n")
