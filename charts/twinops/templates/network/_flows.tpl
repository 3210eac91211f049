{{/* A policy for one component. Takes (dict "root" $ "component" c "ingress" rules "egress" rules); rules are lists of objects. */}}
{{- define "twinops.network-policy" -}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "twinops.metadata" (list .root .component .component) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "twinops.selector" (list .root .component) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- /* An empty list is not kept by the API server: written, it would differ at every look. */}}
  {{- with .ingress }}
  ingress:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .egress }}
  egress:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{ end -}}

{{/* A peer: our pods of one component, as JSON. Takes (list $ "component"). */}}
{{- define "twinops.peer" -}}
{{- dict "podSelector" (dict "matchLabels" (include "twinops.selector" . | fromYaml)) | toJson -}}
{{- end -}}

{{/* A rule, as JSON. Takes (list "from"|"to" peers ports). No peers: everybody. */}}
{{- define "twinops.rule" -}}
{{- $ports := list -}}
{{- range index . 2 -}}
{{- $ports = append $ports (dict "protocol" "TCP" "port" (int .)) -}}
{{- end -}}
{{- $rule := dict "ports" $ports -}}
{{- with index . 1 -}}
{{- $_ := set $rule (index $ 0) . -}}
{{- end -}}
{{- toJson $rule -}}
{{- end -}}

{{- define "twinops.dns-rule" -}}
{{- $dns := .Values.networkPolicies.dns -}}
{{- dict "to" $dns.to "ports" (list (dict "protocol" "UDP" "port" (int $dns.port)) (dict "protocol" "TCP" "port" (int $dns.port))) | toJson -}}
{{- end -}}

{{/* Peers from a list of CIDRs, as JSON. */}}
{{- define "twinops.cidrs" -}}
{{- $peers := list -}}
{{- range . -}}
{{- $peers = append $peers (dict "ipBlock" (dict "cidr" .)) -}}
{{- end -}}
{{- toJson $peers -}}
{{- end -}}

{{/* The ports given, else those of the URLs, as JSON. Takes (list ports urls); a URL may be empty. */}}
{{- define "twinops.ports" -}}
{{- $known := dict "http" "80" "ws" "80" "https" "443" "wss" "443" "mqtt" "1883" "mqtts" "8883" -}}
{{- $ports := index . 0 -}}
{{- if not $ports -}}
{{- range compact (index . 1) -}}
{{- $url := urlParse . -}}
{{- $named := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $ports = append $ports (int ($named | default (get $known $url.scheme))) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
