"""What this machine has: GPUs and their memory, cores, free disk. Asked of the system, without torch."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Gpu:
    """One CUDA device."""

    name: str
    memory_gib: float


def gpus() -> list[Gpu]:
    """The CUDA devices that nvidia-smi lists, and CUDA_VISIBLE_DEVICES leaves us; none where there is no driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        result = subprocess.run(  # the path comes from which()
            [command, "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return _visible(result.stdout, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _visible(listed: str, visible: str | None) -> list[Gpu]:
    """The devices of nvidia-smi's lines `index, uuid, name, MiB` that the variable names, as CUDA takes it: by index,
    or by what a UUID begins with."""
    names = None if visible is None else {name.strip() for name in visible.split(",")}
    found = []
    for line in listed.splitlines():
        index, _, rest = line.partition(",")
        uuid, _, rest = rest.partition(",")
        name, _, memory = rest.rpartition(",")
        is_named = names is None or any(
            given == index.strip() or (given.startswith("GPU-") and uuid.strip().startswith(given)) for given in names
        )
        if memory.strip().isdigit() and is_named:
            found.append(Gpu(name.strip(), int(memory) / 1024))
    return found


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16_units(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the processor lists instructions for bfloat16 products; None where the system does not list any.

    Flags of proc(5): avx512_bf16 and amx_bf16 on x86, bf16 on ARM. They say that it can, not that it is fast.
    """
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return None
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"}) if words & {"flags", "Features"} else None


def free_disk_gib(path: Path) -> float:
    """Free space where `path` is, or will be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free / 2**30


def die_with_parent() -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel end a child when its parent ends, even by kill -9. None where Linux is not.

    PR_SET_PDEATHSIG, prctl(2). It fires when the starting *thread* ends, so start such children from the main thread.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def set_signal() -> None:
        libc.prctl(1, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os.kill(os.getpid(), signal.SIGKILL)

    return set_signal


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Memory and swap that a new process can have, as Linux estimates it (proc(5)); None elsewhere."""
    try:
        lines = [line.split() for line in meminfo.read_text(encoding="utf-8").splitlines()]
        sizes = {words[0]: int(words[1]) * 1024 for words in lines if words[0] in ("MemAvailable:", "SwapFree:")}
    except (OSError, ValueError, IndexError):
        return None
    return sum(sizes.values()) if "MemAvailable:" in sizes else None


def ram_gib() -> float:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
