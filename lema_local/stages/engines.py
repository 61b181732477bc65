"""Who makes the calls of a stage, by [scale] of the profile: this process, or the replicas of a Ray cluster.

with open_model(run, run.resolved("reasoner")) as endpoint:       # served here, or by the replicas
    complete(run, calls, endpoint=endpoint, ...)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from lema_local.calls.endpoint import Endpoint
from lema_local.serving.command import ServeOptions
from lema_local.serving.endpoints import ResolvedEndpoint, read_key
from lema_local.serving.process import RunningServers, open_endpoint, open_recipe
from lema_local.settings.models import Model
from lema_local.stages.ray_engine import work_off
from lema_local.stages.ray_fleet import Fleet
from lema_local.stages.run import Run


@contextmanager
def open_model(run: Run, resolved: ResolvedEndpoint, *, options: ServeOptions | None = None) -> Iterator[Endpoint]:
    """An endpoint that complete() can ask: its server started if it has a recipe, here or by the replicas, which then
    know alone where it is; its key read from the environment. Raises as open_endpoint and Fleet do."""
    options = options or run.serve_options
    if is_local(run, resolved):
        with open_endpoint(resolved, options=options, on_notice=run.notice) as endpoint:
            yield endpoint
    else:
        with _fleet(run, resolved, options, None) as (endpoint, _):
            yield endpoint


@contextmanager
def open_weights(
    run: Run, resolved: ResolvedEndpoint, *, options: ServeOptions, model: Model | None
) -> Iterator[tuple[Endpoint, RunningServers | Fleet]]:
    """The same of a recipe, with `model` in place of the profile's and adapters over it (open_recipe); and what says
    whether it lives."""
    if is_local(run, resolved):
        with open_recipe(resolved, options=options, model=model, on_notice=run.notice) as (endpoint, servers):
            yield endpoint, servers
    else:
        with _fleet(run, resolved, options, model if model != resolved.model else None) as served:
            yield served


def is_local(run: Run, resolved: ResolvedEndpoint) -> bool:
    """Whether this process makes its calls. A recipe without weights, the oracle, answers at once: no cluster helps."""
    is_oracle = resolved.recipe is not None and resolved.recipe.weights == "none"
    return run.profile.scale.engine == "local" or is_oracle


@contextmanager
def _fleet(
    run: Run, resolved: ResolvedEndpoint, options: ServeOptions, model: Model | None
) -> Iterator[tuple[Endpoint, Fleet]]:
    endpoint = resolved.endpoint
    if resolved.recipe is None:
        endpoint = replace(endpoint, api_key=read_key(resolved.name, resolved.profile))
    with Fleet(resolved, run.profile.scale, options=options, model=model, notice=run.notice) as fleet:
        run.engine = partial(work_off, fleet=fleet, budget=run.budget)
        try:
            yield endpoint, fleet
        finally:
            run.engine = None
