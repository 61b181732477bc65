-- The newest replies of correctors, with the problem and the mistake of each; what is not graded yet has no verdict.
select
    reply.id::varchar as id, reply.model as corrector, mistaken.model as reasoner, reply.is_reference_derived,
    problem.question, problem.answer as reference, problem.solution as reference_solution, mistaken.text as mistaken,
    mistaken.template, rationale.answer as mistaken_answer, reply.text as reply, correction.id is not null as is_graded,
    correction.incorrect_step, correction.explanation, correction.correct_solution, correction.answer,
    correction.rejected_because
from (from completion where purpose = 'correct' order by created_at desc, id limit $count) as reply
join problem on problem.id = reply.problem_id
join completion as mistaken on mistaken.id = reply.rationale_id
left join rationale on rationale.id = mistaken.id
left join correction on correction.id = reply.id
order by reply.created_at desc, reply.id
