"""Many pictures in shards, which any number of workers share.

A batch is a folder or an object store's prefix. What its workers agree on lies there:

    plan.json             what is computed; made once, by the first worker
    plan/HASH/000017      the pictures of shard 17, and their prompts
    claims/000017-0002    the third claim on shard 17, and its worker's beats
    results/000017.json   the shard's result (.parquet likewise), whole or not there
    masks/                its masks, if they are asked for as PNGs
    annotations.json      COCO's annotations, if they are asked for, when all shards are done
    summary.json          how many pictures and masks, and what failed: the batch is complete

Plan, claims and results are created if there is none of their name, in one step: so two workers
that do the same thing at once do it once in the result. Annotations and summary are the same from
whoever comes to the end, and take their places whole. Nothing depends on clocks that agree, and
nothing on an engine: Kubernetes, Slurm and Ray start workers, which do the rest.
"""

from __future__ import annotations
