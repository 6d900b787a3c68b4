#!/bin/sh
# Installs what the tests run against beside Python packages: DCMTK as a real peer, a C compiler for the load
# generator and OpenSSL's headers for it, faketime for clock jumps, and what user identity is verified against: a KDC, a
# directory, xmlsec1 as an issuer of SAML assertions, and the headers that the GSS-API binding is built with. Needs root
# and Debian's apt-get; anywhere else it says what is missing.
set -u
missing=""
command -v storescu >/dev/null 2>&1 || missing="$missing dcmtk"
command -v faketime >/dev/null 2>&1 || missing="$missing faketime"
command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
command -v openssl >/dev/null 2>&1 || missing="$missing openssl"
[ -e /usr/include/openssl/ssl.h ] || missing="$missing libssl-dev"
command -v krb5kdc >/dev/null 2>&1 || [ -x /usr/sbin/krb5kdc ] || missing="$missing krb5-kdc krb5-admin-server"
command -v kinit >/dev/null 2>&1 || missing="$missing krb5-user"
command -v krb5-config >/dev/null 2>&1 || missing="$missing libkrb5-dev"
command -v slapd >/dev/null 2>&1 || [ -x /usr/sbin/slapd ] || missing="$missing slapd ldap-utils"
command -v xmlsec1 >/dev/null 2>&1 || missing="$missing xmlsec1"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing$missing"
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # install, and start nothing
  # shellcheck disable=SC2086  # a list of packages
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null || echo "apt-get failed"
else
  echo "not installed, tests that need them are skipped:$missing"
fi
