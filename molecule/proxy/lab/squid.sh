# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Set up a Squid with a password. 3128 passes TLS on, 3129 inspects it. Runs in the proxy's container.
set -eu
cd /etc/squid
# The password of molecule.yml.
htpasswd -bc passwd kim 'p#a@s/s:w%zz"x$' 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=Inspection CA' -keyout inspect.key -out inspect-ca.pem \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
cat inspect-ca.pem inspect.key >inspect.pem
/usr/lib/squid/security_file_certgen -c -s /var/spool/squid-certs -M 4MB >/dev/null
chown -R proxy:proxy /var/spool/squid-certs inspect.pem
cat >squid.conf <<'SQUID'
http_port 3128
http_port 3129 ssl-bump tls-cert=/etc/squid/inspect.pem generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program /usr/lib/squid/security_file_certgen -s /var/spool/squid-certs -M 4MB
sslcrtd_children 2
tls_outgoing_options cafile=/etc/squid/lab-ca.pem
acl first at_step SslBump1
ssl_bump peek first
ssl_bump bump all
auth_param basic program /usr/lib/squid/basic_ncsa_auth /etc/squid/passwd
auth_param basic children 2
auth_param basic realm lab
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
access_log stdio:/var/log/squid/access.log
cache deny all
pinger_enable off
shutdown_lifetime 1 second
SQUID
systemctl start squid.service
