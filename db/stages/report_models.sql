-- Which models answered, for what, asked how, when, and at what price? The adapters over one model are one row, and so is
-- the oracle, whose identity names the solution that it read.
select
    purpose, model,
    case
        when checkpoint_id is not null then 'with adapters'
        when is_reference_derived then 'reference solutions'
        else model_identity
    end as model_identity,
    endpoint, template, is_reference_derived,
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
