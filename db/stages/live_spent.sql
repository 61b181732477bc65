-- What was spent so far, failed calls too, and how many replies came in the minute before the newest?
select
    count(*) as calls,
    coalesce(sum(prompt_tokens), 0)::bigint as prompt_tokens,
    coalesce(sum(completion_tokens), 0)::bigint as completion_tokens,
    sum(cost_usd) + coalesce((select sum(cost_usd) from attempt), 0) as usd,
    count(*) filter (cost_usd is null) as without_price,
    (select count(*) from attempt) as failed,
    count(*) filter (created_at > $now::timestamptz - interval 1 minute) as last_minute,
    max(created_at) as newest
from completion
