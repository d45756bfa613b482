#!/bin/bash
# Workers of one batch as a Slurm array. Each takes shards until none is left, so any number may run, and one that
# is preempted costs the shard it was at.
#   sbatch --array=0-7 deploy/batch/slurm.sh /data/pictures /data/results --prompts /data/boxes.json
# SLIMSAM_URL names the server; arguments are those of `slimsam batch`.
#SBATCH --job-name=slimsam-batch
#SBATCH --cpus-per-task=2
#SBATCH --mem=2G
#SBATCH --requeue
#SBATCH --signal=B:TERM@30
#SBATCH --output=slimsam-batch-%A-%a.log
set -euo pipefail
# `B:` above and `exec` here, so that the worker itself has Slurm's SIGTERM, and gives its shard up.
exec slimsam batch "$@" --lenient
