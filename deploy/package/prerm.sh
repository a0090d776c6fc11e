#!/bin/sh
# Before removal. An upgrade leaves the services running; postinst restarts them.
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop 'hashpivot@*.service' hashpivot.service hashpivot-migrate.service
fi
