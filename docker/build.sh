#!/usr/bin/env bash
# The build job: installs the configurations, and builds what is missing, stale, or not what is asked
# for here, nothing else.
#   SLIMSAM_CHECKPOINT  as slimsam-build takes it        SLIMSAM_TARGET     e.g. tensorrt
#   SLIMSAM_MODELS      the repository, a volume         SLIMSAM_PRECISION  default: slimsam-build's
set -euo pipefail
here=$(dirname "$(realpath "$0")")
models=${SLIMSAM_MODELS:-/models}
target=${SLIMSAM_TARGET:?expected a target, such as tensorrt or openvino}
options=(
  ${SLIMSAM_CHECKPOINT:+--checkpoint "$SLIMSAM_CHECKPOINT"} --target "$target"
  ${SLIMSAM_PRECISION:+--precision "$SLIMSAM_PRECISION"} --model-repository "$models"
)

cp -R "$here/model_repository/." "$models/"
if slimsam-build check "${options[@]}"; then
  exit 0
fi
: "${SLIMSAM_CHECKPOINT:?expected a checkpoint}"
status=0
slimsam-build build "${options[@]}" || status=$?
# 4: fp32 is installed in place of a precision that failed the gate, and can be served.
if [[ $status == 4 ]]; then
  status=0
fi
exit "$status"
