#!/usr/bin/env bash
# The build job of a fleet: finds on a shared volume the repository that belongs to this machine and
# checkpoint, runs build.sh in one pod at a time where there is none, and links it for serve.sh.
#   SLIMSAM_VOLUME  the volume         SLIMSAM_MODELS         the link, which serve.sh is given
#   and build.sh's own                 SLIMSAM_LEASE_SECONDS  when a pod that builds is taken for dead
set -euo pipefail
exec python3 -m slimsam_build.prepare "$(dirname "$(realpath "$0")")"
