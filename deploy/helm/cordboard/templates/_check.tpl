{{/* Refuses values with which the components would not start, or would be open to everybody. */}}
{{- define "cordboard.check" -}}
{{- if not (or .Values.secret.name .Values.redis.url .Values.redis.bundled.enabled) -}}
{{- fail "expected secret.name, redis.url or redis.bundled.enabled=true, got none of them: components need a Redis or Valkey." -}}
{{- end -}}
{{- if and .Values.redis.bundled.enabled (or .Values.redis.url .Values.secret.name) -}}
{{- fail "redis.bundled.enabled=true is for trials, with neither redis.url nor secret.name: set one of the three." -}}
{{- end -}}
{{- if and .Values.secret.name .Values.redis.url -}}
{{- fail "redis.url has no effect with secret.name: put the URL into the key REDIS_URL of that Secret." -}}
{{- end -}}
{{- if and .Values.secret.name .Values.secret.values -}}
{{- fail "secret.values is for a Secret that the chart creates: put these keys into the Secret of secret.name, and their names into secret.keys." -}}
{{- end -}}
{{- include "cordboard.checkInterface" . -}}
{{- if and .Values.edge.enabled (or .Values.edge.ingress.enabled .Values.edge.httpRoute.enabled) (not .Values.edge.host) -}}
{{- fail "edge.host: expected the host name of edge.ingress and edge.httpRoute, got none." -}}
{{- end -}}
{{- $autoscaling := .Values.runner.autoscaling -}}
{{- if and (eq $autoscaling.kind "keda") (not $autoscaling.keda.prometheus) -}}
{{- fail "runner.autoscaling.keda.prometheus: expected the URL of Prometheus, got none." -}}
{{- end -}}
{{- include "cordboard.checkShared" . -}}
{{- end -}}

{{- define "cordboard.checkInterface" -}}
{{- if .Values.interface.enabled -}}
{{- $login := default "" .Values.settings.interface_login -}}
{{- $isExposed := or .Values.interface.ingress.enabled .Values.interface.httpRoute.enabled (ne .Values.interface.service.type "ClusterIP") -}}
{{- if not $login -}}
{{- fail "settings.interface_login: expected oidc (an identity provider), header (a proxy authenticates people), or name for a trial through `kubectl port-forward`, got none." -}}
{{- end -}}
{{- if and $isExposed (eq $login "name") -}}
{{- fail "settings.interface_login: name lets in everybody who types a name, and this interface is exposed (ingress, httpRoute or service.type). Set oidc and an identity provider, or let a proxy authenticate people, and set header." -}}
{{- end -}}
{{- if and (eq $login "header") (not .Values.settings.trusted_proxies) (not (include "cordboard.hasKey" (list . "CORDBOARD_INTERFACE_LOGIN_SECRET"))) -}}
{{- fail "settings.interface_login is header, but nothing says whose header is trusted: set settings.trusted_proxies to the addresses of the proxies, or give the Secret the key CORDBOARD_INTERFACE_LOGIN_SECRET (secret.keys or secret.values)." -}}
{{- end -}}
{{- if and (eq $login "oidc") (not (and .Values.settings.oidc_issuer .Values.settings.oidc_client_id)) -}}
{{- fail "settings.interface_login is oidc, but there is no provider: set settings.oidc_issuer and settings.oidc_client_id, and give the Secret the key CORDBOARD_OIDC_CLIENT_SECRET unless the client is public." -}}
{{- end -}}
{{- if and (or .Values.interface.ingress.enabled .Values.interface.httpRoute.enabled) (not .Values.interface.host) -}}
{{- fail "interface.host: expected the host name of interface.ingress and interface.httpRoute, got none." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Components with different values of these settings do not run side by side, so a rolling update would not end. */}}
{{- define "cordboard.checkShared" -}}
{{- $before := lookup "v1" "ConfigMap" .Release.Namespace (include "cordboard.settingsName" .) -}}
{{- if and $before .Release.IsUpgrade (not .Values.allowSharedChange) -}}
{{- range $name, $default := dict "shards" "1" "lease_s" "15" "record_kept_hours" "24" -}}
{{- $old := default $default (get $before.data (printf "CORDBOARD_%s" (upper $name))) -}}
{{- $new := include "cordboard.setting" (list $ $name $default) -}}
{{- if ne $old $new -}}
{{- fail (printf "settings.%s: expected %s, as now, got %s. All gateways, operators and runners must have the same value, so they all have to stop before the new ones start, and calls end. To do this, add --set allowSharedChange=true (docs/operations.md, `Settings that all components share`)." $name $old $new) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
