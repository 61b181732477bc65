-- The graded rationales among those wanted, in the order in which CoT augmentation takes them up: those sampled for it
-- first, then one of each problem before any problem gives another. Text only where it can train.
select
    rationale.id::varchar, rationale.problem_id::varchar, rationale.reasoner, completion.purpose, rationale.answer,
    rationale.is_correct, rationale.is_cut, completion.is_reference_derived,
    case when rationale.is_correct and not rationale.is_cut then completion.text else '' end,
    completion.template
from wanted
join rationale on rationale.id = wanted.id
join completion on completion.id = wanted.id
order by completion.purpose, completion.sample_index, rationale.problem_id, rationale.id
