-- Which models answered, for what, asked how, when, and at what price? The adapters over one model are one row.
select
    purpose, model, if(checkpoint_id is null, model_identity, 'with adapters') as model_identity, endpoint, template, is_reference_derived,
    count(*) as calls,
    sum(prompt_tokens)::bigint as prompt_tokens,
    sum(completion_tokens)::bigint as completion_tokens,
    sum(latency_s / shared_by) as seconds,
    sum(cost_usd) as usd,
    min(created_at) as first_at,
    max(created_at) as last_at
from completion
group by all
order by purpose, is_reference_derived, model, endpoint, template, model_identity
