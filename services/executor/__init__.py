"""The executor: judges one submission in one sandbox, and tells what came of it, signed.

Consumes: `assize.decisions.v1` (its cell, from now on: `JudgementAssigned`, `LeaseRevoked` that name this process),
`assize.keys.v1`; blobs of sources, test lists, inputs and answers.
Emits: `assize.judgements.v1` (`AssignmentRefused`, `JudgementStarted`, `RunsFinished`, `JudgementCompleted`,
`JudgementFaulted`), `assize.capacity.v1` (`CapacityReported`); evidence blobs.
Owns: the sandboxes that carry its name, and nothing else on its host.
Never: concludes a judgement, runs anything without a signed spec and a proved pool, lets an answer into a sandbox.
"""
