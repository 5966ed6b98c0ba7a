-- What the projector asks and writes. Rows come as arrays of the table's own row type, so a batch is one statement.

-- name: raise_fence
-- Whoever starts takes the pen: transactions of an older process that come later are refused.
UPDATE fence SET epoch = epoch + 1 RETURNING epoch;

-- name: hold_fence
-- Locks the fence for this transaction and tells whose turn it is.
SELECT epoch FROM fence FOR SHARE;

-- name: add_partitions
INSERT INTO offsets (topic, partition, next)
SELECT topic, partition, 0 FROM unnest($1::text[], $2::integer[]) AS wanted (topic, partition)
ON CONFLICT DO NOTHING;

-- name: offsets
SELECT topic, partition, next FROM offsets ORDER BY topic, partition;

-- name: move_offsets
-- Moves each partition from where this process left it. Fewer rows than asked for: another process moved them.
UPDATE offsets
SET next = wanted.next
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) AS wanted (topic, partition, expected, next)
WHERE offsets.topic = wanted.topic AND offsets.partition = wanted.partition AND offsets.next = wanted.expected
RETURNING offsets.topic;

-- name: heads
SELECT
    (SELECT coalesce(max(position), 0) FROM ledger) AS ledger_size,
    (SELECT coalesce(max(cursor), 0) FROM verdict_changes) AS cursor;

-- name: origins
SELECT origin, rank FROM origins;

-- name: ledger_of_keys
SELECT topic, partition, "offset", key, value, headers, accepted_at_ms
FROM ledger WHERE topic = 'assize.keys.v1' ORDER BY position;

-- name: load_submissions
SELECT * FROM submissions WHERE submission_id = ANY ($1::text[]);

-- name: load_judgements
SELECT * FROM judgements WHERE submission_id = ANY ($1::text[]);

-- name: load_pending
SELECT * FROM pending WHERE submission_id = ANY ($1::text[]);

-- name: load_ledger_events
SELECT topic, partition, "offset", key, value, headers, accepted_at_ms
FROM ledger WHERE event_id = ANY ($1::text[]);

-- name: insert_ledger
INSERT INTO ledger SELECT * FROM unnest($1::ledger[]);

-- name: insert_parked
INSERT INTO parked SELECT * FROM unnest($1::parked[]);

-- name: insert_alarms
INSERT INTO alarms SELECT * FROM unnest($1::alarms[]);

-- name: insert_runs
INSERT INTO runs SELECT * FROM unnest($1::runs[]);

-- name: insert_verdict_changes
INSERT INTO verdict_changes SELECT * FROM unnest($1::verdict_changes[]);

-- name: insert_pending
INSERT INTO pending SELECT * FROM unnest($1::pending[]);

-- name: delete_pending
DELETE FROM pending WHERE judgement_id = ANY ($1::text[]);

-- name: upsert_problems
INSERT INTO problems SELECT * FROM unnest($1::problems[])
ON CONFLICT (tenant, problem, problem_version) DO UPDATE SET
    name = excluded.name, manifest = excluded.manifest, bundle_digest = excluded.bundle_digest,
    sample_count = excluded.sample_count, published_by = excluded.published_by,
    published_at_us = excluded.published_at_us, position = excluded.position;

-- name: upsert_contests
INSERT INTO contests SELECT * FROM unnest($1::contests[])
ON CONFLICT (tenant, contest) DO UPDATE SET
    name = excluded.name, priority_class = excluded.priority_class, starts_at_us = excluded.starts_at_us,
    ends_at_us = excluded.ends_at_us, registered_by = excluded.registered_by, position = excluded.position;

-- name: upsert_submissions
-- Only the status of a submission ever changes.
INSERT INTO submissions SELECT * FROM unnest($1::submissions[])
ON CONFLICT (submission_id) DO UPDATE SET status = excluded.status;

-- name: upsert_judgements
INSERT INTO judgements SELECT * FROM unnest($1::judgements[])
ON CONFLICT (judgement_id) DO UPDATE SET
    attempt = excluded.attempt, lease_epoch = excluded.lease_epoch, executor = excluded.executor,
    incarnation = excluded.incarnation, verdict = excluded.verdict, accepted_event_id = excluded.accepted_event_id,
    concluded_at_us = excluded.concluded_at_us, started_at_us = excluded.started_at_us,
    completed_at_us = excluded.completed_at_us, image_digest = excluded.image_digest,
    isolation = excluded.isolation, spec_digest = excluded.spec_digest,
    preflight_digest = excluded.preflight_digest, evidence_digest = excluded.evidence_digest,
    sandbox_id = excluded.sandbox_id, slot = excluded.slot, cpu = excluded.cpu,
    tests_total = excluded.tests_total, score = excluded.score, cpu_time_ns = excluded.cpu_time_ns,
    wall_time_ns = excluded.wall_time_ns, memory_peak_bytes = excluded.memory_peak_bytes,
    compile = excluded.compile, faults = excluded.faults;

-- name: changes_after
SELECT * FROM verdict_changes WHERE cursor > $1 ORDER BY cursor LIMIT $2;

-- name: move_publication
UPDATE publication SET cursor = $1 WHERE cursor < $1;

-- name: accepted_order
-- The order in which records were taken, with those that were parked in between.
SELECT topic, partition, "offset"
FROM (
    SELECT position, 0 AS kind, topic, partition, "offset" FROM ledger
    UNION ALL
    SELECT after_position, 1, topic, partition, "offset" FROM parked
) AS taken
ORDER BY position, kind, topic, partition, "offset";
