-- What did calls like these take so far? Means of one purpose by one model, for the estimate of what is pending.
select
    count(*) as calls,
    avg(prompt_tokens + 0.0) as prompt_tokens,
    avg(completion_tokens + 0.0) as completion_tokens
from completion
where purpose = $purpose and model = $model and prompt_tokens is not null and completion_tokens is not null
