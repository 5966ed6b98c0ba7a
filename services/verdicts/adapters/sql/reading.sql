-- What readers ask. Every query names the tenant: rows of one tenant do not exist for another.

-- name: submissions
-- Newest first; $2 is the position to go on below.
SELECT
    s.*, v.judgement_id, v.verdict, v.cpu_time_ns, v.wall_time_ns, v.memory_peak_bytes, v.concluded_at_us,
    l.cpu_time_limit_ns, l.memory_limit_bytes, l.wall_time_limit_ns
FROM submissions s
LEFT JOIN LATERAL (
    SELECT j.* FROM judgements j JOIN origins o ON o.origin = j.origin
    WHERE j.submission_id = s.submission_id AND j.verdict IS NOT NULL
    ORDER BY o.rank DESC, j.repeat DESC LIMIT 1
) AS v ON true
LEFT JOIN LATERAL (
    SELECT j.cpu_time_limit_ns, j.memory_limit_bytes, j.wall_time_limit_ns FROM judgements j
    WHERE j.submission_id = s.submission_id ORDER BY j.judgement_id IS DISTINCT FROM v.judgement_id, j.repeat DESC
    LIMIT 1
) AS l ON true
WHERE s.tenant = $1
  AND s.position < $2
  AND ($3::text IS NULL OR s.problem = $3)
  AND ($4::text IS NULL OR s.team = $4)
  AND ($5::text IS NULL OR s.contest = $5)
  AND ($6::text IS NULL OR v.verdict = $6)
  AND ($7::text[] IS NULL OR s.submission_id = ANY ($7))
ORDER BY s.position DESC
LIMIT $8;

-- name: submission
SELECT * FROM submissions WHERE submission_id = $1 AND tenant = $2;

-- name: judgements_of_submission
SELECT j.*, o.rank
FROM judgements j
LEFT JOIN origins o ON o.origin = j.origin
WHERE j.submission_id = $1
ORDER BY j.repeat, j.judgement_id;

-- name: runs_of_submission
SELECT r.* FROM runs r JOIN judgements j ON j.judgement_id = r.judgement_id
WHERE j.submission_id = $1 ORDER BY r.judgement_id, r.ordinal;

-- name: ledger_of_submission
SELECT position, event_id, value FROM ledger WHERE submission_id = $1 ORDER BY position LIMIT $2;

-- name: late_of_submission
SELECT event_id FROM late_results WHERE submission_id = $1;

-- name: verdict_changes
SELECT * FROM verdict_changes
WHERE tenant = $1
  AND cursor > $2
  AND ($3::text IS NULL OR contest = $3)
  AND ($4::text IS NULL OR team = $4)
  AND ($5::text IS NULL OR submission_id = $5)
  AND ($6::text IS NULL OR problem = $6)
ORDER BY cursor
LIMIT $7;

-- name: head
SELECT coalesce(max(cursor), 0) FROM verdict_changes;

-- name: changed_submissions
SELECT DISTINCT submission_id FROM (
    SELECT submission_id, cursor FROM verdict_changes WHERE tenant = $1 AND cursor > $2 ORDER BY cursor DESC LIMIT $3
) AS newest;

-- name: problems
-- The newest version of each problem.
SELECT DISTINCT ON (problem) * FROM problems WHERE tenant = $1 ORDER BY problem, position DESC;
