-- Which models answered, for what, asked how, when, and at what price?
select
    purpose, model, model_identity, endpoint, template, is_reference_derived,
    count(*) as calls,
    sum(prompt_tokens)::bigint as prompt_tokens,
    sum(completion_tokens)::bigint as completion_tokens,
    sum(latency_s / shared_by) as seconds,
    sum(cost_usd) as usd,
    min(created_at) as first_at,
    max(created_at) as last_at
from completion
where checkpoint_id is null
group by purpose, model, model_identity, endpoint, template, is_reference_derived
order by purpose, is_reference_derived, model, endpoint, template
