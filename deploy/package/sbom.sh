#!/bin/sh
# For goreleaser: sbom.sh PROGRAM DOCUMENT VERSION. SBOM is the built tools/sbom, ROOT the checkout.
set -eu
"$SBOM" -binary "$1" -version "$3" -npm "$ROOT/services/gateway/web/package-lock.json" >"$2"
