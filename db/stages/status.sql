-- How many of each record are there? Reviews are events of human review.
select
    (select count(*) from problem) as problems,
    (select count(*) from completion) as completions,
    (select count(*) from rationale) as rationales,
    (select count(*) from mistake) as mistakes,
    (select count(*) from correction) as corrections,
    (select count(*) from correction where rejected_because is null) as corrections_kept,
    (select count(*) from example) as examples,
    (select count(*) from training_set) as training_sets,
    (select count(*) from checkpoint) as checkpoints,
    (select count(*) from evaluation) as evaluations,
    (select count(*) from review) as reviews
