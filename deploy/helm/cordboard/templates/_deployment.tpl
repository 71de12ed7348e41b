{{/*
The Deployment of a component. Call with a dict:
  root        the scope of the chart
  component   the component, which is also the command
  values      its part of the values
  args        its further arguments
  env         its further variables, before those of the user
  image       "plane" or "bots"
  files       whether it gets secrets as files
  account     its service account
  hasToken    whether it uses the API of Kubernetes
  isScaled    whether an autoscaler determines the number of replicas
  volumes     further volumes, and
  mounts      further mounts, of the chart
  job         the template of the Jobs that it starts
*/}}
{{- define "cordboard.deployment" -}}
{{- $root := .root -}}
{{- $component := .component -}}
{{- $values := .values -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "cordboard.fullname" $root }}-{{ $component }}
  labels:
    {{- include "cordboard.labels" (list $root $component) | nindent 4 }}
spec:
  {{- if not .isScaled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  selector:
    matchLabels:
      {{- include "cordboard.selector" (list $root $component) | nindent 6 }}
  strategy:
    {{- if and $root.Values.allowSharedChange (has $component (list "gateway" "operator" "runner")) }}
    type: Recreate
    {{- else }}
    type: RollingUpdate
    rollingUpdate:
      maxSurge: {{ default 1 $values.maxSurge }}
      maxUnavailable: 0
    {{- end }}
  template:
    metadata:
      labels:
        {{- include "cordboard.podLabels" (list $root $component) | nindent 8 }}
        {{- with $values.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      annotations:
        # What a process reads only when it starts.
        cordboard/settings: {{ include "cordboard.startSum" . | quote }}
        {{- with $values.podAnnotations }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      serviceAccountName: {{ .account | quote }}
      automountServiceAccountToken: {{ .hasToken }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
      securityContext:
        {{- include "cordboard.podSecurity" $root | nindent 8 }}
      {{- with $root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . | quote }}
        {{- end }}
      {{- end }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . | quote }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations: {{ toYaml . | nindent 8 }}
      {{- end }}
      affinity:
        {{- if $values.affinity }}
        {{- toYaml $values.affinity | nindent 8 }}
        {{- else }}
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 1
              podAffinityTerm:
                topologyKey: kubernetes.io/hostname
                labelSelector:
                  matchLabels:
                    {{- include "cordboard.selector" (list $root $component) | nindent 20 }}
        {{- end }}
      {{- with $values.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- range . }}
        {{- $own := dict "labelSelector" (dict "matchLabels" (include "cordboard.selector" (list $root $component) | fromYaml)) }}
        - {{ ternary . (merge $own .) (hasKey . "labelSelector") | toYaml | nindent 10 }}
        {{- end }}
      {{- end }}
      containers:
        - name: {{ $component }}
          image: {{ include "cordboard.image" (list $root .image) | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: {{ toJson $root.Values.command }}
          args:
            - {{ $component }}
            - {{ printf "--host=%s" $root.Values.listenAddress | quote }}
            - --port={{ include "cordboard.port" .component }}
            {{- if $root.Values.config }}
            - --config=/etc/cordboard/cordboard.toml
            {{- end }}
            {{- range .args }}
            - {{ . | quote }}
            {{- end }}
          ports:
            - name: http
              containerPort: {{ include "cordboard.port" .component }}
              protocol: TCP
          envFrom:
            - configMapRef:
                name: {{ include "cordboard.settingsName" $root }}
            {{- with $values.envFrom }}{{ toYaml . | nindent 12 }}{{ end }}
          env:
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  apiVersion: v1
                  fieldPath: metadata.name
            - name: POD_NAMESPACE
              valueFrom:
                fieldRef:
                  apiVersion: v1
                  fieldPath: metadata.namespace
            - name: POD_IP
              valueFrom:
                fieldRef:
                  apiVersion: v1
                  fieldPath: status.podIP
            {{- include "cordboard.secretVariables" . | nindent 12 }}
            {{- $own := list }}
            {{- range $values.env }}{{ $own = append $own .name }}{{ end }}
            {{- range $name, $value := .env }}
            {{- if not (has $name $own) }}
            - name: {{ $name }}
              value: {{ $value | quote }}
            {{- end }}
            {{- end }}
            {{- with $values.env }}{{ toYaml . | nindent 12 }}{{ end }}
          startupProbe:
            httpGet: {path: /healthz, port: http, scheme: HTTP}
            periodSeconds: 2
            timeoutSeconds: 5
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /healthz, port: http, scheme: HTTP}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: http, scheme: HTTP}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          resources: {{ toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- include "cordboard.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            {{- if .files }}
            - name: secrets
              mountPath: /run/secrets/cordboard
              readOnly: true
            {{- end }}
            {{- if $root.Values.config }}
            - name: config
              mountPath: /etc/cordboard
              readOnly: true
            {{- end }}
            {{- with .mounts }}{{ toYaml . | nindent 12 }}{{ end }}
            {{- with $values.volumeMounts }}{{ toYaml . | nindent 12 }}{{ end }}
      volumes:
        - name: tmp
          emptyDir: {}
        {{- if .files }}
        - name: secrets
          projected:
            defaultMode: 288
            sources:
              - secret:
                  name: {{ include "cordboard.secretName" $root | quote }}
                  items:
                    {{- range fromJsonArray (include "cordboard.fileKeys" (list $root $component)) }}
                    - {key: {{ . }}, path: {{ . }}}
                    {{- end }}
              {{- range fromJsonArray (include "cordboard.previousKeys" (list $root $component)) }}
              - secret:
                  name: {{ include "cordboard.secretName" $root | quote }}
                  optional: true
                  items:
                    - {key: {{ . }}, path: {{ . }}}
              {{- end }}
        {{- end }}
        {{- if $root.Values.config }}
        - name: config
          configMap:
            name: {{ include "cordboard.settingsName" $root }}-file
            defaultMode: 292
        {{- end }}
        {{- with .volumes }}{{ toYaml . | nindent 8 }}{{ end }}
        {{- with $values.volumes }}{{ toYaml . | nindent 8 }}{{ end }}
{{- end -}}

{{/* A checksum of what the component reads only when it starts. A password in the URL of Redis is left out: an annotation is no
place for its hash. Call: the dict of "cordboard.deployment". */}}
{{- define "cordboard.startSum" -}}
{{- $values := .root.Values -}}
{{- $url := regexReplaceAll "//[^/]*@" $values.redis.url "//" -}}
{{- $parts := list $values.settings $values.config $values.logLevel -}}
{{- if has .component (list "gateway" "operator" "runner") }}{{ $parts = append $parts $url }}{{ end -}}
{{- if .job }}{{ $parts = append $parts .job }}{{ end -}}
{{- toJson $parts | sha256sum | trunc 16 -}}
{{- end -}}

{{/* The variables of the secrets of a component: paths of files, or references. */}}
{{- define "cordboard.secretVariables" -}}
{{- $files := ternary (fromJsonArray (include "cordboard.fileKeys" (list .root .component))) list .files -}}
{{- $root := .root -}}
{{- $keys := fromJsonArray (include "cordboard.secretKeys" (list .root .component)) -}}
{{- $previous := fromJsonArray (include "cordboard.previousKeys" (list .root .component)) -}}
{{- if .files }}{{ $files = concat $files $previous }}{{ end -}}
{{- range concat $keys $previous }}
{{- if has . $files }}
- name: {{ . }}_FILE
  value: /run/secrets/cordboard/{{ . }}
{{- else }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ include "cordboard.secretName" $root | quote }}
      key: {{ . }}
      {{- if has . $previous }}
      optional: true
      {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The Service of a component. Call: (dict "root" $ "component" NAME "values" VALUES). */}}
{{- define "cordboard.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "cordboard.fullname" .root }}-{{ .component }}
  labels:
    {{- include "cordboard.labels" (list .root .component) | nindent 4 }}
  {{- with .values.service.annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .values.service.type }}
  selector:
    {{- include "cordboard.selector" (list .root .component) | nindent 4 }}
  ports:
    - name: http
      port: {{ include "cordboard.port" .component }}
      targetPort: http
      protocol: TCP
{{- end -}}
