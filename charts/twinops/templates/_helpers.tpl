{{- define "twinops.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a Service or a pod is found by. Takes (list $ "component"). */}}
{{- define "twinops.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: twinops
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Takes (list $ "component"). */}}
{{- define "twinops.labels" -}}
{{- $root := index . 0 -}}
{{ include "twinops.selector" . }}
app.kubernetes.io/part-of: twinops
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* name, namespace and labels of an object. Takes (list $ "component" "name after the full name"). */}}
{{- define "twinops.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "twinops.fullname" $root }}{{ with index . 2 }}-{{ . }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "twinops.labels" (list $root (index . 1)) | nindent 2 }}
{{- end -}}

{{/* An image by tag, or by digest when one is given. Takes (list image "default tag"). */}}
{{- define "twinops.reference" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end -}}
{{- end -}}

{{/* image and imagePullPolicy of a container of ours. */}}
{{- define "twinops.image" -}}
image: {{ include "twinops.reference" (list .Values.image .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{/* What every pod's spec begins with. Takes (list $ component-values user "component"). */}}
{{- define "twinops.pod" -}}
{{- $root := index . 0 -}}
{{- $user := index . 2 -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $user }}
  runAsGroup: {{ $user }}
  fsGroup: {{ $user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
topologySpreadConstraints:
  {{- range tuple "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "twinops.selector" (list $root (index $ 3)) | nindent 8 }}
  {{- end }}
{{- $own := (index . 1).scheduling | default dict }}
{{- with merge (deepCopy $own) $root.Values.scheduling }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "twinops.container-security" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Logs as every role of ours takes them. */}}
{{- define "twinops.log-env" -}}
- name: LOG_LEVEL
  value: {{ .Values.log.level | quote }}
- name: TWINOPS_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
{{- end -}}

{{/* Three probes on the management port. Takes the number of 5 s periods a start may take. */}}
{{- define "twinops.probes" -}}
# Startup and liveness: the process serves. Readiness: it can do its work.
startupProbe:
  httpGet: {path: /livez, port: management}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ . }}
livenessProbe:
  httpGet: {path: /livez, port: management}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: management}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{/* Where Ditto's API is. */}}
{{- define "twinops.ditto-url" -}}
{{- if eq .Values.backend "external" -}}
{{ required "externalDitto.url is needed by backend: external" .Values.externalDitto.url }}
{{- else -}}
http://{{ include "twinops.fullname" . }}-{{ ternary "engine" "gateway" (eq .Values.backend "engine") }}:8080
{{- end -}}
{{- end -}}

{{/* Where Ditto is and whom its certificate is from, as every role takes it. */}}
{{- define "twinops.ditto-env" -}}
- name: DITTO_API_URL
  value: {{ include "twinops.ditto-url" . | quote }}
{{- if eq .Values.backend "external" }}
{{- with .Values.externalDitto.wsUrl }}
- name: DITTO_WS_URL
  value: {{ . | quote }}
{{- end }}
{{- if .Values.externalDitto.caSecret }}
- name: DITTO_CA_FILE
  value: /etc/twinops/ditto-ca/ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{/* How operator and bridge say to Ditto who they are, as JSON: `mode`, `secret`, `subject`, and the value it is `from`. */}}
{{- define "twinops.login" -}}
{{- if eq .Values.backend "external" -}}
{{- merge (dict "from" "externalDitto.login") .Values.externalDitto.login | toJson -}}
{{- else if and (eq .Values.backend "ditto") (not .Values.ditto.preAuthentication) -}}
{{- /* Ditto's gateway knows no users: a token is all that is left. */ -}}
{{- include "twinops.check-login" . -}}
{{- merge (dict "from" "ditto.login" "mode" "token") .Values.ditto.login | toJson -}}
{{- else -}}
{{- dict "mode" "pre-authenticated" "secret" "" "subject" "" | toJson -}}
{{- end -}}
{{- end -}}

{{/* The Secret of that login; empty: none is needed. */}}
{{- define "twinops.login-secret" -}}
{{- $login := include "twinops.login" . | fromJson -}}
{{- if ne $login.mode "pre-authenticated" -}}
{{ required (printf "%s.secret is needed by mode: %s" $login.from $login.mode) $login.secret }}
{{- end -}}
{{- end -}}

{{/* Refuses a gateway that believes nobody's word beside parts that have nothing else to say. */}}
{{- define "twinops.check-login" -}}
{{- if and (eq .Values.backend "ditto") (not .Values.ditto.preAuthentication) -}}
{{- if not .Values.ditto.oidc.issuers -}}
{{- fail "with ditto.preAuthentication=false the gateway takes tokens alone: name in ditto.oidc.issuers whose" -}}
{{- end -}}
{{- if and (or .Values.operator.enabled .Values.bridge.enabled) (not .Values.ditto.login.secret) -}}
{{- fail "with ditto.preAuthentication=false operator and bridge need a token: make a Secret with `token`, from a provider in ditto.oidc.issuers, and name it in ditto.login.secret" -}}
{{- end -}}
{{- if and .Values.facade.enabled (ne .Values.facade.auth.mode "passthrough") -}}
{{- fail (printf "with ditto.preAuthentication=false the gateway does not believe a facade with facade.auth.mode=%s: set facade.auth.mode=passthrough, so that callers bring tokens of ditto.oidc.issuers" .Values.facade.auth.mode) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* As whom a role speaks to Ditto. Takes (list $ "subject"). */}}
{{- define "twinops.login-env" -}}
{{- $root := index . 0 -}}
{{- $login := include "twinops.login" $root | fromJson -}}
{{- if include "twinops.says-who" $root }}
- name: DITTO_PRE_AUTHENTICATED
  value: {{ index . 1 | quote }}
{{- else if eq $login.mode "basic" }}
- name: DITTO_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ include "twinops.login-secret" $root }}
      key: username
