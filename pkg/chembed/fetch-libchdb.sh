#!/bin/sh
# fetch-libchdb.sh DEST: puts the ClickHouse engine at DEST/26.7.3-stable.1/libchdb.so.
#
# The engine is chDB's shared library, as published in the npm package that the
# npm client downloads from whatever registry it is configured for. The package
# is checked against the sha512 below before a byte of it is used, unpacked
# beside its destination and moved into place by one rename, so that an
# interrupted run leaves nothing half done and a second run does nothing.
#
# LIBCHDB_TARBALL=FILE uses a package that is already on disk (air-gapped
# machines, image builds); it is checked in the same way.
set -eu

version=26.7.3-stable.1
# sha512 of the package, as npm writes it (base64), by platform.
integrity_linux_x64='sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw=='

say() { printf 'libchdb: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ $# -eq 1 ] || die "usage: $0 DEST   (for instance: $0 .cache/libchdb)"
dest=$1
target=$dest/$version

if [ -s "$target/libchdb.so" ]; then
	say "$target/libchdb.so is there already"
	exit 0
fi

platform=$(uname -s)-$(uname -m)
case $platform in
Linux-x86_64)
	package=@chdb/lib-linux-x64-gnu@$version
	integrity=$integrity_linux_x64
	;;
*)
	die "no checked package for $platform: embedded ClickHouse needs Linux on x86_64 (glibc). Elsewhere point hashpivot at a ClickHouse server by URL."
	;;
esac
if [ -e /lib/ld-musl-x86_64.so.1 ] && [ ! -e /lib64/ld-linux-x86-64.so.2 ]; then
	die "libchdb needs glibc and this is a musl system: use a glibc image (Debian, Ubuntu, Fedora) or point hashpivot at a ClickHouse server by URL."
fi

mkdir -p "$dest"
work=$(mktemp -d "$dest/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

tarball=${LIBCHDB_TARBALL:-}
if [ -z "$tarball" ]; then
	command -v npm >/dev/null 2>&1 ||
		die "npm is needed to download $package: install Node.js (any version with npm), or set LIBCHDB_TARBALL to the package's .tgz."
	say "downloading $package (170 MB)"
	name=$(cd "$work" && npm pack --silent "$package") ||
		die "npm pack $package did not succeed: check the network and 'npm config get registry', then run this again."
	tarball=$work/$(printf '%s\n' "$name" | tail -n 1)
fi
[ -r "$tarball" ] || die "cannot read $tarball"

say "checking sha512 of $(basename "$tarball")"
if command -v openssl >/dev/null 2>&1; then
	got=sha512-$(openssl dgst -sha512 -binary "$tarball" | openssl base64 -A)
elif command -v sha512sum >/dev/null 2>&1; then
	# Without openssl, compare in hexadecimal; od turns the pinned base64 into it.
	got=$(sha512sum "$tarball" | cut -d' ' -f1)
	integrity=$(printf '%s' "${integrity#sha512-}" | base64 -d | od -An -v -tx1 | tr -d ' \n')
else
	die "neither openssl nor sha512sum is installed: the package cannot be checked."
fi
[ "$got" = "$integrity" ] || die "the package is not the pinned one (got $got, want $integrity): nothing was installed."

say "unpacking (570 MB)"
mkdir "$work/unpacked"
tar -xzf "$tarball" -C "$work/unpacked" package/libchdb.so package/package.json
mkdir "$work/new"
mv "$work/unpacked/package/libchdb.so" "$work/unpacked/package/package.json" "$work/new/"
chmod 0755 "$work/new/libchdb.so"

# Another run may have finished meanwhile; either result is the same bytes.
rm -rf "$target.old"
if [ -e "$target" ]; then mv "$target" "$target.old"; fi
mv "$work/new" "$target" 2>/dev/null || [ -s "$target/libchdb.so" ] || die "cannot move the library to $target"
rm -rf "$target.old"
say "installed $target/libchdb.so"
