-- Views that stay in the file, so that plain `duckdb lema.duckdb -c 'from self_correction_rate'` works. Above each view a
-- comment says the question that it answers (`lema sql --list`) and what its columns are, units included (`--describe`).
-- The files of this folder are one script, in the order of their numbers.

-- The 95% Wilson interval of k successes in n (scipy's binomtest(k, n).proportion_ci(method='wilson')).
create or replace macro wilson_low(k, n) as
    greatest(0, (k / nullif(n, 0) + 1.920729410347062 / n - 1.959963984540054 * sqrt(k / n * (1 - k / n) / n + 0.960364705173531 / (n * n)))
        / (1 + 3.841458820694124 / n));
create or replace macro wilson_high(k, n) as
    least(1, (k / nullif(n, 0) + 1.920729410347062 / n + 1.959963984540054 * sqrt(k / n * (1 - k / n) / n + 0.960364705173531 / (n * n)))
        / (1 + 3.841458820694124 / n));

-- As how many independent observations n samples count that hit k times: samples of one problem tend to hit and miss
-- together, and n of them say less than n problems would. n over the design effect of the problems as clusters (Kish, Survey
-- Sampling, 1965, chapter 8), never more than n; where all hit or none did, nothing tells how alike they are, and each
-- problem counts once. With y hits in m samples of a problem: `squares`, `products`, `sizes` are the sums of y * y, y * m
-- and m * m over problems. One sample a problem: n itself.
create or replace macro effective(n, k, problems, squares, products, sizes) as
    case
        when k = 0 or k = n or problems = 1 then problems
        else n / greatest(1, problems / (problems - 1) * (squares - 2 * k / n * products + (k / n) ** 2 * sizes) / n ** 2
            / (k / n * (1 - k / n) / (n - 1)))
    end;
-- The same, aggregated over samples that say how many there are of their problem (m), and how many of those hit (y).
create or replace macro effective_n(is_counted, is_hit, problem_id, m, y) as
    effective(
        count(*) filter (is_counted), count(*) filter (is_hit), count(distinct problem_id) filter (is_counted),
        sum(y) filter (is_hit), sum(m) filter (is_hit), sum(m) filter (is_counted)
    );

-- What runs of training share that differ in arm, seed or length alone: their settings without those, and without what fits
-- them to a machine (TrainingSettings.design, of which a test holds this to be the same), as a sorted list.
create or replace macro design_of(settings) as
    list_sort(map_entries(cast(json_merge_patch(
        '{"method": "lora", "truncate": false}', settings,
        '{"seed": null, "seeds": null, "first_seed": null, "max_steps": null, "save_steps": null, "save_at": null, "match": null,
        "match_beside": null, "keep": null, "per_device_batch_size": null, "gradient_checkpointing": null, "attention": null,
        "packing": null, "processes": null, "accelerate_config": null, "tensorboard": null, "report_to": null}'
    ) as map(varchar, json))));

-- mistake: which sampled rationales are wrong? A rationale cut off by max_tokens is not a mistake of reasoning.
--   id, problem_id: of the rationale and its problem
--   reasoner: the model that sampled it
--   dataset, level, subject, question, reference: of the problem; reference is the right answer
--   rationale: its text
--   answer: the wrong answer; NULL: none was found
create or replace view mistake as
select
    rationale.id, rationale.problem_id, rationale.reasoner, problem.dataset, problem.level, problem.subject,
    problem.question, problem.answer as reference, completion.text as rationale, rationale.answer
from rationale
join problem on problem.id = rationale.problem_id
join completion on completion.id = rationale.id
where not rationale.is_correct and not rationale.is_cut and completion.purpose = 'sample';

-- sampled_rationale: how was every rationale of a reasoner graded? For the views below; those sampled for CoT data alone are not here.
--   id, problem_id: of the rationale and its problem
--   reasoner: the model that sampled it
--   dataset, level, subject: of the problem; '-' where it has none
--   is_correct, is_cut, is_mistake: right answer; cut off by max_tokens; neither
--   template, settings: of the prompt (name.version) and of sampling (JSON)
--   model_identity: weights and quantisation of the reasoner
--   of_problem, mistakes_of_problem: of the replies of this model, prompt and sampling to this problem, those not cut off, and mistakes
create or replace view sampled_rationale as
select
    rationale.id, rationale.problem_id, rationale.reasoner, problem.dataset,
    coalesce(problem.level, '-') as level, coalesce(problem.subject, '-') as subject,
    rationale.is_correct, rationale.is_cut, not rationale.is_correct and not rationale.is_cut as is_mistake,
    completion.template, completion.sampling as settings, completion.model_identity,
    count(*) filter (not rationale.is_cut) over alike as of_problem,
    count(*) filter (not rationale.is_cut and not rationale.is_correct) over alike as mistakes_of_problem
