-- The ledger, the read models, and how far the log is projected. Every value here comes from a record of the log:
-- no clock, no random number and no default of the database, so that a rebuild is equal byte for byte.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
$$;

-- One row per signed or deciding event, in the order of acceptance. `position` is dense from 1.
CREATE TABLE ledger (
    position bigint PRIMARY KEY CHECK (position > 0),
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    event_id text NOT NULL UNIQUE,
    event_type text NOT NULL,
    submission_id text,
    judgement_id text,
    lease_epoch bigint,
    key bytea,
    value bytea NOT NULL,
    headers text NOT NULL,
    key_id text,
    signature bytea,
    accepted_at_ms bigint NOT NULL,
    UNIQUE (topic, partition, "offset")
);
CREATE INDEX ledger_of_submission ON ledger (submission_id, position) WHERE submission_id IS NOT NULL;
CREATE INDEX ledger_of_topic ON ledger (topic, position) WHERE topic = 'assize.keys.v1';
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON ledger FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON ledger FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Records that were not believed. `after_position` is the length of the ledger when the record was met.
CREATE TABLE parked (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    after_position bigint NOT NULL,
    code text NOT NULL,
    reason text NOT NULL,
    key bytea,
    value bytea NOT NULL,
    headers text NOT NULL,
    accepted_at_ms bigint NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);
CREATE TRIGGER parked_append_only BEFORE UPDATE OR DELETE ON parked FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER parked_no_truncate BEFORE TRUNCATE ON parked FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What a person must look at: the same event id with other bytes, a conclusion that names a foreign result, …
CREATE TABLE alarms (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    code text NOT NULL,
    event_id text NOT NULL,
    detail text NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (topic, partition, "offset", code)
);
CREATE TRIGGER alarms_append_only BEFORE UPDATE OR DELETE ON alarms FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alarms_no_truncate BEFORE TRUNCATE ON alarms FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The next offset to project of each partition; moves in the transaction of the rows, guarded by its old value.
CREATE TABLE offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next bigint NOT NULL CHECK (next >= 0),
    PRIMARY KEY (topic, partition)
);

CREATE TABLE problems (
    tenant text NOT NULL,
    problem text NOT NULL,
    problem_version text NOT NULL,
    name text NOT NULL,
    manifest text NOT NULL,
    bundle_digest text NOT NULL,
    sample_count bigint NOT NULL,
    published_by text NOT NULL,
    published_at_us bigint NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (tenant, problem, problem_version)
);

CREATE TABLE contests (
    tenant text NOT NULL,
    contest text NOT NULL,
    name text NOT NULL,
    priority_class text NOT NULL,
    starts_at_us bigint NOT NULL,
    ends_at_us bigint NOT NULL,
    registered_by text NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (tenant, contest)
);

CREATE TABLE submissions (
    submission_id text PRIMARY KEY,
    tenant text NOT NULL,
    contest text,
    team text,
    problem text NOT NULL,
    problem_version text NOT NULL,
    language text NOT NULL,
    entry_point text,
    source_digest text NOT NULL,
    files text NOT NULL,
    priority_class text NOT NULL,
    received_at_us bigint NOT NULL,
    status text NOT NULL,
    position bigint NOT NULL UNIQUE
);
CREATE INDEX submissions_newest ON submissions (tenant, position DESC);
CREATE INDEX submissions_of_team ON submissions (tenant, team, position DESC);
CREATE INDEX submissions_of_problem ON submissions (tenant, problem, position DESC);

CREATE TABLE judgements (
    judgement_id text PRIMARY KEY,
    submission_id text NOT NULL,
    origin text NOT NULL,
    repeat bigint NOT NULL,
    problem_version text NOT NULL,
    cpu_time_limit_ns bigint NOT NULL,
    wall_time_limit_ns bigint NOT NULL,
    memory_limit_bytes bigint NOT NULL,
    output_limit_bytes bigint NOT NULL,
    attempt bigint NOT NULL,
    lease_epoch bigint NOT NULL,
    executor text,
    incarnation text,
    verdict text,
    accepted_event_id text,
    concluded_at_us bigint,
    started_at_us bigint,
    completed_at_us bigint,
    image_digest text,
    isolation text,
    spec_digest text,
    preflight_digest text,
    evidence_digest text,
    sandbox_id text,
    slot bigint,
    cpu bigint,
    tests_total bigint NOT NULL,
    score double precision,
    cpu_time_ns bigint NOT NULL,
    wall_time_ns bigint NOT NULL,
    memory_peak_bytes bigint NOT NULL,
    compile text,
    faults text NOT NULL
);
CREATE INDEX judgements_of_submission ON judgements (submission_id);
CREATE INDEX judgements_of_origin ON judgements (origin) WHERE origin <> 'live';

