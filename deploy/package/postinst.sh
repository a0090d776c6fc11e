#!/bin/sh
# After installation: the user, and what systemd knows. Nothing is started: a service without servers and keys would only fail.
set -e
if [ "$1" != configure ]; then exit 0; fi
if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers hashpivot.conf
elif ! getent passwd hashpivot >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/hashpivot --no-create-home --shell /usr/sbin/nologin hashpivot
fi
# Passwords: read by root and by the services.
chown root:hashpivot /etc/hashpivot/*.env
chmod 0640 /etc/hashpivot/*.env
install -d -o hashpivot -g hashpivot -m 0700 /var/lib/hashpivot
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # An upgrade: what runs goes on with the new binary. A rolling restart of several machines is the operator's (docs: "Upgrade").
    if [ -n "$2" ]; then systemctl try-restart 'hashpivot@*.service' hashpivot.service; fi
fi