from rationale
join problem on problem.id = rationale.problem_id
join completion on completion.id = rationale.id
where completion.purpose = 'sample'
window alike as (
    partition by
        rationale.problem_id, rationale.reasoner, completion.model_identity, completion.template, completion.sampling
);

-- mistake_rate: how often is each reasoner wrong?
--   reasoner, dataset: the model, and whose problems
--   rationales: sampled
--   cut_off: ended by max_tokens, not counted below
--   correct, mistakes: right and wrong answers
--   rate: mistakes / (correct + mistakes), 0 to 1
--   effective_n: as how many independent observations they count, as several samples of a problem are less than as many problems
--   low, high: of rate, 95% Wilson interval of so many
--   template, settings: of the prompt (name.version) and of sampling (JSON)
create or replace view mistake_rate as
select
    reasoner, dataset,
    count(*) as rationales,
    count(*) filter (is_cut) as cut_off,
    count(*) filter (is_correct and not is_cut) as correct,
    count(*) filter (is_mistake) as mistakes,
    mistakes / nullif(correct + mistakes, 0) as rate,
    effective_n(not is_cut, is_mistake, problem_id, of_problem, mistakes_of_problem) as effective_n,
    wilson_low(rate * effective_n, effective_n) as low,
    wilson_high(rate * effective_n, effective_n) as high,
    template, settings
from sampled_rationale
group by reasoner, dataset, model_identity, template, settings
order by reasoner, dataset, template, settings;

-- mistakes_by_level: how often is each reasoner wrong at each level of difficulty?
--   reasoner, dataset, level: the model, and which problems; '-': they have no level
--   rationales: sampled
--   cut_off: ended by max_tokens, not counted below
--   correct, mistakes: right and wrong answers
--   rate: mistakes / (correct + mistakes), 0 to 1
--   effective_n: as how many independent observations they count, as several samples of a problem are less than as many problems
--   low, high: of rate, 95% Wilson interval of so many
--   template, settings: of the prompt (name.version) and of sampling (JSON)
create or replace view mistakes_by_level as
select
    reasoner, dataset, level,
    count(*) as rationales,
    count(*) filter (is_cut) as cut_off,
    count(*) filter (is_correct and not is_cut) as correct,
    count(*) filter (is_mistake) as mistakes,
    mistakes / nullif(correct + mistakes, 0) as rate,
    effective_n(not is_cut, is_mistake, problem_id, of_problem, mistakes_of_problem) as effective_n,
    wilson_low(rate * effective_n, effective_n) as low,
    wilson_high(rate * effective_n, effective_n) as high,
    template, settings
from sampled_rationale
group by reasoner, dataset, level, model_identity, template, settings
order by reasoner, dataset, template, settings, level;

-- mistakes_by_subject: how often is each reasoner wrong on each subject?
--   reasoner, dataset, subject: the model, and which problems; '-': they have no subject
--   rationales: sampled
--   cut_off: ended by max_tokens, not counted below
--   correct, mistakes: right and wrong answers
--   rate: mistakes / (correct + mistakes), 0 to 1
--   effective_n: as how many independent observations they count, as several samples of a problem are less than as many problems
--   low, high: of rate, 95% Wilson interval of so many
--   template, settings: of the prompt (name.version) and of sampling (JSON)
create or replace view mistakes_by_subject as
select
    reasoner, dataset, subject,
    count(*) as rationales,
    count(*) filter (is_cut) as cut_off,
    count(*) filter (is_correct and not is_cut) as correct,
    count(*) filter (is_mistake) as mistakes,
    mistakes / nullif(correct + mistakes, 0) as rate,
    effective_n(not is_cut, is_mistake, problem_id, of_problem, mistakes_of_problem) as effective_n,
    wilson_low(rate * effective_n, effective_n) as low,
    wilson_high(rate * effective_n, effective_n) as high,
    template, settings
from sampled_rationale
group by reasoner, dataset, subject, model_identity, template, settings
order by reasoner, dataset, template, settings, subject;
