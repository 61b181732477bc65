-- The tables of lema.duckdb as they are today, one per record of lema_local/records/types.py; columns in the order of the fields.
-- Facts (paid for, append-only): problem, completion, attempt, batch, checkpoint, review. The rest is derived and can be rebuilt.
-- Whoever changes this file adds db/migrations/NNN_what.sql, which leads files of the version before to the same tables;
-- the file's version is the last number there. A new column comes last and has a default (journals of before still hold).
-- Ids are content keys: 128 bits of SHA-256 over what makes two records the same. They are unique because the one writer
-- adds a row only where its key is not there yet (records/bulk.py); an index would say so too, in a file a third larger.

create table meta (
    key varchar primary key,
    value varchar not null
);

create table problem (
    id uuid not null,
    dataset varchar not null,
    split varchar not null,
    question varchar not null,
    answer varchar not null,
    kind varchar not null,
    solution varchar,
    level varchar,
    subject varchar,
    source varchar
);

create table completion (
    id uuid not null,
    purpose varchar not null,            -- sample, augment, correct, resolve, evolve, answer, evaluate, judge
    model varchar not null,              -- name for people
    model_identity varchar not null,     -- weights + quantisation + checkpoint
    template varchar not null,           -- name.version; the prompt is template + inputs
    problem_id uuid not null,
    rationale_id uuid,                   -- the mistake that was sent to a corrector; the correction, to a judge
    checkpoint_id uuid,                  -- the adapter that answered
    sampling varchar not null,           -- JSON: the parameters that change the output
    sample_index integer not null,
    text varchar not null using compression 'zstd',
    finish_reason varchar,               -- stop, length; NULL: the server does not say. Older files hold other words
    prompt_tokens integer,
    completion_tokens integer,
    latency_s double,                    -- of its request; NULL: it came by a batch
    cost_usd double,                     -- NULL: no price known
    endpoint varchar not null,
    is_reference_derived boolean not null,
    created_at timestamptz not null,
    cached_prompt_tokens integer,        -- of the prompt tokens, those billed as cached
    shared_by integer not null default 1, -- samples that came by the same request: latency is the request's
    answered_by varchar                  -- the model that the server names, where it is not the one asked for
);

create table attempt (
    id uuid not null,
    completion_id uuid not null,
    error varchar not null,
    status integer,
    raw varchar using compression 'zstd',
    endpoint varchar not null,
    created_at timestamptz not null,
    cost_usd double                      -- of a reply that was none, where it says what it used and the price is known
);

create table mended (                    -- text with lone surrogates, which UTF-8 cannot hold: they were replaced by U+FFFD
    record varchar not null,             -- the table
    id uuid not null,
    field varchar not null               -- the column
);

create table batch (                     -- work handed to a provider's Batch API
    id uuid not null,
    remote_id varchar not null,          -- the provider's id
    endpoint varchar not null,
    base_url varchar not null,
    purpose varchar not null,
    calls integer not null,
    created_at timestamptz not null
);

create table batch_call (                -- which completions a batch will bring
    batch_id uuid not null,
    completion_id uuid not null
);

create table batch_end (                 -- a batch without a row here is still at work
    batch_id uuid not null,
    status varchar not null,             -- the provider's word: completed, failed, expired, cancelled
    ended_at timestamptz not null
);

create table rationale (
    id uuid not null,
    problem_id uuid not null,
    reasoner varchar not null,
    answer varchar,
    is_correct boolean not null,
    is_correct_authors boolean not null,
    decided_by varchar not null,
    is_cut boolean not null              -- ended by max_tokens, or before its end: never trains, is no mistake
);

create table correction (
    id uuid not null,
    problem_id uuid not null,
    rationale_id uuid not null,
    corrector varchar not null,
    is_reference_derived boolean not null,
    incorrect_step integer,
    explanation varchar using compression 'zstd',
    correct_solution varchar using compression 'zstd',
    answer varchar,
    is_correct boolean not null,
    rejected_because varchar,            -- NULL: kept
    fault_step integer,                  -- first step of the mistake with a false sum, or off the reference's path; NULL: none found
    step_exists boolean,                 -- the checks of corrections/checks.py; NULL: cannot tell
    continues boolean,                   -- kept steps + solution read as one
    arithmetic boolean,                  -- every sum in the solution is true
    explains boolean,                    -- the explanation does more than announce the answer
    step_agrees boolean,                 -- incorrect_step = fault_step
    resolved boolean,                    -- the reasoner reaches the answer from the corrected step on; NULL: not asked
    mistaken_steps integer               -- how many steps the mistake has; NULL: derived by an older lema
);

create table example (
    id uuid not null,
    kind varchar not null,               -- cot, correction
    prompt varchar not null using compression 'zstd',
    output varchar not null using compression 'zstd',
    source_id uuid not null,
    problem_id uuid not null
);

create table training_set (
    id uuid not null,
    arm varchar not null,
    dataset varchar not null,
    seed integer not null,
    cot_examples integer not null,
    correction_examples integer not null,
    manifest varchar not null            -- JSON: how it was put together, what was left out and why
);

create table training_set_example (
    training_set_id uuid not null,
    example_id uuid not null
);

create table checkpoint (
    id uuid not null,
    run_id uuid not null,
    base_model varchar not null,
    quantization varchar not null,
    training_set_id uuid not null,
    arm varchar not null,
    dataset varchar not null,
    seed integer not null,
    step integer not null,
    settings varchar not null,           -- JSON
    path varchar not null,
    loss double not null,
    tokens_seen bigint not null,
    samples_seen bigint not null,
    created_at timestamptz not null
);

create table training_metric (         -- what was measured at each step of a training run
    run_id uuid not null,
    step integer not null,
    base_model varchar not null,
    arm varchar not null,
    dataset varchar not null,
    seed integer not null,
    loss double not null,                -- mean, nats per output token
    learning_rate double not null,
    grad_norm double not null,           -- before clipping
    tokens_per_second double not null,
    memory_gib double not null,          -- peak so far: of the GPU, or of the process where there is none
    tokens_seen bigint not null,
    samples_seen bigint not null,
    created_at timestamptz not null
);

create table evaluation (
    id uuid not null,
    problem_id uuid not null,
    model varchar not null,
    base varchar not null,               -- weights and quantisation as served
    checkpoint_id uuid,                  -- NULL: the base model
    sample_index integer not null,
    answer varchar,
    is_correct boolean not null,
    is_correct_authors boolean not null,
    decided_by varchar not null,
    is_cut boolean not null
);

create table review (
    id uuid not null,
    correction_id uuid not null,
    reviewer varchar not null,
    grade varchar,                       -- excellent, good, poor; NULL: none, after a skip, or an undo of the first
    note varchar,
    created_at timestamptz not null,     -- append-only events: the latest of a correction and reviewer counts
    event varchar not null default 'grade', -- grade, skip, undo: an undo holds the grade and note of before
    completion_id uuid                   -- the judge's reply, where a model graded; NULL: a person
);
