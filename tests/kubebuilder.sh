#!/bin/sh
# tests/kubebuilder.sh DIRECTORY
#
# Scaffolds a project as kubebuilder v4 does it, with validating, defaulting and conversion webhooks, in an empty directory, and
# prints what kustomize makes of its config/default on stdout. Nothing of it is edited. It needs the Go module proxy.
set -eu

tools=$(cd "$(dirname "$0")" && pwd)/tools.sh
kubebuilder=$("$tools" kubebuilder)/kubebuilder
controller_gen=$("$tools" controller-gen)/controller-gen
kustomize=$("$tools" kustomize)/kustomize
cd "$1"

export GOTOOLCHAIN=local GOFLAGS=-mod=mod GOWORK=off
{
	"$kubebuilder" init --domain example.org --repo example.org/fleet --project-name fleet \
		--fetch-deps=false --skip-go-version-check
	"$kubebuilder" create api --group ship --version v1 --kind Frigate --resource --controller --make=false
	"$kubebuilder" create api --group ship --version v1beta1 --kind Frigate --resource --controller=false --make=false
	"$kubebuilder" create webhook --group ship --version v1 --kind Frigate \
		--programmatic-validation --defaulting --conversion --spoke v1beta1 --make=false
	# `make manifests`
	"$controller_gen" rbac:roleName=manager-role crd webhook 'paths=./...' \
		output:crd:artifacts:config=config/crd/bases
} >&2
"$kustomize" build config/default
