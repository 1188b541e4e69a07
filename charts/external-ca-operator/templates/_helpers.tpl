{{/* The name of everything that the chart makes. */}}
{{- define "external-ca-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What tells this release's pods from all others: never changes. */}}
{{- define "external-ca-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "external-ca-operator.labels" -}}
{{- $own := include "external-ca-operator.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "openchoreo" -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- toYaml (merge $own .Values.commonLabels) -}}
{{- end -}}

{{/* Pods carry neither the chart's version nor the manager: a new chart alone restarts nothing. */}}
{{- define "external-ca-operator.podLabels" -}}
{{- $own := include "external-ca-operator.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "openchoreo" -}}
{{- toYaml (merge $own .Values.commonLabels) -}}
{{- end -}}

{{- define "external-ca-operator.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* "true" where Helm can ask the cluster: not in `helm template`, nor in Argo CD. */}}
{{- define "external-ca-operator.live" -}}
{{- if lookup "v1" "Namespace" "" "kube-system" }}true{{ end -}}
{{- end -}}

{{/*
The namespaces of namespaces.serve and namespaces.planes that permissions can be made in, and those of them to create:
{"serve": […], "planes": […], "create": […], "missing": […]}. A Role in a namespace that does not exist would fail the whole
installation, and OpenChoreo has the build plane or the workflow plane, never both.
*/}}
{{- define "external-ca-operator.namespaces" -}}
{{- $live := include "external-ca-operator.live" . -}}
{{- $serve := list -}}
{{- $planes := list -}}
{{- $create := list -}}
{{- $missing := list -}}
{{- range $name := .Values.namespaces.serve -}}
{{- $there := lookup "v1" "Namespace" "" $name -}}
{{- if eq $name $.Release.Namespace -}}
{{- $serve = append $serve $name -}}
{{- else if $.Values.namespaces.create -}}
{{- $serve = append $serve $name -}}
{{- /* One that this release made stays in its manifest; one that somebody else made is left alone. */ -}}
{{- $annotations := dict -}}
{{- if $there -}}{{- $annotations = $there.metadata.annotations | default dict -}}{{- end -}}
{{- $ours := and (eq (get $annotations "meta.helm.sh/release-name") $.Release.Name) (eq (get $annotations "meta.helm.sh/release-namespace") $.Release.Namespace) -}}
{{- if or (not $there) $ours -}}{{- $create = append $create $name -}}{{- end -}}
{{- else if or $there (not $live) -}}
{{- $serve = append $serve $name -}}
{{- else -}}
{{- $missing = append $missing $name -}}
{{- end -}}
{{- end -}}
{{- range $name := .Values.namespaces.planes -}}
{{- if not (has $name $.Values.namespaces.serve) -}}
{{- if or (not $live) (lookup "v1" "Namespace" "" $name) -}}
{{- $planes = append $planes $name -}}
{{- else -}}
{{- $missing = append $missing $name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "serve" $serve "planes" $planes "create" $create "missing" $missing | toJson -}}
{{- end -}}

{{/* Both groups: OpenChoreo serves openchoreo.dev, its documents print core.openchoreo.dev. */}}
{{- define "external-ca-operator.planeGroups" -}}
[openchoreo.dev, core.openchoreo.dev]
{{- end -}}

{{- define "external-ca-operator.planes" -}}
[dataplanes, buildplanes, workflowplanes, observabilityplanes]
{{- end -}}

{{- define "external-ca-operator.clusterPlanes" -}}
[clusterdataplanes, clusterbuildplanes, clusterworkflowplanes, clusterobservabilityplanes]
{{- end -}}

{{/* The names of the planes' CustomResourceDefinitions. */}}
{{- define "external-ca-operator.planeDefinitions" -}}
{{- $namespaced := include "external-ca-operator.planes" . | fromYamlArray }}
{{- $cluster := include "external-ca-operator.clusterPlanes" . | fromYamlArray }}
{{- range $group := include "external-ca-operator.planeGroups" . | fromYamlArray }}
{{- range $plural := concat $namespaced $cluster }}
- {{ $plural }}.{{ $group }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Writes what planes trust: their spec.clusterAgent.clientCA. */}}
{{- define "external-ca-operator.planesRule" -}}
- apiGroups: {{ include "external-ca-operator.planeGroups" . }}
  resources: {{ include "external-ca-operator.planes" . }}
  verbs: [patch]
{{- end -}}
