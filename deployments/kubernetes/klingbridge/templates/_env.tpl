{{- /* The container's variables. Those of .Values.config come last, so that they win. */}}
{{- define "klingbridge.env" -}}
- {name: NATS_URL, value: {{ .Values.nats.url | quote }}}
- {name: BRIDGE_STREAM_REPLICAS, value: {{ .Values.nats.streamReplicas | quote }}}
# Beyond loopback, for probes and Prometheus; the network policy says who else.
- {name: BRIDGE_ADMIN_ADDR, value: ":8081"}
- {name: BRIDGE_LOG_FORMAT, value: json}
- {name: BRIDGE_INPUT_BUCKETS, value: {{ .Values.inputBuckets | quote }}}
{{- with .Values.publicURL }}
- {name: BRIDGE_PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
{{- range $name, $key := dict "KLING_API_KEY" "api-key" "KLING_ACCESS_KEY" "access-key" "KLING_SECRET_KEY" "secret-key" "KLING_WEBHOOK_SECRET" "webhook-secret" }}
{{ include "klingbridge.secretEnv" (dict "name" $name "secret" $.Values.kling.existingSecret "key" $key) }}
{{- end }}
{{- with .Values.callbackSecret }}
- name: BRIDGE_CALLBACK_SECRET
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: callback-secret}
{{- end }}
{{- if .Values.nats.credsKey }}
- {name: NATS_CREDS, value: /etc/klingbridge/nats/creds}
{{- else if .Values.nats.existingSecret }}
{{- range $name, $key := dict "NATS_USER" "user" "NATS_PASSWORD" "password" "NATS_TOKEN" "token" }}
{{ include "klingbridge.secretEnv" (dict "name" $name "secret" $.Values.nats.existingSecret "key" $key) }}
{{- end }}
{{- end }}
{{- if .Values.nats.tlsSecret }}
- {name: NATS_CA, value: /etc/klingbridge/nats-tls/ca.crt}
{{- if .Values.nats.clientCertificate }}
- {name: NATS_CERT, value: /etc/klingbridge/nats-tls/tls.crt}
- {name: NATS_KEY, value: /etc/klingbridge/nats-tls/tls.key}
{{- end }}
{{- end }}
# Lets the Go runtime stay below the memory limit.
- name: GOMEMLIMIT
  valueFrom:
    resourceFieldRef: {resource: limits.memory}
{{- range $name, $value := .Values.config }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
