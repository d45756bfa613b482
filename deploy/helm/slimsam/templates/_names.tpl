{{- define "slimsam.name" -}}
{{- if contains "slimsam" .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-slimsam" .Release.Name }}{{ end -}}
{{- end }}

{{/* What selects the pods of one component; called with the chart's scope and the component. */}}
{{- define "slimsam.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: slimsam
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "slimsam.labels" -}}
{{- $root := index . 0 -}}
{{ include "slimsam.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* The servers' pods: each has an address of its own behind this name. */}}
{{- define "slimsam.address" -}}
dns:///{{ include "slimsam.name" . }}.{{ .Release.Namespace }}.svc:8001
{{- end }}

{{/* Triton's Python models exchange tensors through /dev/shm, too. */}}
{{- define "slimsam.shm" -}}
{{ add .Values.cache.mebibytes 768 }}
{{- end }}

{{- define "slimsam.claim" -}}
{{ .Values.storage.existingClaim | default (printf "%s-models" (include "slimsam.name" .)) }}
{{- end }}

{{- define "slimsam.checkpoint" -}}
c{{ sha256sum .Values.model.checkpoint | trunc 15 }}
{{- end }}

{{- define "slimsam.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "slimsam.user" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "slimsam.gpu" -}}
{{- with .Values.server.gpu }}{{ . }}: "1"{{ end -}}
{{- end }}

{{/* What belongs together, and can be seen to be wrong before anything is started. */}}
{{- define "slimsam.check" -}}
{{- if and (eq .Values.model.target "tensorrt") (not .Values.server.gpu) }}
{{- fail "model.target: tensorrt needs server.gpu, such as nvidia.com/gpu; CPUs take openvino" }}
{{- end }}
{{- if and .Values.server.gpu (eq .Values.model.target "openvino") }}
{{- fail "server.gpu: expected \"\" beside model.target openvino, which computes on CPUs" }}
{{- end }}
{{- if and (eq .Values.model.precision "fp16") (not .Values.server.gpu) }}
{{- fail "model.precision: fp16 needs server.gpu; CPUs take fp32 or bf16" }}
{{- end }}
{{- if and .Values.gateway.enabled (not .Values.gateway.keysSecret) }}
{{- fail "gateway.keysSecret: expected the name of a Secret with gateway.keys, which a gateway that others reach needs" }}
{{- end }}
{{- if and .Values.edge.enabled (not .Values.edge.filesSecret) }}
{{- fail "edge.filesSecret: expected the name of a Secret with server.pem, server.key, clients.pem and jwks.json" }}
{{- end }}
{{- if and (eq .Values.autoscaling.kind "keda") (not .Values.autoscaling.prometheus) }}
{{- fail "autoscaling.prometheus: expected the address of a Prometheus, which KEDA asks" }}
{{- end }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail "autoscaling: expected minReplicas of at most maxReplicas" }}
{{- end }}
{{- if and (eq (int .Values.server.maxSurge) 0) (eq (int .Values.server.maxUnavailable) 0) }}
{{- fail "server: expected maxSurge or maxUnavailable above 0, or no roll-out goes on" }}
{{- end }}
{{- $several := or (gt (int .Values.server.replicas) 1) (ne .Values.autoscaling.kind "none") (gt (int .Values.server.maxSurge) 0) }}
{{- $shared := or .Values.storage.perPod .Values.storage.existingClaim (has "ReadWriteMany" .Values.storage.accessModes) }}
{{- if and $several (not $shared) }}
{{- fail "storage.accessModes: several pods need ReadWriteMany, or storage.perPod" }}
{{- end }}
{{- end }}
