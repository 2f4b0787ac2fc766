#!/bin/sh
# Runs once, on an empty volume: a database for studies and one for MLflow, each with its own user,
# so that MLflow's password does not open the studies.
set -eu
psql -v ON_ERROR_STOP=1 --username postgres \
  -v studies="$LATSEARCH_PASSWORD" -v mlflow="$MLFLOW_PASSWORD" <<'SQL'
CREATE ROLE latsearch LOGIN PASSWORD :'studies';
CREATE DATABASE latsearch OWNER latsearch;
REVOKE CONNECT ON DATABASE latsearch FROM PUBLIC;
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow;
REVOKE CONNECT ON DATABASE mlflow, mlflow_auth FROM PUBLIC;
SQL
