-- Between which rows do the completions of one purpose lie that have no derived row yet (or all of them)? None: first is NULL.
select min(rowid) as first, max(rowid) as last
from completion
where purpose = $purpose
    and ($everything or id not in (
        select id from rationale union all select id from correction union all select id from evaluation
    ))
