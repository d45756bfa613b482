#!/usr/bin/env bash
# The build job: installs the configurations, and builds what is missing or stale, nothing else.
#   SLIMSAM_CHECKPOINT  as slimsam-build takes it        SLIMSAM_TARGET     e.g. tensorrt
#   SLIMSAM_MODELS      the repository, a volume         SLIMSAM_PRECISION  default: slimsam-build's
set -euo pipefail
here=$(dirname "$(realpath "$0")")
models=${SLIMSAM_MODELS:-/models}
target=${SLIMSAM_TARGET:?expected a target, such as tensorrt or openvino}

cp -R "$here/model_repository/." "$models/"
if slimsam-build check --target "$target" --model-repository "$models"; then
  exit 0
fi
status=0
slimsam-build build --checkpoint "${SLIMSAM_CHECKPOINT:?expected a checkpoint}" --target "$target" \
  ${SLIMSAM_PRECISION:+--precision "$SLIMSAM_PRECISION"} --model-repository "$models" || status=$?
# 4: fp32 is installed in place of a precision that failed the gate, and can be served.
if [[ $status == 4 ]]; then
  status=0
fi
exit "$status"
