-- Sampled rationales with the right answer, whole, with what a CoT example needs.
select rationale.id, rationale.problem_id, problem.question, problem.answer as reference, problem.kind, completion.text
from rationale
join problem on problem.id = rationale.problem_id
join completion on completion.id = rationale.id
where rationale.is_correct and not rationale.is_cut
order by rationale.id
