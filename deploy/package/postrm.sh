#!/bin/sh
# After removal. Data stay: /var/lib/hashpivot holds streams and tables, which nothing else has.
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
if [ "$1" = purge ]; then rm -rf /etc/hashpivot; fi
