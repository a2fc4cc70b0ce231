# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Set up a mirror of everything, with a certificate of a private CA. Runs in the mirror's container.
set -eu
cd /srv
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=Lab CA' -keyout ca.key -out ca.pem \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj '/CN=vf-proxy-mirror' -keyout server.key -out server.csr 2>/dev/null
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out server.pem 2>/dev/null \
    -extfile <(printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:vf-proxy-mirror\n')

mkdir -p www/wheels www/simple www/apt www/dnf www/hf/lab/model/resolve/main
for wheel in *.whl; do
    project=$(echo "${wheel%%-*}" | tr '_A-Z' '-a-z')
    mv "$wheel" www/wheels/
    mkdir -p "www/simple/$project"
    echo "<a href='/wheels/$wheel'>$wheel</a>" >"www/simple/$project/index.html"
done
echo '<html>packages</html>' >www/simple/index.html
echo '<html>models</html>' >www/hf/index.html
echo '{"voice": "lab"}' >www/hf/lab/model/resolve/main/config.json
(cd www/apt && : >Packages && printf 'Date: %s\nSHA256:\n %s 0 Packages\n' "$(date -Ru)" "$(sha256sum <Packages | cut -d' ' -f1)" >Release)
createrepo_c --quiet www/dnf
git init --quiet --bare www/repo.git
git -C www/repo.git update-server-info
tree=$(git -C www/repo.git hash-object -t tree -w /dev/null)
git -C www/repo.git update-ref HEAD "$(git -C www/repo.git -c user.name=lab -c user.email=lab@lab commit-tree -m lab "$tree")"
git -C www/repo.git update-server-info

cat >/etc/nginx/sites-enabled/default <<'NGINX'
server {
    listen 80;
    listen 443 ssl;
    ssl_certificate /srv/server.pem;
    ssl_certificate_key /srv/server.key;
    root /srv/www;
    location /hf/ { add_header X-Repo-Commit 0123456789012345678901234567890123456789 always; }
}
NGINX
systemctl start nginx.service
