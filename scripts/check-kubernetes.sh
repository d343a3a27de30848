#!/bin/sh
# The files of examples/kubernetes against the schemas of Kubernetes, with no property that a schema does not know. Brings kubernetes-validate by pip.
set -eu
cd "$(dirname "$0")/.."
bin=$(sh scripts/python.sh kubernetes kubernetes-validate==1.37.0)
"$bin/kubernetes-validate" --kubernetes-version 1.37.0 --strict --quiet examples/kubernetes/*.yaml
echo "examples/kubernetes/: as the schemas of Kubernetes 1.37 have it"
