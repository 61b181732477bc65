-- Which rows stand for something that is not there? Name, how many, and what to do.
with found as (
    select
        'completion' as name, count(*) as n,
        'have no problem. Record the problems anew, by their profile: lema data --offline' as problem
    from completion anti join problem on problem.id = completion.problem_id
    union all
    select 'completion', count(*), 'correct a rationale that is not there. Import it, or delete them.'
    from completion anti join completion as mistaken on mistaken.id = completion.rationale_id
    where completion.rationale_id is not null
    union all
    select 'rationale', count(*), 'have no completion. Derive everything anew: lema rederive'
    from rationale anti join completion on completion.id = rationale.id
    union all
    select 'correction', count(*), 'have no completion. Derive everything anew: lema rederive'
    from correction anti join completion on completion.id = correction.id
    union all
    select 'evaluation', count(*), 'have no completion. Derive everything anew: lema rederive'
    from evaluation anti join completion on completion.id = evaluation.id
    union all
    select 'evaluation', count(*), 'are of a checkpoint that is not there. Evaluate anew, or delete them.'
    from evaluation anti join checkpoint on checkpoint.id = evaluation.checkpoint_id
    where evaluation.checkpoint_id is not null
    union all
    select 'training_set_example', count(*), 'have no example or no training set. Build anew: lema data'
    from training_set_example as link
    where link.example_id not in (select id from example) or link.training_set_id not in (select id from training_set)
    union all
    select 'batch_call', count(*), 'belong to no batch. Delete them.'
    from batch_call anti join batch on batch.id = batch_call.batch_id
    union all
    select 'review', count(*), 'are of a correction that is not there. Derive everything anew: lema rederive'
    from review anti join correction on correction.id = review.correction_id
)
select name, n, problem
from found
where n > 0