- name: DITTO_PASSWORD_FILE
  value: /etc/twinops/ditto-login/password
{{- else }}
- name: DITTO_TOKEN_FILE
  value: /etc/twinops/ditto-login/token
{{- end }}
{{- end -}}

{{/* Volumes for the two above, without a login for the facade. Takes (list $ with-login). */}}
{{- define "twinops.ditto-volumes" -}}
{{- $root := index . 0 -}}
{{- if eq $root.Values.backend "external" }}
{{- with $root.Values.externalDitto.caSecret }}
- name: ditto-ca
  secret:
    secretName: {{ . }}
    defaultMode: 288 # 0440: YAML 1.1 and 1.2 read that differently
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- end }}
{{- if index . 1 }}
{{- with include "twinops.login-secret" $root }}
- name: ditto-login
  secret:
    secretName: {{ . }}
    defaultMode: 288 # 0440: YAML 1.1 and 1.2 read that differently
{{- end }}
{{- end }}
{{- end -}}

{{- define "twinops.ditto-mounts" -}}
{{- $root := index . 0 -}}
{{- if and (eq $root.Values.backend "external") $root.Values.externalDitto.caSecret }}
- {name: ditto-ca, mountPath: /etc/twinops/ditto-ca, readOnly: true}
{{- end }}
{{- if and (index . 1) (include "twinops.login-secret" $root) }}
- {name: ditto-login, mountPath: /etc/twinops/ditto-login, readOnly: true}
{{- end }}
{{- end -}}

{{/* "true" where Ditto takes our word for who we are; elsewhere operator and bridge have one login. */}}
{{- define "twinops.says-who" -}}
{{- if eq (include "twinops.login" . | fromJson).mode "pre-authenticated" }}true{{ end -}}
{{- end -}}

{{/* Whom policies must let in: as what the operator is known, and as what the bridge is, if it has a name of its own. */}}
{{- define "twinops.operator-subject" -}}
{{- if include "twinops.says-who" . -}}
{{- if .Values.operator.enabled -}}{{ .Values.operator.subject }}{{- end -}}
{{- else -}}
{{ (include "twinops.login" . | fromJson).subject }}
{{- end -}}
{{- end -}}
{{- define "twinops.bridge-subject" -}}
{{- if and .Values.bridge.enabled (include "twinops.says-who" .) -}}{{ .Values.bridge.subject }}{{- end -}}
{{- end -}}

{{/* Names of Secrets: the one given, else the one that `twinops secrets` makes. */}}
{{- define "twinops.facade-secret" -}}
{{ .Values.facade.auth.existingSecret | default (printf "%s-facade" (include "twinops.fullname" .)) }}
{{- end -}}
{{- define "twinops.engine-secret" -}}
{{ .Values.engine.existingSecret | default (printf "%s-engine" (include "twinops.fullname" .)) }}
{{- end -}}
{{- define "twinops.mosquitto-secret" -}}
{{ .Values.mosquitto.existingSecret | default (printf "%s-mosquitto" (include "twinops.fullname" .)) }}
{{- end -}}
{{- define "twinops.ditto-secret" -}}
{{ .Values.ditto.existingSecret | default (printf "%s-ditto" (include "twinops.fullname" .)) }}
{{- end -}}
{{- define "twinops.mongodb-secret" -}}
{{- if eq .Values.mongodb.mode "external" -}}
{{ required "mongodb.external.secret is needed by mongodb.mode: external" .Values.mongodb.external.secret }}
{{- else -}}
{{ .Values.mongodb.existingSecret | default (printf "%s-mongodb" (include "twinops.fullname" .)) }}
{{- end -}}
{{- end -}}

