{{- define "hashpivot.fullname" -}}
{{- if contains "hashpivot" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-hashpivot" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "hashpivot.selector" -}}
app.kubernetes.io/name: hashpivot
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hashpivot.labels" -}}
{{ include "hashpivot.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "hashpivot.natsURL" -}}
{{- if .Values.nats.enabled }}{{ if .Values.tls.caSecret }}tls{{ else }}nats{{ end }}://{{ .Release.Name }}-nats:4222
{{- else }}{{ required "externalNats.url: say where NATS is, or set nats.enabled" .Values.externalNats.url }}{{ end }}
{{- end }}

{{- define "hashpivot.clickhouseAddr" -}}
{{- if .Values.clickhouse.enabled }}
{{- $port := ternary 9440 9000 (ne .Values.clickhouse.tls "") }}
{{- /* A name for each replica: a landing that is tried again may go to the other, which has the same blocks by Keeper. */}}
{{- range $i := until (int .Values.clickhouse.replicas) }}
- chi-{{ include "hashpivot.fullname" $ }}-hashpivot-0-{{ $i }}:{{ $port }}
{{- end }}
{{- else }}
{{- if not .Values.externalClickHouse.addr }}{{ fail "externalClickHouse.addr: say where ClickHouse is, or set clickhouse.enabled" }}{{ end }}
{{- toYaml .Values.externalClickHouse.addr | nindent 0 }}
{{- end }}
{{- end }}

{{- /* The configuration of all services; what is secret comes by the environment. */}}
{{- define "hashpivot.config" -}}
{{- $nats := dict "url" (include "hashpivot.natsURL" .) }}
{{- $clickhouse := dict "addr" (include "hashpivot.clickhouseAddr" . | fromYamlArray) }}
{{- if and .Values.clickhouse.enabled (gt (int .Values.clickhouse.replicas) 1) }}
{{- $_ := set $clickhouse "replicated" true }}
{{- end }}
{{- if .Values.tls.caSecret }}
{{- $_ := set $nats "ca_file" "/etc/hashpivot/tls/ca.crt" }}
{{- if or .Values.clickhouse.tls (not .Values.clickhouse.enabled) }}
{{- $_ := set $clickhouse "tls" true }}
{{- $_ := set $clickhouse "ca_file" "/etc/hashpivot/tls/ca.crt" }}
{{- end }}
{{- end }}
{{- $auth := dict "anonymous" (ternary "nobody" "everyone" .Values.gateway.auth) "origins" .Values.gateway.origins "trusted_proxies" .Values.gateway.trustedProxies }}
{{- $gateway := dict "addr" (printf "0.0.0.0:%d" (int .Values.services.gateway.port)) "auth" $auth }}
{{- mergeOverwrite (dict "admin" (dict "addr" "0.0.0.0:9464") "nats" $nats "clickhouse" $clickhouse "gateway" $gateway) (deepCopy .Values.config) | toYaml }}
{{- end }}

{{- /* The pod of a service: root (the chart's context), name, service (its values), command, restart. */}}
{{- define "hashpivot.pod" -}}
metadata:
  labels:
    {{- include "hashpivot.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
  annotations:
    checksum/config: {{ include "hashpivot.config" .root | sha256sum }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  restartPolicy: {{ .restart }}
  # An orderly end takes up to 10 s, after what precedes it.
  terminationGracePeriodSeconds: 25
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- if eq .restart "Always" }}
  topologySpreadConstraints:
    - topologyKey: kubernetes.io/hostname
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "hashpivot.selector" .root | nindent 10 }}
          app.kubernetes.io/component: {{ .name }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args:
        - --config=/etc/hashpivot/hashpivot.yaml
        - {{ .name }}
        {{- range .service.args }}
        - {{ . | quote }}
        {{- end }}
      env:
        - name: HASHPIVOT_NATS__USER
          value: {{ .name }}
        - name: HASHPIVOT_NATS__PASSWORD
          valueFrom: {secretKeyRef: {name: {{ .root.Values.global.secret }}, key: nats-{{ .name }}}}
        {{- if .service.tables }}
        - name: HASHPIVOT_CLICKHOUSE__USER
          value: {{ .name }}
        - name: HASHPIVOT_CLICKHOUSE__PASSWORD
          valueFrom: {secretKeyRef: {name: {{ .root.Values.global.secret }}, key: clickhouse-{{ .name }}}}
        {{- end }}
        {{- if and (eq .name "gateway") .root.Values.gateway.auth }}
        - name: HASHPIVOT_GATEWAY__AUTH__KEYS__MAIN__ALGORITHM
          value: HS256
        - name: HASHPIVOT_GATEWAY__AUTH__KEYS__MAIN__SECRET
          valueFrom: {secretKeyRef: {name: {{ .root.Values.global.secret }}, key: gateway-key}}
        {{- end }}
        {{- range .service.keys }}
        - name: {{ . }}
          valueFrom: {secretKeyRef: {name: {{ $.root.Values.global.secret }}, key: {{ . }}}}
        {{- end }}
        - name: GOMEMLIMIT
          value: {{ .service.goMemLimit }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      {{- if eq .restart "Always" }}
      ports:
        - {name: admin, containerPort: 9464}
        {{- with .service.port }}
        - {name: http, containerPort: {{ . }}}
        {{- end }}
      startupProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 2
        failureThreshold: 30
      livenessProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        timeoutSeconds: 6
      {{- if .service.port }}
      # Who routes here must have learnt that the pod goes before it closes.
      lifecycle:
        preStop: {sleep: {seconds: 5}}
      {{- end }}
      {{- end }}
      resources:
        {{- toYaml .service.resources | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/hashpivot/hashpivot.yaml, subPath: hashpivot.yaml, readOnly: true}
        {{- if .root.Values.tls.caSecret }}
        - {name: tls, mountPath: /etc/hashpivot/tls, readOnly: true}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "hashpivot.fullname" .root }}}
    {{- with .root.Values.tls.caSecret }}
    - name: tls
      secret:
        secretName: {{ . }}
        items: [{key: ca.crt, path: ca.crt}]
    {{- end }}
{{- end }}
