{{- define "twinops.mosquitto-conf" -}}
# Nobody without a password, and nobody beyond its topics.
allow_anonymous false
password_file /run/mosquitto-users/passwords
acl_file /run/mosquitto-users/acl
persistence true
persistence_location /mosquitto/data/
autosave_interval {{ .Values.mosquitto.autosaveSeconds }}
# The bridge acknowledges after Ditto took a write: so many may be under way, so many wait for it.
max_inflight_messages {{ .Values.mosquitto.maxInflightMessages }}
max_queued_messages {{ .Values.mosquitto.maxQueuedMessages }}
max_packet_size {{ .Values.mosquitto.maxPacketBytes }}
persistent_client_expiration {{ .Values.mosquitto.clientExpiration }}
log_dest stdout
log_type error
log_type warning
log_type notice
log_type information
listener {{ include "twinops.broker-port" . }}
{{- if .Values.mosquitto.tls.enabled }}
certfile /run/mosquitto-tls/tls.crt
keyfile /run/mosquitto-tls/tls.key
tls_version tlsv1.2
{{- end }}
{{- end -}}
