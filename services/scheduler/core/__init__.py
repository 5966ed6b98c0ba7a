"""The deciding core of a cell: `decide(state, event, …)` gives decisions, `fold(state, decision)` is what they mean.

Theory of operation. The log of decisions is the state: what a cell remembers is exactly the fold of the records it
wrote, live and after a start alike, because `decide` changes the remembered part of the state through `fold` alone.
Beside it lies what was merely observed (who reported capacity, when); it is learned again within a second after a
start. A judgement waits, is leased to one executor process under an epoch that only moves here, and is concluded once:

    SubmissionQueued ──▶ waiting ──JudgementAssigned──▶ leased ──JudgementConcluded──▶ concluded
                            ▲                             │
                            └────────LeaseRevoked─────────┘
"""
