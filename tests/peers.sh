#!/bin/sh
# Installs what the tests run against beside Python packages: DCMTK and Orthanc as real peers, a C compiler for the load
# generator and OpenSSL's headers for it, faketime for clock jumps, what user identity is verified against (a KDC, a
# directory, xmlsec1 as an issuer of SAML assertions, the headers that the GSS-API binding is built with), and who reads
# the admin endpoint: a browser and promtool; PostgreSQL, of which the tests start servers of their own. With `system`:
# what boots a system of its own and builds the image.
# Needs root and Debian's apt-get; anywhere else it says what is missing.
set -u
missing=""
lacks() { ! command -v "$1" >/dev/null 2>&1 && [ ! -x "/usr/sbin/$1" ]; }
if [ "${1:-}" = system ]; then
  lacks debootstrap && missing="$missing debootstrap"
  lacks systemd-nspawn && missing="$missing systemd-container"
  lacks buildah && missing="$missing buildah"
  lacks ip && missing="$missing iproute2"
else
  lacks storescu && missing="$missing dcmtk"
  lacks Orthanc && missing="$missing orthanc"
  lacks faketime && missing="$missing faketime"
  lacks cc && missing="$missing gcc libc6-dev"
  lacks openssl && missing="$missing openssl"
  [ -e /usr/include/openssl/ssl.h ] || missing="$missing libssl-dev"
  lacks krb5kdc && missing="$missing krb5-kdc krb5-admin-server"
  lacks kinit && missing="$missing krb5-user"
  lacks krb5-config && missing="$missing libkrb5-dev"
  lacks slapd && missing="$missing slapd ldap-utils"
  lacks xmlsec1 && missing="$missing xmlsec1"
  lacks chromedriver && missing="$missing chromium chromium-driver"
  lacks promtool && missing="$missing prometheus"
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing$missing"
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # install, and start nothing
  # shellcheck disable=SC2086  # a list of packages
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null || echo "apt-get failed"
else
  echo "not installed, tests that need them are skipped:$missing"
fi
