"""The scheduler: one queue per cell, every lease in it, and the one conclusion of each judgement.

Consumes: submissions, requests, capacity and judgements of its cells. Emits: `assize.decisions.v1`, its own log.
Owns: the order of the queue, lease epochs, the signature under each execution spec, and conclusions.
Never does: run programs, read sources, write a verdict, or keep state anywhere but in its log.
"""
