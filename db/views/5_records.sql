-- Costs, training data, and the quality of the records.

-- cost: how many calls, tokens, dollars and seconds did each model cost, by purpose?
--   purpose: sample, augment, correct, resolve, evolve, answer, evaluate, judge; failed: replies that were none and were paid all the same
--   model, endpoint: who answered, by its name in the profile; the model of a failed call is not recorded: NULL
--   calls: replies kept; of failed calls, those that were paid
--   prompt_tokens, cached_prompt_tokens, completion_tokens: cached ones are among the prompt's
--   usd: US dollars; NULL: no price known
--   seconds: of one request at a time; samples that came by one request share its seconds
--   tokens_per_second: completion tokens a second of one request
create or replace view cost as
with paid as (
    select
        purpose, model, endpoint, prompt_tokens, cached_prompt_tokens, completion_tokens, cost_usd,
        latency_s / shared_by as latency_s
    from completion
    union all by name
    select 'failed' as purpose, endpoint, cost_usd
    from attempt
    where cost_usd is not null
)
select
    purpose, model, endpoint,
    count(*) as calls,
    sum(prompt_tokens)::bigint as prompt_tokens,
    sum(cached_prompt_tokens)::bigint as cached_prompt_tokens,
    sum(completion_tokens)::bigint as completion_tokens,
    sum(cost_usd) as usd,
    sum(latency_s) as seconds,
    sum(completion_tokens) / nullif(sum(latency_s), 0) as tokens_per_second
from paid
group by purpose, model, endpoint
order by purpose, model, endpoint;

-- failed_calls: which calls failed, where and why?
--   endpoint: by its name in the profile
--   error, status: what happened; the HTTP status, NULL: none
--   attempts: how often
--   latest: when last
create or replace view failed_calls as
select endpoint, error, status, count(*) as attempts, max(created_at) as latest
from attempt
group by endpoint, error, status
order by attempts desc, endpoint, error, status;

-- tokens_by_arm: how many examples and tokens does each arm train on, once through, and how many were trained on?
--   arm, dataset, seed: of the training set
--   training_set_id: its id
--   examples, cot_examples, correction_examples: how many
--   reference_derived: of the examples, those written from reference solutions by the oracle
--   prompt_tokens, output_tokens: of the set, once through; only the output carries loss
--   counted_by: the tokenizer
--   longest_prompt, longest_output: tokens of the longest
--   checkpoints: of all runs over this set
--   samples_trained, tokens_trained: by its longest run so far; NULL: not trained
--   epochs: samples_trained / examples
create or replace view tokens_by_arm as
with trained as (
    select
        training_set_id, count(*) as checkpoints, max(samples_seen) as samples_trained, max(tokens_seen) as tokens_trained
    from checkpoint
    group by training_set_id
)
select
    arm, dataset, seed, id as training_set_id, cot_examples + correction_examples as examples, cot_examples, correction_examples,
    (manifest ->> '$.reference_derived')::bigint as reference_derived,
    (manifest ->> '$.tokens.prompt')::bigint as prompt_tokens,
    (manifest ->> '$.tokens.output')::bigint as output_tokens,
    manifest ->> '$.tokens.counted_by' as counted_by,
    (manifest ->> '$.tokens.longest_prompt')::bigint as longest_prompt,
    (manifest ->> '$.tokens.longest_output')::bigint as longest_output,
    coalesce(trained.checkpoints, 0) as checkpoints, trained.samples_trained, trained.tokens_trained,
    trained.samples_trained / nullif(examples, 0) as epochs
from training_set
left join trained on trained.training_set_id = training_set.id
order by dataset, arm, seed, id;

-- training_example: which texts does each arm train on?
--   arm, dataset, seed, training_set_id: the training set
--   example_id, kind: of the example; cot, correction
--   prompt, output: its texts; only the output carries loss
--   source_id, problem_id: the record that it was made from, and its problem
create or replace view training_example as
select
    training_set.arm, training_set.dataset, training_set.seed, training_set.id as training_set_id,
    example.id as example_id, example.kind, example.prompt, example.output, example.source_id, example.problem_id
from training_set
join training_set_example on training_set_example.training_set_id = training_set.id
join example on example.id = training_set_example.example_id;

-- grader_disagreements: where do our grader and the authors' rules differ?
--   purpose, model: what the text was for, and whose it is
--   answer, reference: found in the text, and the right one
--   is_correct, is_correct_authors: by our grader, by the rules of the paper's authors
--   decided_by: what decided ours
--   text: the reply
--   id: of the rationale or evaluation
create or replace view grader_disagreements as
select
    completion.purpose, completion.model, graded.answer, problem.answer as reference,
    graded.is_correct, graded.is_correct_authors, graded.decided_by, completion.text, graded.id
from (
    select id, answer, is_correct, is_correct_authors, decided_by from rationale
    where is_correct <> is_correct_authors
    union all
    select id, answer, is_correct, is_correct_authors, decided_by from evaluation
    where is_correct <> is_correct_authors
) as graded
join completion on completion.id = graded.id
join problem on problem.id = completion.problem_id
order by completion.purpose, completion.model, graded.id;

-- duplicates: which questions, rationales and corrections are there more than once, word for word?
--   record: question, or the purpose of the reply: sample, augment (rationales), correct (corrections)
--   author: whose text: a data set, or a model
--   copies: how many records have the text
--   is_one_problem: all of them belong to one problem
--   first_id: of the record that comes first by id
create or replace view duplicates as
with texts as (
    select 'question' as record, dataset as author, hash(question) as text, id as problem_id, id from problem
    union all
    select purpose, model, hash(text), problem_id, id from completion
    where purpose in ('sample', 'augment', 'correct')
)
select record, author, count(*) as copies, min(problem_id) = max(problem_id) as is_one_problem, min(id) as first_id
from texts
group by record, author, text
having copies > 1
order by record, author, copies desc, first_id;
