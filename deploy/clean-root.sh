#!/bin/sh
# Proves the Dockerfile without a container engine, as root on Debian: clean-root.sh DIR, at the top of the checkout. In DIR/base it makes what stands for the image
# golang:*-bookworm (Debian's minimal system by debootstrap, and this machine's Go), runs the Dockerfile's steps there twice, the second time with nothing compiled
# before, wants the same bytes both times, and runs the image's program as its user in a root that cannot be written to.
set -eu
mkdir -p "$1"
dir=$(cd "$1" && pwd)
want=$(sed -n 's/^FROM golang:\([0-9.]*\)-bookworm AS .*/\1/p' deploy/Dockerfile)
have=$(go env GOVERSION)
[ "$have" = "go$want" ] || { echo "clean-root: the Dockerfile builds with go$want, this machine has $have" >&2; exit 1; }

mkdir -p "$dir/cache-1/go-pkg-mod"
if [ ! -e "$dir/debian.tar" ]; then
    debootstrap --variant=minbase --include=ca-certificates bookworm "$dir/debian" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
    tar -C "$dir/debian" -cf "$dir/debian.tar" .
    rm -rf "$dir/debian"
fi
(cd deploy/check && GOWORK=off go build -o "$dir/cleanroot" ./cleanroot)
for n in 1 2; do
    rm -rf --one-file-system "$dir/base" "$dir/image-$n" "$dir/cache-2"
    mkdir -p "$dir/base" "$dir/cache-2"
    ln -s "$dir/cache-1/go-pkg-mod" "$dir/cache-2/go-pkg-mod" # modules are fetched once
    tar -C "$dir/base" -xf "$dir/debian.tar"
    cp -a "$(go env GOROOT)" "$dir/base/usr/local/go"
    cp /etc/resolv.conf "$dir/base/etc/"
    unshare --mount "$dir/cleanroot" -base "$dir/base" -out "$dir/image-$n" -cache "$dir/cache-$n" -version "${VERSION:-v0.0.0}"
done
(cd "$dir/image-1" && find . -type f -exec sha256sum {} + | sort -k 2) >"$dir/sums-1"
(cd "$dir/image-2" && find . -type f -exec sha256sum {} + | sort -k 2) >"$dir/sums-2"
diff "$dir/sums-1" "$dir/sums-2"
echo "both builds have the same bytes:"
cat "$dir/sums-1"
du -sh "$dir/image-1"
