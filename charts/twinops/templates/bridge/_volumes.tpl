{{- define "twinops.bridge-mounts" -}}
{{- if include "twinops.broker-secret" . }}
- {name: mqtt, mountPath: /etc/twinops/mqtt, readOnly: true}
{{- end }}
{{- if include "twinops.broker-ca" . }}
- {name: mqtt-ca, mountPath: /etc/twinops/mqtt-ca, readOnly: true}
{{- end }}
{{- if include "twinops.broker-client" . }}
- {name: mqtt-client, mountPath: /etc/twinops/mqtt-client, readOnly: true}
{{- end }}
{{- include "twinops.ditto-mounts" (list . true) }}
{{- end -}}

{{- define "twinops.bridge-volumes" -}}
{{- with include "twinops.broker-secret" . }}
- name: mqtt
  secret:
    secretName: {{ . }}
    defaultMode: 288 # 0440: YAML 1.1 and 1.2 read that differently
    items: [{key: bridge-password, path: bridge-password}]
{{- end }}
{{- with include "twinops.broker-ca" . }}
- name: mqtt-ca
  secret:
    secretName: {{ . }}
    defaultMode: 288 # 0440: YAML 1.1 and 1.2 read that differently
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- with include "twinops.broker-client" . }}
- name: mqtt-client
  secret:
    secretName: {{ . }}
    defaultMode: 288 # 0440: YAML 1.1 and 1.2 read that differently
    items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
{{- end }}
{{- include "twinops.ditto-volumes" (list . true) }}
{{- end -}}
