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
{{- include "cordboard.checkPlaces" . -}}
{{- include "cordboard.checkSecrets" . -}}
{{- include "cordboard.checkInterface" . -}}
{{- range $name := list "interface" "edge" -}}
{{- $part := index $.Values $name -}}
{{- if $part.enabled -}}
{{- if and (or $part.ingress.enabled $part.httpRoute.enabled) (not $part.host) -}}
{{- fail (printf "%s.host: expected the host name of %s.ingress and %s.httpRoute, got none." $name $name $name) -}}
{{- end -}}
{{- if and $part.httpRoute.enabled (not $part.httpRoute.parentRefs) -}}
{{- fail (printf "%s.httpRoute.parentRefs: expected the Gateways of the route, such as [{name: public, namespace: gateways}], got none." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "cordboard.checkScaling" . -}}
{{- include "cordboard.checkGrace" . -}}
{{- include "cordboard.checkPolicies" . -}}
{{- include "cordboard.checkShared" . -}}
{{- end -}}

{{/* What the chart checks and renders follows from settings, which must not be elsewhere. It cannot read what `envFrom` names. */}}
{{- define "cordboard.checkPlaces" -}}
{{- $beforeTables := regexReplaceAll "(?ms)^[ \\t]*\\[.*" .Values.config "" -}}
{{- range regexFindAll "(?m)^[ \\t]*[\"']?[A-Za-z0-9_]+[\"']?[ \\t]*=" $beforeTables -1 -}}
{{- $name := regexFind "[A-Za-z0-9_]+" . -}}
{{- if not (has $name (list "bots" "cells" "environments" "logs" "phone" "prices")) -}}
{{- fail (printf "config: expected tables alone, such as [phone] and [bots.NAME], got %s: set settings.%s instead." $name $name) -}}
{{- end -}}
{{- end -}}
{{- $envs := dict -}}
{{- range $component := list "gateway" "operator" "runner" "interface" "edge" -}}
{{- $_ := set $envs (printf "%s.env" $component) (index $.Values $component "env") -}}
{{- end -}}
{{- if .Values.coldRunners.enabled -}}
{{- range dig "spec" "template" "spec" "containers" list .Values.coldRunners.template -}}
{{- $_ := set $envs (printf "coldRunners.template (container %v)" .name) (default list .env) -}}
{{- end -}}
{{- end -}}
{{- range $place, $env := $envs -}}
{{- range $env -}}
{{- $name := trimPrefix "cordboard_" (lower .name) -}}
{{- if and (hasPrefix "CORDBOARD_" .name) (has $name (list "shards" "lease_s" "record_kept_hours" "runner_capacity" "interface_login" "stream_grace_s")) -}}
{{- fail (printf "%s: %s: set settings.%s instead." $place .name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cordboard.checkInterface" -}}
{{- if .Values.interface.enabled -}}
{{- $login := default "" .Values.settings.interface_login -}}
{{- $isExposed := or .Values.interface.ingress.enabled .Values.interface.httpRoute.enabled (ne .Values.interface.service.type "ClusterIP") -}}
{{- if not $login -}}
{{- fail "settings.interface_login: expected oidc (an identity provider), header (a proxy authenticates people), or name for a trial through `kubectl port-forward`, got none." -}}
{{- end -}}
{{- if not (has $login (list "oidc" "header" "name")) -}}
{{- fail (printf "settings.interface_login: expected oidc, header or name, got %s." $login) -}}
{{- end -}}
{{- if and $isExposed (eq $login "name") -}}
{{- fail "settings.interface_login: name lets in everybody who types a name, and this interface is exposed (ingress, httpRoute or service.type). Set oidc and an identity provider, or let a proxy authenticate people, and set header." -}}
{{- end -}}
{{- if and (eq $login "header") (not .Values.settings.trusted_proxies) (not (include "cordboard.hasKey" (list . "CORDBOARD_INTERFACE_LOGIN_SECRET"))) -}}
{{- fail "settings.interface_login is header, but nothing says whose header is trusted: set settings.trusted_proxies to the addresses of the proxies, or give the Secret the key CORDBOARD_INTERFACE_LOGIN_SECRET (secret.keys or secret.values)." -}}
{{- end -}}
{{- $isClosed := and .Values.networkPolicies.enabled .Values.networkPolicies.proxies (eq .Values.interface.service.type "ClusterIP") -}}
{{- if and (eq $login "header") (not $isClosed) (not (include "cordboard.hasKey" (list . "CORDBOARD_INTERFACE_LOGIN_SECRET"))) -}}
{{- fail "settings.interface_login is header, and whoever has an address in settings.trusted_proxies, such as another pod, could sign in as anybody: give the Secret the key CORDBOARD_INTERFACE_LOGIN_SECRET (secret.keys or secret.values), which the proxy sends as X-Login-Secret. Or let nobody but the proxies reach the interface: set networkPolicies.proxies, with networkPolicies.enabled=true and interface.service.type=ClusterIP." -}}
{{- end -}}
{{- if and (eq $login "oidc") (not (and .Values.settings.oidc_issuer .Values.settings.oidc_client_id)) -}}
{{- fail "settings.interface_login is oidc, but there is no provider: set settings.oidc_issuer and settings.oidc_client_id, and give the Secret the key CORDBOARD_OIDC_CLIENT_SECRET unless the client is public." -}}
{{- end -}}
{{- if and (eq $login "oidc") (not (or .Values.interface.host .Values.settings.interface_url)) -}}
{{- fail "settings.interface_login is oidc, but the provider would not know where to send people back to: set interface.host, or settings.interface_url to https://HOST." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cordboard.checkSecrets" -}}
{{- if hasKey .Values.secret.values "REDIS_URL" -}}
{{- fail "secret.values.REDIS_URL: set redis.url instead." -}}
{{- end -}}
{{- range $key := list "BOT_CONTROL_SHARED_SECRET" "CORDBOARD_SESSION_SECRET" "CORDBOARD_SCRAPE_SECRET" "CORDBOARD_INTERFACE_LOGIN_SECRET" -}}
{{- $value := get $.Values.secret.values $key -}}
{{- if and (hasKey $.Values.secret.values $key) (lt (len $value) 16) -}}
{{- fail (printf "secret.values.%s: expected 16 or more characters, got %d.%s" $key (len $value) (ternary "" " Without a value, the chart generates one." (eq $key "CORDBOARD_INTERFACE_LOGIN_SECRET"))) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.podMonitor.enabled (not (include "cordboard.hasKey" (list . "CORDBOARD_SCRAPE_SECRET"))) -}}
{{- fail "podMonitor.enabled: Prometheus needs the scrape secret: give the Secret of secret.name the key CORDBOARD_SCRAPE_SECRET, and list it in secret.keys." -}}
{{- end -}}
{{- if hasKey .Values.secret.values "VALKEY_PASSWORD" -}}
{{- if not (regexMatch "^[A-Za-z0-9._~-]{16,}$" (get .Values.secret.values "VALKEY_PASSWORD")) -}}
{{- fail "secret.values.VALKEY_PASSWORD: expected 16 or more of A-Z a-z 0-9 . _ ~ -, because it is a part of a URL. Without a value, the chart generates one." -}}
{{- end -}}
{{- end -}}
{{- $servers := default list .Values.settings.ice_servers -}}
{{- $inSecret := include "cordboard.hasKey" (list . "CORDBOARD_ICE_SERVERS") -}}
{{- if and $servers $inSecret -}}
{{- fail "settings.ice_servers has no effect beside the key CORDBOARD_ICE_SERVERS of the Secret: write all servers into one of the two." -}}
{{- end -}}
{{- range $server := $servers -}}
{{- $text := ternary (toJson $server) (toString $server) (kindIs "map" $server) -}}
{{- if or (contains "credential" $text) (contains "username" $text) -}}
{{- fail "settings.ice_servers: a server has a username or a credential, and settings are a ConfigMap, which is no place for them: write all servers, as JSON, into the key CORDBOARD_ICE_SERVERS of the Secret (secret.keys or secret.values) instead." -}}
{{- end -}}
{{- if and (regexMatch "turns?:" $text) (not (include "cordboard.hasKey" (list $ "CORDBOARD_TURN_SECRET"))) -}}
{{- fail (printf "settings.ice_servers: %s has no credentials: give the Secret the key CORDBOARD_TURN_SECRET (secret.keys or secret.values). For a fixed username and credential, write all servers, as JSON, into its key CORDBOARD_ICE_SERVERS instead." $text) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cordboard.checkScaling" -}}
{{- $scaling := .Values.runner.autoscaling -}}
{{- if and .Values.runner.enabled $scaling.kind -}}
{{- if and (eq $scaling.kind "keda") (not $scaling.keda.prometheus) -}}
{{- fail "runner.autoscaling.keda.prometheus: expected the URL of Prometheus, got none." -}}
{{- end -}}
{{- if and (eq $scaling.kind "hpa") (lt (int $scaling.minReplicas) 1) -}}
{{- fail "runner.autoscaling.minReplicas: a HorizontalPodAutoscaler needs 1 or more, got 0." -}}
{{- end -}}
{{- if or (lt (int $scaling.maxReplicas) 1) (lt (int $scaling.maxReplicas) (int $scaling.minReplicas)) -}}
{{- fail (printf "runner.autoscaling.maxReplicas: expected runner.autoscaling.minReplicas (%v) or more, got %v." $scaling.minReplicas $scaling.maxReplicas) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A component that is killed while it stops would cut requests, streams or calls. */}}
{{- define "cordboard.checkGrace" -}}
{{- range $name, $rest := dict "gateway" 12 "interface" 12 "edge" 16 -}}
{{- $part := index $.Values $name -}}
{{- $least := add $part.lameDuckSeconds $rest -}}
{{- if and (dig "enabled" true $part) (lt (int $part.terminationGracePeriodSeconds) (int $least)) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds: expected %d or more (%s.lameDuckSeconds and %d s to stop), got %v." $name $least $name $rest $part.terminationGracePeriodSeconds) -}}
{{- end -}}
{{- end -}}
{{- $streams := include "cordboard.setting" (list . "stream_grace_s" "") -}}
{{- $least := add .Values.edge.lameDuckSeconds (int $streams) 15 -}}
{{- if and .Values.edge.enabled $streams (lt (int .Values.edge.terminationGracePeriodSeconds) (int $least)) -}}
{{- fail (printf "edge.terminationGracePeriodSeconds: expected %d or more (edge.lameDuckSeconds, settings.stream_grace_s and 15 s to stop), got %v. Without settings.stream_grace_s, streams go on for as long as the grace period allows." $least .Values.edge.terminationGracePeriodSeconds) -}}
{{- end -}}
{{- if lt (int .Values.operator.terminationGracePeriodSeconds) 20 -}}
{{- fail (printf "operator.terminationGracePeriodSeconds: expected 20 or more, of which an operator needs up to 15 to finish its hand-overs, got %v." .Values.operator.terminationGracePeriodSeconds) -}}
{{- end -}}
{{- $cold := dig "spec" "template" "spec" "terminationGracePeriodSeconds" 45 .Values.coldRunners.template -}}
{{- if and .Values.coldRunners.enabled (lt (int $cold) 16) -}}
{{- fail (printf "coldRunners.template: terminationGracePeriodSeconds: expected 16 or more, of which a runner needs 15 to hand its call over, got %v." $cold) -}}
{{- end -}}
{{- if and .Values.runner.enabled (lt (int .Values.runner.terminationGracePeriodSeconds) 16) -}}
{{- fail (printf "runner.terminationGracePeriodSeconds: expected 16 or more, of which a runner needs 15 to hand its calls over, got %v." .Values.runner.terminationGracePeriodSeconds) -}}
{{- end -}}
{{- end -}}

{{/* The policies would silently deny what other values ask for. */}}
{{- define "cordboard.checkPolicies" -}}
{{- if .Values.networkPolicies.enabled -}}
{{- if and .Values.podMonitor.enabled (not .Values.networkPolicies.monitoring) -}}
{{- fail "networkPolicies.monitoring: expected who reads the metrics, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}], because podMonitor.enabled=true, got none." -}}
{{- end -}}
{{- if and (ne .Values.gateway.service.type "ClusterIP") (not .Values.networkPolicies.gatewayCallers) -}}
{{- fail (printf "networkPolicies.gatewayCallers: expected who calls the gateway from outside, such as [{ipBlock: {cidr: 203.0.113.0/24}}], because gateway.service.type is %s, got none." .Values.gateway.service.type) -}}
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
