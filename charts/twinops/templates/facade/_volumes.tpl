{{- define "twinops.facade-mounts" -}}
{{- if has .Values.facade.auth.mode (list "basic" "api-key") }}
- {name: users, mountPath: /etc/twinops/users, readOnly: true}
{{- end }}
{{- if include "twinops.has-ditto" . }}
- {name: ditto, mountPath: /etc/twinops/ditto, readOnly: true}
{{- end }}
{{- if .Values.facade.tls.enabled }}
- {name: tls, mountPath: /etc/twinops/tls, readOnly: true}
{{- end }}
{{- include "twinops.ditto-mounts" (list . false) }}
{{- end -}}

{{- define "twinops.facade-volumes" -}}
{{- $auth := .Values.facade.auth -}}
{{- if eq $auth.mode "basic" }}
- name: users
  secret:
    secretName: {{ include "twinops.facade-secret" . }}
    defaultMode: 288 # 0440: YAML 1.1 and 1.2 read that differently
    items: [{key: users, path: users}]
{{- else if eq $auth.mode "api-key" }}
- name: users
  secret:
    secretName: {{ required "facade.auth.existingSecret is needed by mode: api-key" $auth.existingSecret }}
    defaultMode: 288 # 0440: YAML 1.1 and 1.2 read that differently
    items: [{key: keys, path: keys}]
{{- end }}
{{- if include "twinops.has-ditto" . }}
- name: ditto
  secret:
    secretName: {{ include "twinops.ditto-secret" . }}
    defaultMode: 288 # 0440: YAML 1.1 and 1.2 read that differently
    items: [{key: status-password, path: status-password}]
{{- end }}
{{- if .Values.facade.tls.enabled }}
- name: tls
  secret:
    secretName: {{ required "facade.tls.secret is needed by facade.tls.enabled" .Values.facade.tls.secret }}
    defaultMode: 288 # 0440: YAML 1.1 and 1.2 read that differently
{{- end }}
{{- include "twinops.ditto-volumes" (list . false) }}
{{- end -}}
