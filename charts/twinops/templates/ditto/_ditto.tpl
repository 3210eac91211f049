{{/* The services that make a Ditto: all but connectivity are needed. */}}
{{- define "twinops.ditto-services" -}}
{{- $services := list "policies" "things" "things-search" "gateway" -}}
{{- if (index .Values.ditto.services "connectivity").enabled -}}
{{- $services = append $services "connectivity" -}}
{{- end -}}
{{- toJson $services -}}
{{- end -}}

{{/* A cluster forms when this many members see each other: one of each service. */}}
{{- define "twinops.ditto-contacts" -}}
{{ include "twinops.ditto-services" . | fromJsonArray | len }}
{{- end -}}

{{/* What has no variable. Source: Ditto 3.8, gateway.conf includes /opt/ditto/gateway-extension.conf. */}}
{{- define "twinops.gateway-conf" -}}
ditto.gateway.authentication.oauth.openid-connect-issuers {
{{- range $name, $one := .Values.ditto.oidc.issuers }}
  {{ $name }} {
    issuer = {{ $one.issuer | quote }}
    auth-subjects = {{ toJson $one.authSubjects }}
  }
{{- end }}
}
{{- end -}}

{{/* Takes (list $ "service" own-values). Source of every name: Ditto 3.8.12, see tests/data/ditto. */}}
{{- define "twinops.ditto-service-env" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- $own := index . 2 -}}
{{- $ditto := $root.Values.ditto -}}
- name: DITTO_LOGGING_DISABLE_SYSOUT_LOG
  value: "false"
- name: DITTO_LOGGING_FILE_APPENDER
  value: "false"
# How the members find each other, and how many must before they form a cluster.
- name: DISCOVERY_METHOD
  value: kubernetes-api
- name: CLUSTER_BS_SERVICE_NAME
  value: {{ include "twinops.fullname" $root }}
- name: CLUSTER_BS_REQUIRED_CONTACTS
  value: {{ include "twinops.ditto-contacts" $root | quote }}
- name: HOSTNAME
  valueFrom:
    fieldRef: {fieldPath: status.podIP}
- name: INSTANCE_INDEX
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
# Fixed for the life of an installation: a rolling update cannot change it.
- name: CLUSTER_NUMBER_OF_SHARDS
  value: {{ $ditto.numberOfShards | quote }}
- name: PROMETHEUS_PORT
  value: "9095"
{{- $trust := and (eq $root.Values.mongodb.mode "external") (ne $service "gateway") $root.Values.mongodb.external.trustStoreSecret }}
# Java prints this at its start: no secret may stand here. A trust store of the type JKS is read without its password.
- name: JAVA_TOOL_OPTIONS
  value: >-
    -XX:ActiveProcessorCount={{ $own.processors }}
    -XX:MaxRAMPercentage={{ $ditto.heapPercent }}
    -XX:InitialRAMPercentage={{ $ditto.heapPercent }}
    -XX:+UseG1GC
    -XX:+UseStringDeduplication
    -XX:+ExitOnOutOfMemoryError
    {{- if $ditto.heapDumps }}
    -XX:+HeapDumpOnOutOfMemoryError
    -XX:HeapDumpPath=/opt/ditto/dumps/oom.bin
    {{- end }}
    -Xss512k
    -XX:MaxMetaspaceSize=256m
    -Djava.net.preferIPv4Stack={{ ne $root.Values.listenAddress "[::]" }}
    -Dpekko.management.cluster.bootstrap.contact-point-discovery.port-name=management
    -Dpekko.cluster.shutdown-after-unsuccessful-join-seed-nodes=180s
    {{- if $trust }}
    -Djavax.net.ssl.trustStore=/etc/ditto/trust/truststore.jks
    -Djavax.net.ssl.trustStoreType=JKS
    {{- end }}
    {{- with $own.javaOptions }}
    {{ . }}
    {{- end }}
- name: LIMITS_THINGS_MAX_SIZE
  value: {{ $ditto.limits.thingsMaxSize | quote }}
- name: LIMITS_POLICIES_MAX_SIZE
  value: {{ $ditto.limits.policiesMaxSize | quote }}
- name: LIMITS_MESSAGES_MAX_SIZE
  value: {{ $ditto.limits.messagesMaxSize | quote }}
- name: DITTO_DEVOPS_FEATURE_MERGE_THINGS_ENABLED
  value: "true"
{{- if eq $service "gateway" }}
# HOSTNAME alone would bind it to the pod's address, which `kubectl port-forward` does not ask.
- name: BIND_HOSTNAME
  value: "0.0.0.0"
# With it, whoever reaches the gateway may be anybody: NetworkPolicies let nobody in but our pods.
- name: ENABLE_PRE_AUTHENTICATION
  value: {{ $ditto.preAuthentication | quote }}
- name: DEVOPS_SECURED
  value: "true"
- name: DEVOPS_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "twinops.ditto-secret" $root }}, key: devops-password}
- name: DEVOPS_STATUS_SECURED
  value: "true"
- name: STATUS_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "twinops.ditto-secret" $root }}, key: status-password}
- name: OAUTH_PROTOCOL
  value: {{ $ditto.oidc.protocol }}
# The facade and the bridge are single clients with many users behind them: Ditto's limit of 100 messages a second for each would be theirs together.
- name: GATEWAY_WEBSOCKET_THROTTLING_ENABLED
  value: {{ $ditto.throttling | quote }}
- name: GATEWAY_SSE_THROTTLING_ENABLED
  value: {{ $ditto.throttling | quote }}
{{- else }}
- name: MONGO_DB_URI
  valueFrom:
    secretKeyRef:
      name: {{ include "twinops.mongodb-secret" $root }}
      key: {{ ternary "search" $service (eq $service "things-search") }}-uri
- name: MONGO_DB_SSL_ENABLED
  value: {{ and (eq $root.Values.mongodb.mode "external") $root.Values.mongodb.external.tls | quote }}
- name: MONGO_DB_CONNECTION_POOL_SIZE
  value: {{ $ditto.mongodbConnections | quote }}
{{- if has $service (list "policies" "things" "connectivity") }}
# What was acknowledged is in the journal on disk.
- name: PEKKO_PERSISTENCE_MONGO_JOURNAL_WRITE_CONCERN
  value: {{ $ditto.writeConcern.journal }}
- name: PEKKO_PERSISTENCE_MONGO_SNAPS_WRITE_CONCERN
  value: {{ $ditto.writeConcern.snapshots }}
{{- end }}
{{- end }}
{{- with $own.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
