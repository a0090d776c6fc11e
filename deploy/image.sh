#!/bin/sh
# Builds the root of the image: image.sh ROOT VERSION, at the top of the sources. The Dockerfile runs it; so can anyone who wants to see what is
# in the image without a container engine (docs/operators.md). The same sources, Go and Debian packages give the same bytes.
set -eu
root=$1 version=$2

# Of the module alone: the workspace's others are tests, whose sums would have to be known too.
export GOWORK=off
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.released=$version" -o "$root/usr/local/bin/hashpivot" ./services/hashpivot

# The binary loads the ClickHouse engine at run time where it embeds one, and so is linked against the C library even without cgo: take that
# (and its loader) along. The engine itself is not in the image: this image uses a ClickHouse server.
for lib in $(ldd "$root/usr/local/bin/hashpivot" | grep -o '/[^ ]*'); do
    mkdir -p "$root$(dirname "$lib")"
    cp -L "$lib" "$root$lib"
done

# Certificate authorities, for the upstreams' TLS. Time zones are in the binary.
mkdir -p "$root/etc/ssl/certs"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'hashpivot:x:65532:65532::/:/sbin/nologin' >"$root/etc/passwd"

# What is in it: Go modules, the page's packages, and the Debian packages of the files above.
doc=$root/usr/share/doc/hashpivot
mkdir -p "$doc"
cp LICENSE "$doc/"
packages=$(mktemp)
trap 'rm -f "$packages"' EXIT
dpkg-query -W -f '${Package} ${Version} ${Architecture}\n' libc6 ca-certificates >"$packages"
(cd tools/sbom && go build -trimpath -o "$packages.sbom" .)
trap 'rm -f "$packages" "$packages.sbom"' EXIT
"$packages.sbom" -binary "$root/usr/local/bin/hashpivot" -version "$version" -npm services/gateway/web/package-lock.json -debian "$packages" >"$doc/sbom.cdx.json"

# A layer holds the times of its files.
find "$root" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
