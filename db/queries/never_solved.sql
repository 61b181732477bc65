-- Which test problems does neither the base model nor any checkpoint solve?
--   dataset, level, subject, question, reference, problem_id: of the problem; reference is the right answer
--   answers, different_answers: how many answers it got, and how many of them differ
--   most_given: the answer that it got most often; NULL: none was found in any
select
    dataset, level, subject, question, reference,
    count(*) as answers,
    count(distinct answer) as different_answers,
    mode(answer) as most_given,
    problem_id
from evaluation_result
where split <> 'dev'
group by dataset, level, subject, question, reference, problem_id
having not bool_or(is_correct)
order by dataset, level, subject, question;
