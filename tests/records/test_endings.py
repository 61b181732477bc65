"""Why a text ended: what is whole, what was cut off, and what is neither, by the words of many servers."""

import pytest

from lema_local.records.endings import ending, is_whole

WORDS = {
    "stop": "stop STOP FinishReason.STOP FINISH_REASON_STOP eos eos_token stop_sequence end_turn END_TURN COMPLETE "
    "stop-token word endoftext",
    "length": "length LENGTH MAX_TOKENS max_tokens FINISH_REASON_MAX_TOKENS model_length token_limit max_length limit "
    "max_new_tokens model_context_window_exceeded",
    None: "abort aborted error content_filter cancelled timeout SAFETY RECITATION refusal tool_calls load null stops",
}
PAIRS = [(word, wanted) for wanted, words in WORDS.items() for word in words.split()]


@pytest.mark.parametrize(("word", "wanted"), PAIRS)
def test_a_server_s_word_means_stop_or_length_or_is_a_word_of_its_own(word: str, wanted: str | None) -> None:
    assert ending(word) == (wanted or word.lower())
    assert is_whole(word) == (wanted == "stop")


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_a_server_that_says_nothing_is_believed(nothing: str | None) -> None:
    assert ending(nothing) is None
    assert is_whole(nothing)