CREATE TABLE runs (
    judgement_id text NOT NULL,
    ordinal bigint NOT NULL,
    test text NOT NULL,
    test_group text NOT NULL,
    verdict text NOT NULL,
    ending text NOT NULL,
    exit_code bigint,
    signal bigint,
    limit_expired text NOT NULL,
    cpu_time_ns bigint NOT NULL,
    wall_time_ns bigint NOT NULL,
    memory_peak_bytes bigint NOT NULL,
    output_bytes bigint NOT NULL,
    error_bytes bigint NOT NULL,
    stopped_processes bigint NOT NULL,
    runnable_wait_ns bigint NOT NULL,
    samples_cpu_time_ns bigint[] NOT NULL,
    PRIMARY KEY (judgement_id, ordinal)
);

-- A conclusion whose accepted event, or whose judgement, has not been read yet.
CREATE TABLE pending (
    judgement_id text PRIMARY KEY,
    submission_id text NOT NULL,
    accepted_event_id text,
    conclusion_event_id text NOT NULL,
    position bigint NOT NULL
);
CREATE INDEX pending_of_submission ON pending (submission_id);

-- Which origins count, and which wins: "live" is 0. Applying a set of new judgements adds its one row here, and every
-- current verdict resolves through it.
CREATE TABLE origins (
    origin text PRIMARY KEY,
    rank bigint NOT NULL UNIQUE
);
INSERT INTO origins (origin, rank) VALUES ('live', 0);

-- Every change of a current verdict. `cursor` is dense from 1 and is the one cursor of every feed.
CREATE TABLE verdict_changes (
    cursor bigint PRIMARY KEY CHECK (cursor > 0),
    event_id text NOT NULL UNIQUE,
    at_us bigint NOT NULL,
    tenant text NOT NULL,
    contest text,
    team text,
    submission_id text NOT NULL,
    judgement_id text,
    problem text NOT NULL,
    problem_version text NOT NULL,
    language text NOT NULL,
    verdict text NOT NULL,
    previous text,
    cause text NOT NULL,
    score double precision,
    cpu_time_ns bigint NOT NULL,
    wall_time_ns bigint NOT NULL,
    memory_peak_bytes bigint NOT NULL,
    submitted_at_us bigint NOT NULL,
    judged_at_us bigint NOT NULL,
    traceparent text
);
CREATE INDEX verdict_changes_of_tenant ON verdict_changes (tenant, cursor);
CREATE INDEX verdict_changes_of_submission ON verdict_changes (submission_id, cursor);
CREATE TRIGGER verdict_changes_append_only BEFORE UPDATE OR DELETE ON verdict_changes
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER verdict_changes_no_truncate BEFORE TRUNCATE ON verdict_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The current verdict of each judged submission: its concluded judgement of the highest applied origin.
CREATE VIEW verdicts AS
SELECT DISTINCT ON (j.submission_id)
    j.submission_id, j.judgement_id, j.origin, j.verdict, j.score, j.cpu_time_ns, j.wall_time_ns,
    j.memory_peak_bytes, j.concluded_at_us
FROM judgements j
JOIN origins o ON o.origin = j.origin
WHERE j.verdict IS NOT NULL
ORDER BY j.submission_id, o.rank DESC, j.repeat DESC;

-- Results that came for a judgement which another event concluded: kept, shown, never projected.
CREATE VIEW late_results AS
SELECT l.position, l.event_id, l.submission_id, l.judgement_id, l.lease_epoch
FROM ledger l
JOIN judgements j ON j.judgement_id = l.judgement_id
WHERE l.event_type = 'JudgementCompleted'
  AND j.verdict IS NOT NULL
  AND j.accepted_event_id IS DISTINCT FROM l.event_id;

-- Not part of the projection: who may write it, and what was published of it.
CREATE TABLE fence (
    single boolean PRIMARY KEY CHECK (single),
    epoch bigint NOT NULL
);
INSERT INTO fence (single, epoch) VALUES (true, 0);
CREATE TABLE publication (
    single boolean PRIMARY KEY CHECK (single),
    cursor bigint NOT NULL
);
INSERT INTO publication (single, cursor) VALUES (true, 0);
