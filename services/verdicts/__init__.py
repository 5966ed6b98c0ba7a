"""The verdict store: what the log says about verdicts, made readable.

Consumes: submissions, requests, decisions, judgements, problems, contests, rejudgings and keys of every cell; capacity
(live only). Emits: `VerdictRecorded` on `assize.verdicts.v1` and `assize.verdicts.latest.v1`.
Owns: one Postgres schema with the append-only ledger, the read models and the offsets it has projected; the HTTP and
WebSocket doors for readers; the page. Never does: judging, scheduling, or deciding which result counts. It projects
what the scheduler concluded and nothing else, so that everything here can be thrown away and rebuilt from the log.
"""
