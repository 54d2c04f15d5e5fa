{{- define "scoreboard-operator.selector" -}}
app.kubernetes.io/name: scoreboard-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "scoreboard-operator.labels" -}}
{{ include "scoreboard-operator.selector" . }}
app.kubernetes.io/part-of: scoreboard
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
