{{- define "cordboard.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The labels by which a component's pods are found. Call: (list $ COMPONENT). */}}
{{- define "cordboard.selector" -}}
app.kubernetes.io/name: cordboard
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The labels of a pod. Those with a version would restart all pods when nothing but the chart has changed. */}}
{{- define "cordboard.podLabels" -}}
{{ include "cordboard.selector" . }}
app.kubernetes.io/part-of: cordboard
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service | quote }}
{{- end -}}

{{/* All labels of an object. Call: (list $ COMPONENT). */}}
{{- define "cordboard.labels" -}}
{{ include "cordboard.podLabels" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{/* The reference of an image. Call: (list $ "plane") or (list $ "bots"). */}}
{{- define "cordboard.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.image (index . 1) -}}
{{- with $root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default $root.Chart.AppVersion $image.tag }}{{ end -}}
{{- end -}}

{{/* The port on which a component listens. Policies have numbers, as some network plugins ignore names of ports. */}}
{{- define "cordboard.port" -}}
{{- get (dict "gateway" "4444" "operator" "4445" "runner" "7861" "cold-runner" "7861" "interface" "3000" "edge" "7860" "valkey" "6379") . -}}
{{- end -}}

{{- define "cordboard.secretName" -}}
{{- default (include "cordboard.fullname" .) .Values.secret.name -}}
{{- end -}}

{{/* Whether the Secret has an optional key. Call: (list $ KEY). Result: "true" or "". */}}
{{- define "cordboard.hasKey" -}}
{{- $root := index . 0 -}}
{{- $key := index . 1 -}}
{{- $made := concat (list "CORDBOARD_SCRAPE_SECRET") (keys $root.Values.secret.values) -}}
{{- if has $key (ternary $root.Values.secret.keys $made (ne $root.Values.secret.name "")) }}true{{ end -}}
{{- end -}}

{{/* The keys of the Secret that a component gets, as a JSON list. Call: (list $ COMPONENT). */}}
{{- define "cordboard.secretKeys" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $keys := list "BOT_CONTROL_SHARED_SECRET" -}}
{{- $optional := list "CORDBOARD_SCRAPE_SECRET" -}}
{{- if has $component (list "gateway" "operator" "runner") }}{{ $keys = append $keys "REDIS_URL" }}{{ end -}}
{{- if has $component (list "gateway" "runner") }}{{ $optional = concat $optional (list "CORDBOARD_TURN_SECRET" "CORDBOARD_ICE_SERVERS") }}{{ end -}}
{{- if eq $component "interface" -}}
{{- $keys = append $keys "CORDBOARD_SESSION_SECRET" -}}
{{- $optional = concat $optional (list "CORDBOARD_INTERFACE_LOGIN_SECRET" "CORDBOARD_OIDC_CLIENT_SECRET") -}}
{{- end -}}
{{- range $optional -}}
{{- if include "cordboard.hasKey" (list $root .) }}{{ $keys = append $keys . }}{{ end -}}
{{- end -}}
{{- toJson $keys -}}
{{- end -}}

{{/* The keys that a component reads from files, as a JSON list. There is no CORDBOARD_ICE_SERVERS_FILE. Call: (list $ COMPONENT). */}}
{{- define "cordboard.fileKeys" -}}
{{- without (fromJsonArray (include "cordboard.secretKeys" .)) "CORDBOARD_ICE_SERVERS" | toJson -}}
{{- end -}}

{{/* Previous secrets may be missing at any time. Call: (list $ COMPONENT). */}}
{{- define "cordboard.previousKeys" -}}
{{- $keys := list "BOT_CONTROL_SHARED_SECRET_PREV" -}}
{{- if eq (index . 1) "interface" }}{{ $keys = append $keys "CORDBOARD_SESSION_SECRET_PREV" }}{{ end -}}
{{- toJson $keys -}}
{{- end -}}

{{/* The value of a setting as the text of a variable. */}}
{{- define "cordboard.settingText" -}}
{{- if kindIs "slice" . -}}
{{- $hasTables := false -}}
{{- range . }}{{ if kindIs "map" . }}{{ $hasTables = true }}{{ end }}{{ end -}}
{{- if $hasTables }}{{ toJson . }}{{ else }}{{ join "," . }}{{ end -}}
{{- else if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* A setting, or the default; 0 and false are values. Call: (list $ NAME DEFAULT). */}}
{{- define "cordboard.setting" -}}
{{- $value := get (index . 0).Values.settings (index . 1) -}}
{{- include "cordboard.settingText" (ternary (index . 2) $value (or (kindIs "invalid" $value) (eq (toString $value) ""))) -}}
{{- end -}}

{{- define "cordboard.gatewayUrl" -}}
{{- $own := printf "http://%s-gateway:4444" (include "cordboard.fullname" .) -}}
{{- include "cordboard.setting" (list . "gateway_url" $own) -}}
{{- end -}}

{{- define "cordboard.settingsName" -}}
{{- include "cordboard.fullname" . }}-settings
{{- end -}}

{{- define "cordboard.account" -}}
{{- include "cordboard.fullname" . -}}
{{- end -}}

{{- define "cordboard.operatorAccount" -}}
{{- include "cordboard.fullname" . }}-operator
{{- end -}}

{{/* The options --bot of a runner or an operator, as a JSON list. */}}
{{- define "cordboard.botOptions" -}}
{{- $options := list -}}
{{- range $name, $file := .Values.bots }}{{ $options = concat $options (list "--bot" (printf "%s=%s" $name $file)) }}{{ end -}}
{{- toJson $options -}}
{{- end -}}

{{- define "cordboard.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "cordboard.podSecurity" -}}
{{- $found := dict -}}
{{- range $name, $value := .Values.podSecurity }}{{ if not (kindIs "invalid" $value) }}{{ $_ := set $found $name $value }}{{ end }}{{ end -}}
{{- toYaml $found -}}
{{- end -}}
