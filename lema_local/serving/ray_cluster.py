"""A Ray cluster as lema uses it: joined, asked for its nodes and GPUs, given actors to place. Ray, the extra
`ray`, is imported when it is asked for.

    join("auto")                     # the cluster that this machine is part of, else one of this machine alone
    spread(Replica, gpus=4)          # an actor class whose actors go to different nodes
"""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from lema_local.errors import EndpointError, MissingPackageError, ProfileError, ServerError
from lema_local.hardware import Gpu, cores, gpus
from lema_local.serving.recipes import Recipe, tensor_parallel_size
from lema_local.settings.models import Model
from lema_local.settings.tables import ScaleProfile

AUTO, LOCAL = "auto", "local"
CONNECT_S = 10.0
_SILENCE = "No Ray cluster answers at {}. See `ray status` there."
STORE_BYTES = 200_000_000  # of the object store of a cluster of this machine alone: adapters, if anything
ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is alive."""

    id: str
    name: str
    cpus: float
    gpus: float


def join(address: str) -> None:
    """Be part of the cluster at this address, from now on; of one that is started here where `auto` finds none.
    MissingPackageError without Ray, EndpointError where nothing answers."""
    if address.startswith("ray://"):
        raise ProfileError("lema runs on a node of the cluster: give --ray-address auto there, or HOST:6379.")
    if address not in (AUTO, LOCAL):
        _refuse_silence(address)
    ray = package()
    if ray.is_initialized():
        return
    handler = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=address, **quiet)
    except ConnectionError as error:
        if address != AUTO:
            raise EndpointError(_SILENCE.format(address)) from error
        ray.init(
            num_cpus=max(2, cores()), object_store_memory=STORE_BYTES, include_dashboard=False, address=LOCAL, **quiet
        )
    except RuntimeError as error:  # another version of Ray, or of Python
        said = " ".join(str(error).split())[:300]
        raise EndpointError(f"The Ray cluster at {address} cannot be joined: {said}") from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray puts its own in place


def _refuse_silence(address: str) -> None:
    """Ray itself asks again for minutes where nothing listens, without a word of ours."""
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise ProfileError(f"{address!r} is no address of a Ray cluster: give auto, or HOST:6379.")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise EndpointError(_SILENCE.format(address)) from error


def leave() -> None:
    """Be part of no cluster. One that was started here ends."""
    package().shutdown()


def package() -> Any:
    """The module `ray`, kept quiet. MissingPackageError without it."""
    # Ray tells of nodes that died on the driver's stdout, where results go, whatever log_to_driver says (2.60)
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no word to anyone about what runs here
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError("Ray is not installed: pip install 'lema-local[ray]'") from error
    return ray


@contextmanager
def errors_in_words() -> Iterator[None]:
    """What goes wrong with the cluster itself, in one line."""
    ray = package()
    try:
        yield
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).split())[:200]
        raise EndpointError(
            f"The Ray cluster does not answer any more ({said}). What came is kept: run the same command again."
        ) from None


def nodes() -> list[Node]:
    """The nodes that are alive."""
    found = []
    for node in package().nodes():
        if node["Alive"]:
            has = node["Resources"]
            found.append(Node(node["NodeID"], node["NodeName"], has.get("CPU", 0.0), has.get("GPU", 0.0)))
    return found


def this_node() -> str:
    """The id of the node that this process is on."""
    node: str = package().get_runtime_context().get_node_id()
    return node


def here(cls: type[Any]) -> Any:
    """An actor class whose actors are on this node."""
    return at(this_node(), cls)


def spread(cls: type[Any], *, gpus: int) -> Any:
    """An actor class whose actors are on different nodes, as far as there are enough; none comes back by itself."""
    return package().remote(cls).options(num_cpus=1, num_gpus=gpus, scheduling_strategy="SPREAD", max_restarts=0)


def end(actor: Any) -> None:
    """End an actor at once."""
    with suppress(package().exceptions.RayError):
        package().kill(actor)


def on_each_node(function: Any, *arguments: Any) -> dict[Node, Any]:
    """What a function returns on each node; an EndpointError's text where the node does not answer."""
    ray = package()
    asked = {node: at(node.id, function).remote(*arguments) for node in nodes()}
    answers = {}
    for node, reference in asked.items():
        try:
            answers[node] = ray.get(reference, timeout=ANSWER_S)
        except ray.exceptions.RayError as error:
            answers[node] = EndpointError(f"does not answer: {type(error).__name__}")
    return answers


def at(node: str, what: Any) -> Any:
    """A function, or a class of actors, that runs on the node of this id and asks for no core of it."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return package().remote(what).options(num_cpus=0, scheduling_strategy=there)


def gpus_per_replica(scale: ScaleProfile, recipe: Recipe | None, model: Model | None) -> int:
    """As the profile says, else what tensor parallelism over a node's GPUs takes for these weights; 0 where nothing is
    served, or nothing has a GPU. ServerError for weights that no node holds."""
    if scale.gpus_per_replica is not None:
        return scale.gpus_per_replica
    with_gpus = [node for node in nodes() if node.gpus]
    if recipe is None or recipe.weights != "hf" or model is None or not with_gpus:
        return 0
    devices = package().get(at(with_gpus[0].id, _all_gpus).remote(), timeout=ANSWER_S)
    return tensor_parallel_size(model, devices)


def _all_gpus() -> list[Gpu]:
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides them from who asked for none
    return gpus()


def replicas(scale: ScaleProfile, gpus: int) -> tuple[int, int]:
    """At least, and at most, so many: as the profile says, else as many as the GPUs hold, or one a node."""
    if scale.replicas is None:
        found = nodes()
        count = sum(int(node.gpus // gpus) for node in found) if gpus else sum(node.cpus >= 1 for node in found)
        if not count:
            raise ServerError(
                f"No node of the cluster has {f'{gpus} GPUs' if gpus else 'a free core'}: see `ray status`."
            )
        return 1, count
    asked = scale.replicas
    return (asked, asked) if isinstance(asked, int) else (asked[0], asked[-1])
