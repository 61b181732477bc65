-- A reply that nothing was derived from yet ($of: unused).
select
    id, purpose, model, template, sample_index, finish_reason, endpoint, problem_id, rationale_id, created_at, text
from completion
where id = $id or id = $of
