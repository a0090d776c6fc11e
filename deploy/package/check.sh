#!/bin/sh
# Looks at what a snapshot has made: check.sh DIST. The Debian package holds what it must, with rights that it must, and its units are what systemd takes.
set -eu
dist=$1
deb=$(ls "$dist"/hashpivot_*_linux_amd64.deb)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
die() { echo "package: $*" >&2; exit 1; }

dpkg-deb --info "$deb" >"$work/info"
dpkg-deb --contents "$deb" >"$work/contents"
for want in '-rwxr-xr-x root/root .* ./usr/bin/hashpivot$' '-rw-r--r-- root/root .* ./usr/lib/systemd/system/hashpivot@.service$' \
    '-rw-r--r-- root/root .* ./usr/lib/sysusers.d/hashpivot.conf$' '-rw-r----- root/root .* ./etc/hashpivot/hashpivot.env$' '-rw-r----- root/root .* ./etc/hashpivot/lander.env$' \
    '-rwxr-xr-x root/root .* ./usr/share/hashpivot/fetch-libchdb.sh$' './usr/share/doc/hashpivot/copyright$'; do
    grep -qE -- "$want" "$work/contents" || die "no file like $want in $deb"
done
grep -q '^ Depends: libc6' "$work/info" || die "the package does not depend on libc6"

mkdir "$work/root" "$work/control"
dpkg-deb --extract "$deb" "$work/root"
dpkg-deb --control "$deb" "$work/control"
grep -qx /etc/hashpivot/hashpivot.env "$work/control/conffiles" || die "an upgrade would overwrite hashpivot.env"
for service in equities hashprice gpurates signals lander audit gateway nightly; do
    "$work/root/usr/bin/hashpivot" "$service" --help >/dev/null || die "hashpivot@$service has no command"
    grep -qx "/etc/hashpivot/$service.env" "$work/control/conffiles" || die "hashpivot@$service has no file of its own"
done
for script in postinst prerm postrm; do sh -n "$work/control/$script" || die "$script is no shell script"; done
"$work/root/usr/bin/hashpivot" version | grep -q "hashpivot v" || die "the packaged program does not tell its version"

# The archive's program is the package's, and its bill of materials says its checksum.
sum=$(sha256sum "$work/root/usr/bin/hashpivot" | cut -d' ' -f1)
grep -q "$sum" "$dist"/hashpivot_*_linux_amd64.cdx.json || die "the SBOM is of another program"
(cd "$dist" && sha256sum --quiet -c SHA256SUMS) || die "SHA256SUMS does not hold"
grep -q 'class Hashpivot < Formula' "$dist"/homebrew/Formula/hashpivot.rb || die "no formula"
if command -v ruby >/dev/null; then ruby -c "$dist/homebrew/Formula/hashpivot.rb" >/dev/null; else echo 'package: no ruby, the formula is not parsed'; fi

if command -v systemd-analyze >/dev/null; then
    for unit in hashpivot.service hashpivot@.service hashpivot-migrate.service hashpivot.target; do
        # Another unit's name of an instance, and the program where the package puts it.
        name=$(echo "$unit" | sed 's/@/@lander/')
        sed "s|/usr/bin/hashpivot|$work/root/usr/bin/hashpivot|" "$work/root/usr/lib/systemd/system/$unit" >"$work/$name"
    done
    SYSTEMD_UNIT_PATH="$work:" systemd-analyze verify --man=no "$work/hashpivot.service" "$work/hashpivot@lander.service" "$work/hashpivot-migrate.service" "$work/hashpivot.target" ||
        die "systemd does not take the units"
    for unit in hashpivot.service hashpivot@lander.service hashpivot-migrate.service; do
        systemd-analyze security --offline=true --threshold=25 "$work/$unit" | tail -n 1
    done
else
    echo 'package: no systemd-analyze, the units are not verified'
fi
echo "package: $(basename "$deb") holds what it must"
