#!/bin/sh
# Installs what the tests run against beside Python packages: DCMTK as a real peer, a C compiler for the load
# generator, faketime for clock jumps. Needs root and Debian's apt-get; anywhere else it says what is missing.
set -u
missing=""
command -v storescu >/dev/null 2>&1 || missing="$missing dcmtk"
command -v faketime >/dev/null 2>&1 || missing="$missing faketime"
command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing$missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086  # a list of packages
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null || echo "apt-get failed"
else
  echo "not installed, tests that need them are skipped:$missing"
fi
