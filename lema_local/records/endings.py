"""Why a model stopped writing, as servers say it, brought to the two words that matter: `stop` and `length`. Pure.

    ending("end_turn"), ending("MAX_TOKENS"), ending("abort")       # ("stop", "length", "abort")
    is_whole("eos_token"), is_whole(None), is_whole("abort")        # (True, True, False)

OpenAI, vLLM, llama.cpp and Ollama say stop and length; others have names of their own (TGI, SGLang, Together, Cohere,
Mistral, Anthropic, Gemini, Bedrock, watsonx, TensorRT-LLM, as each documents them). What means neither is no whole
reply: it was aborted, filtered or broken, and its text may end anywhere.
"""

_STOP = frozenset({
    "stop", "eos", "eos_token", "eot", "end_id", "end_of_text", "endoftext", "end_turn", "end_of_turn",
    "stop_sequence", "stop_sequences", "stop_string", "stop_str", "stop_token", "stop_word", "stop_words", "word",
    "stopped_eos", "stopped_word", "complete", "completed", "finish", "finished",
})  # fmt: skip
_LENGTH = frozenset({
    "length", "max_length", "max_len", "max_tokens", "max_new_tokens", "max_output_tokens", "max_completion_tokens",
    "token_limit", "limit", "stopped_limit", "model_length", "context_length", "context_length_exceeded",
    "model_context_window_exceeded",
})  # fmt: skip


def ending(finish_reason: str | None) -> str | None:
    """`stop`, `length`, or the server's word, in small letters, where it means neither; None where it says nothing."""
    if finish_reason in ("stop", "length"):
        return finish_reason
    # Gemini's STOP may come as FinishReason.STOP or FINISH_REASON_STOP, by the gateway that it passed
    word = (finish_reason or "").strip().lower().rpartition(".")[2].removeprefix("finish_reason_").replace("-", "_")
    return "stop" if word in _STOP else "length" if word in _LENGTH else word or None


def is_whole(finish_reason: str | None) -> bool:
    """Whether a text came to its own end, as far as its server says. None: it does not say, and is believed."""
    return ending(finish_reason) in ("stop", None)
