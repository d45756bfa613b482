#!/usr/bin/env bash
# The server: checks that the artifacts belong to this machine, then runs tritonserver.
#   SLIMSAM_TARGET     what to serve            SLIMSAM_MODELS     the repository, a volume
#   SLIMSAM_ON_STALE   refuse (default): exit; rebuild: run build.sh first, in an image that can
#   SLIMSAM_ON_FAILURE restart (default): start tritonserver again when it or a model has failed;
#                      exit: end with status 1, for an orchestrator that starts the container again
#   SLIMSAM_ADMIN_KEY  for the calls that administer the server; without it, nobody can send them
#   SLIMSAM_EMBEDDED   1 in the image without NVIDIA's server: slimsam-serve, on loopback
# Arguments are passed on to the server.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
models=${SLIMSAM_MODELS:-/models}
target=${SLIMSAM_TARGET:?expected a target, such as tensorrt or openvino}
on_failure=${SLIMSAM_ON_FAILURE:-restart}
if [[ $on_failure != restart && $on_failure != exit ]]; then
  echo "serve.sh: SLIMSAM_ON_FAILURE: expected restart or exit, got $on_failure" >&2
  exit 2
fi

asked=()
if [[ ${SLIMSAM_ON_STALE:-refuse} == rebuild ]]; then # then it is to serve what build.sh makes
  asked=(
    ${SLIMSAM_CHECKPOINT:+--checkpoint "$SLIMSAM_CHECKPOINT"}
    ${SLIMSAM_PRECISION:+--precision "$SLIMSAM_PRECISION"}
  )
fi
if ! slimsam-build check "${asked[@]}" --target "$target" --model-repository "$models"; then
  case ${SLIMSAM_ON_STALE:-refuse} in
    refuse)
      echo "serve.sh: artifacts of target $target do not belong here; run the build job" >&2
      exit 1
      ;;
    rebuild)
      if ! python3 -c 'import torch' 2>/dev/null; then
        echo "serve.sh: this image cannot build, it has no PyTorch; run the build job" >&2
        exit 1
      fi
      "$here/build.sh"
      ;;
    *)
      echo "serve.sh: SLIMSAM_ON_STALE: expected refuse or rebuild, got $SLIMSAM_ON_STALE" >&2
      exit 2
      ;;
  esac
fi

if [[ ${SLIMSAM_EMBEDDED:-} == 1 ]]; then
  [[ $on_failure == restart ]] || set -- --no-restart "$@"
  exec slimsam-serve --model-repository "$models" --target "$target" "$@"
fi
flags=(
  --model-repository="$models"
  --model-control-mode=none
  --disable-auto-complete-config
  --strict-readiness=true
  --exit-on-error=true
  --exit-timeout-secs=30 # compose.yaml's stop_grace_period is longer
  --allow-http=false
  --allow-metrics=true
)
# Which configurations, by target and precision; none: config.pbtxt itself.
config=$(python3 -c 'import sys; from slimsam_server.model_config import main; sys.exit(main())' \
  "$target" "$models")
if [[ -n $config ]]; then
  flags+=(--model-config-name="$config")
fi
exec python3 -m slimsam_server.container "$models" "$on_failure" tritonserver "${flags[@]}" "$@"
