"""Proof that an adapter answers, and not the base model under its name.

A server may not know a name and answer with what it has (llama-cpp-python does), or load an adapter that does nothing:
the table would then show the base model as if it were a checkpoint. So before an adapter's first call its log-odds
log p(top token) - log p(one fixed token) after a prompt are compared with the base model's, on the same server:

    base       8.699 nats     (found by bisection: the bias that lifts the fixed token to the top)
    cot-2      8.539 nats     active
    unknown    8.699 nats     refused

`logit_bias` and greedy decoding are all that this takes, so it works where a server gives no log-probabilities. A probe
is about a server, not about a model: it is asked each time a server is started, and is no completion of the run.
"""

from collections.abc import Sequence
from dataclasses import replace

from lema_local.calls.client import CallFailedError, Client
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.calls.waiting import wait_for
from lema_local.errors import EndpointError

LIFTED = "100"  # any: the model gives every token some probability
MOST_BIAS = 100.0  # what the API allows
TOLERANCE = 0.01  # nats: float32 repeats its log-odds to 1e-4; two steps of training changed them by 0.16
_GREEDY = Sampling(temperature=0.0, max_tokens=1)


async def refuse_inactive(endpoint: Endpoint) -> None:
    """Raises EndpointError where the endpoint is an adapter that answers just as the model under it does."""
    if endpoint.adapter_over is None:
        return
    text = "1 + 1 ="  # short: the call's own might not fit, which is that call's failure alone
    prompt = Prompt(text=text) if endpoint.api == "completions" else Prompt(({"role": "user", "content": text},))
    base = replace(endpoint, served_model=endpoint.adapter_over)
    await Probe(base, [prompt]).refuse(endpoint.served_model)


class Probe:
    """Compares the adapters of one running server with its base model, which `endpoint` names."""

    def __init__(self, endpoint: Endpoint, prompts: Sequence[Prompt]) -> None:
        self._endpoint = endpoint
        self._prompts = prompts
        self._base: list[float] | None = None  # log-odds after each prompt, in nats

    def refuse_inactive(self, served_model: str) -> None:
        """Raises EndpointError where `served_model` answers every prompt just as the base model does."""
        wait_for(self.refuse(served_model))

    async def refuse(self, served_model: str) -> None:
        """The same, of a running event loop."""
        try:
            if self._base is None:
                self._base = [await self._log_odds(prompt) for prompt in self._prompts]
            for prompt, base in zip(self._prompts, self._base, strict=True):
                name = served_model
                winner = await self._token(name, prompt, MOST_BIAS)
                below, above = [await self._token(name, prompt, base + d) for d in (-TOLERANCE, TOLERANCE)]
                if not (below != winner == above):
                    return
        except CallFailedError as error:
            raise EndpointError(f"the probe of {served_model} failed: {error.failure.error}.") from error
        raise EndpointError(
            f"{self._endpoint.base_url} answers to {served_model} exactly as the base model does: its adapter is not "
            "active there, or was never trained."
        )

    async def _log_odds(self, prompt: Prompt) -> float:
        name = self._endpoint.served_model
        winner = await self._token(name, prompt, MOST_BIAS)  # computes the prompt, which the server keeps for the rest
        low, high = -MOST_BIAS, MOST_BIAS
        if await self._token(name, prompt, low) == winner:
            raise EndpointError(
                f"{self._endpoint.base_url} takes no logit_bias, so nothing proves that an adapter is active there: "
                "serve the student by a recipe (vllm, llama_cpp)."
            )
        while high - low > TOLERANCE / 8:
            middle = (low + high) / 2
            if await self._token(name, prompt, middle) == winner:
                high = middle
            else:
                low = middle
        return high

    async def _token(self, served_model: str, prompt: Prompt, bias: float) -> str:
        """The greedy token where LIFTED's logit is raised by `bias`."""
        request = {**self._endpoint.request, "logit_bias": {LIFTED: bias}}
        async with Client(replace(self._endpoint, served_model=served_model, request=request)) as client:
            return (await client.complete(prompt, _GREEDY)).text
