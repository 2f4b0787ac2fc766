#!/usr/bin/env bash
# Makes the Secrets of the components postgres, minio and mlflow, with passwords of its own that are
# shown nowhere. One that exists is left as it is: a password that the database has already taken
# would be lost.
#
#   k8s/make-secrets.sh [NAMESPACE] [KUBECTL OPTION...]     e.g. latsearch --context kind-latsearch
#
# With a managed database and bucket make these two by hand instead (k8s/README.md):
# latsearch-driver and, where accounts do not give access, latsearch-s3.
set -euo pipefail
umask 077
namespace=${1:-latsearch}
[ $# -eq 0 ] || shift
kube() { kubectl --namespace "$namespace" ${options[@]+"${options[@]}"} "$@"; }
options=("$@")
password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

there() { kube get secret "$1" >/dev/null 2>&1; }
# values travel in files, not on command lines, where every user of the machine could read them
make() {
  local name=$1; shift
  if there "$name"; then echo "$name: is there, left as it is"; return; fi
  local from=()
  while [ $# -gt 0 ]; do
    printf %s "$2" >"$folder/$1"
    from+=("--from-file=$1=$folder/$1")
    shift 2
  done
  kube create secret generic "$name" "${from[@]}" >/dev/null
  echo "$name: made"
}
value() { kube get secret "$1" -o "go-template={{index .data \"$2\" | base64decode}}"; }

make latsearch-postgres postgres "$(password)" latsearch "$(password)" mlflow "$(password)"
studies=$(value latsearch-postgres latsearch)
mlflow=$(value latsearch-postgres mlflow)
make latsearch-driver \
  LATSEARCH_STORAGE "postgresql://latsearch:$studies@postgres:5432/latsearch" \
  MLFLOW_TRACKING_USERNAME admin MLFLOW_TRACKING_PASSWORD "$(password)"
make latsearch-s3 AWS_ACCESS_KEY_ID latsearch AWS_SECRET_ACCESS_KEY "$(password)"
make latsearch-mlflow \
  backend "postgresql://mlflow:$mlflow@postgres:5432/mlflow" flask "$(password)" \
  auth.ini "[mlflow]
default_permission = READ
database_uri = postgresql://mlflow:$mlflow@postgres:5432/mlflow_auth
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"