{{/* Which parts there are: "true" or nothing. */}}
{{- define "twinops.has-ditto" -}}{{ if eq .Values.backend "ditto" }}true{{ end }}{{- end -}}
{{- define "twinops.has-mongodb" -}}{{ if and (eq .Values.backend "ditto") (eq .Values.mongodb.mode "internal") }}true{{ end }}{{- end -}}
{{- define "twinops.has-broker" -}}{{ if or .Values.mosquitto.enabled .Values.externalBroker.url }}true{{ end }}{{- end -}}

{{- define "twinops.broker-port" -}}{{ ternary 8883 1883 .Values.mosquitto.tls.enabled }}{{- end -}}
{{- define "twinops.broker-url" -}}
{{- if .Values.mosquitto.enabled -}}
{{ ternary "mqtts" "mqtt" .Values.mosquitto.tls.enabled }}://{{ include "twinops.fullname" . }}-mosquitto:{{ include "twinops.broker-port" . }}
{{- else -}}
{{ .Values.externalBroker.url }}
{{- end -}}
{{- end -}}

{{/* The flags of `twinops secrets` for what this installation needs and nobody brought, and the names it may get. */}}
{{- define "twinops.secret-names" -}}
{{- $names := list -}}
{{- if and .Values.facade.enabled (eq .Values.facade.auth.mode "basic") (not .Values.facade.auth.existingSecret) -}}
{{- $names = append $names (list "facade-users" (include "twinops.facade-secret" .)) -}}
{{- end -}}
{{- if and (eq .Values.backend "engine") (not .Values.engine.existingSecret) -}}
{{- $names = append $names (list "engine-users" (include "twinops.engine-secret" .)) -}}
{{- end -}}
{{- if and .Values.mosquitto.enabled (not .Values.mosquitto.existingSecret) -}}
{{- $names = append $names (list "mqtt-users" (include "twinops.mosquitto-secret" .)) -}}
{{- end -}}
{{- if and (include "twinops.has-ditto" .) (not .Values.ditto.existingSecret) -}}
{{- $names = append $names (list "ditto-passwords" (include "twinops.ditto-secret" .)) -}}
{{- end -}}
{{- if and (include "twinops.has-mongodb" .) (not .Values.mongodb.existingSecret) -}}
{{- $names = append $names (list "mongodb" (include "twinops.mongodb-secret" .)) -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{- define "twinops.mongodb-host" -}}
{{ include "twinops.fullname" . }}-mongodb-0.{{ include "twinops.fullname" . }}-mongodb.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:27017
{{- end -}}

{{/* A PodDisruptionBudget: one pod at a time. A single pod may go too, or its node could never be drained. Takes (list $ "component"). */}}
{{- define "twinops.pdb" -}}
{{- if (index . 0).Values.podDisruptionBudgets }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "twinops.metadata" (list (index . 0) (index . 1) (index . 1)) | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "twinops.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{/* A StatefulSet's volume `data`. It outlives the release: with it go twins, or messages. Takes (list $ persistence). */}}
{{- define "twinops.claim" -}}
{{- $persistence := index . 1 -}}
{{- if $persistence.enabled -}}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: Retain
  whenScaled: Retain
volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: data
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $persistence.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ $persistence.size }}
{{- end -}}
{{- end -}}

{{/* The Secret whose ca.crt the broker's certificate is from, if the system does not know it. */}}
{{- define "twinops.broker-ca" -}}
{{- if .Values.mosquitto.enabled -}}
{{- if .Values.mosquitto.tls.enabled -}}{{ .Values.mosquitto.tls.caSecret | default .Values.mosquitto.tls.secret }}{{- end -}}
{{- else -}}
{{ include "twinops.broker-tls" (list . "caSecret" .Values.externalBroker.caSecret) }}
{{- end -}}
{{- end -}}

{{/* The Secret with the certificate that the bridge shows. */}}
{{- define "twinops.broker-client" -}}
{{- if not .Values.mosquitto.enabled -}}{{ include "twinops.broker-tls" (list . "clientSecret" .Values.externalBroker.clientSecret) }}{{- end -}}
{{- end -}}

{{/* A Secret of the external broker that counts with TLS alone. Takes (list $ "name" value). */}}
{{- define "twinops.broker-tls" -}}
{{- with index . 2 -}}
{{- if not (hasPrefix "mqtts://" (index $ 0).Values.externalBroker.url) -}}
{{- fail (printf "externalBroker.%s only means something with TLS: write externalBroker.url=mqtts://…" (index $ 1)) -}}
{{- end -}}
{{ . }}
{{- end -}}
{{- end -}}

{{/* The Secret with the bridge's login at the broker. */}}
{{- define "twinops.broker-secret" -}}
{{- if .Values.mosquitto.enabled -}}{{ include "twinops.mosquitto-secret" . }}{{- else -}}{{ .Values.externalBroker.secret }}{{- end -}}
{{- end -}}
