"""Ingest: the one door through which submissions, problems and contests enter.

Consumes: HTTP requests; the raw intake topic of each tenant; and, to know what holds, `assize.problems.v1`,
`assize.contests.v1`, `assize.submissions.v1` and the scheduler's `QueueReported` on `assize.decisions.v1`.
Emits: `SubmissionReceived`, `SubmissionRejected`, `ProblemPublished`, `ContestRegistered`; source and test blobs.
Owns: what is admitted, and in which cell. HTTP and intake pass the same admission core.
Never: judges, orders a queue, or says that a submission is taken before the log has it durably.
"""
