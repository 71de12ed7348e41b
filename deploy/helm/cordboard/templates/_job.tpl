{{/* The common part of the Jobs: that of the chart, below that of the user. A list of the user replaces one of the chart. */}}
{{- define "cordboard.jobTemplate" -}}
{{- $security := include "cordboard.podSecurity" . | fromYaml -}}
{{- $runner := dict "name" "runner" "command" .Values.command "imagePullPolicy" .Values.image.pullPolicy
  "securityContext" (include "cordboard.containerSecurity" . | fromYaml)
  "volumeMounts" (concat (list (dict "name" "tmp" "mountPath" "/tmp")) .Values.runner.volumeMounts) -}}
{{- $env := list -}}
{{- /* The other keys of the Secret are references that an operator writes. */ -}}
{{- if include "cordboard.hasKey" (list . "CORDBOARD_ICE_SERVERS") -}}
{{- $reference := dict "name" (include "cordboard.secretName" .) "key" "CORDBOARD_ICE_SERVERS" -}}
{{- $env = append $env (dict "name" "CORDBOARD_ICE_SERVERS" "valueFrom" (dict "secretKeyRef" $reference)) -}}
{{- end -}}
{{- with concat $env .Values.runner.env }}{{ $_ := set $runner "env" . }}{{ end -}}
{{- $volumes := concat (list (dict "name" "tmp" "emptyDir" dict)) .Values.runner.volumes -}}
{{- if .Values.config -}}
{{- $_ := set $runner "volumeMounts" (append $runner.volumeMounts (dict "name" "config" "mountPath" "/etc/cordboard" "readOnly" true)) -}}
{{- $volumes = append $volumes (dict "name" "config" "configMap" (dict "name" (printf "%s-file" (include "cordboard.settingsName" .)) "defaultMode" 292)) -}}
{{- /* The arguments that an operator sets otherwise, and the file. */ -}}
{{- $grace := dig "spec" "template" "spec" "terminationGracePeriodSeconds" 600 .Values.coldRunners.template -}}
{{- $args := list "runner" "--once" "--host" "$(POD_IP)" "--port" (include "cordboard.port" "cold-runner") "--grace" (toString (max 1 (sub (int $grace) 15))) -}}
{{- $_ := set $runner "args" (concat $args (fromJsonArray (include "cordboard.botOptions" .)) (list "--config" "/etc/cordboard/cordboard.toml")) -}}
{{- end -}}
{{- with .Values.runner.envFrom }}{{ $_ := set $runner "envFrom" . }}{{ end -}}
{{- $pod := dict "securityContext" $security "volumes" $volumes "containers" (list $runner) -}}
{{- with .Values.image.pullSecrets }}
{{- $names := list }}
{{- range . }}{{ $names = append $names (dict "name" .) }}{{ end }}
{{- $_ := set $pod "imagePullSecrets" $names }}
{{- end -}}
{{- with .Values.runner.nodeSelector }}{{ $_ := set $pod "nodeSelector" . }}{{ end -}}
{{- with .Values.runner.tolerations }}{{ $_ := set $pod "tolerations" . }}{{ end -}}
{{- $base := dict "spec" (dict "template" (dict "metadata" (dict "labels" (dict "app.kubernetes.io/part-of" "cordboard")) "spec" $pod)) -}}
{{- toYaml (mergeOverwrite $base (deepCopy .Values.coldRunners.template)) -}}
{{- end -}}
