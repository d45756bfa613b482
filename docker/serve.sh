#!/usr/bin/env bash
# The server: checks that the artefacts belong to this machine, then becomes tritonserver.
#   SLIMSAM_TARGET     what to serve            SLIMSAM_MODELS     the repository, a volume
#   SLIMSAM_ON_STALE   refuse (default): exit; rebuild: run build.sh first, in an image that can
#   SLIMSAM_ADMIN_KEY  for the administration APIs; made up if it is not given
#   SLIMSAM_EMBEDDED   1 in the image without NVIDIA's server: slimsam-serve, on loopback
# Arguments are passed on to the server.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
models=${SLIMSAM_MODELS:-/models}
target=${SLIMSAM_TARGET:?expected a target, such as tensorrt or openvino}

if ! slimsam-build --check --target "$target" --model-repository "$models"; then
  case ${SLIMSAM_ON_STALE:-refuse} in
    refuse)
      echo "serve.sh: artefacts of target $target do not belong here; run the build job" >&2
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
  exec slimsam-serve --model-repository "$models" --target "$target" "$@"
fi
key=${SLIMSAM_ADMIN_KEY:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
flags=(
  --model-repository="$models"
  --model-control-mode=none
  --disable-auto-complete-config
  --strict-readiness=true
  --exit-on-error=true
  --allow-http=false
  --allow-metrics=true
  --grpc-restricted-protocol="model-repository,shared-memory,trace,logging:admin-key=$key"
)
# config.pbtxt itself is the one of target torchscript.
if [[ $target != torchscript ]]; then
  flags+=(--model-config-name="$target")
fi
exec tritonserver "${flags[@]}" "$@"
