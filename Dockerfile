# The image of the daemon: docs/docker.md says how to run it. Built with BuildKit, the classic builder or buildah.
ARG BASE=debian:bookworm-slim

# -- what needs a compiler, pip and headers stays in this stage
FROM ${BASE} AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    gcc libc6-dev libkrb5-dev python3-dev python3-pip python3-venv \
 && rm -rf /var/lib/apt/lists/*
# Without pip inside: the environment goes into the image, and nothing is installed there any more.
RUN python3 -m venv --without-pip /opt/scpd
WORKDIR /src
# What scpd needs changes seldom, and gssapi takes a minute to compile: so it comes first, with the version alone.
COPY pyproject.toml README.md LICENSE ./
COPY scpd/version.py scpd/
RUN pip --python /opt/scpd/bin/python install --no-cache-dir --no-compile '.[all]'
COPY scpd scpd
# Compiled ahead, once and for all: no file of the image changes, and none can be written beside it.
RUN pip --python /opt/scpd/bin/python install --no-cache-dir --no-compile --no-deps --force-reinstall . \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/scpd/lib

# -- what runs
FROM ${BASE}
# tini is process 1 and scpd its only child: it adopts what programs of hooks leave behind, which scpd, as any process
# but the first, never hears of, and hands every signal on.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates libgssapi-krb5-2 python3 tini \
 && rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/debconf/*
COPY --from=build /opt/scpd /opt/scpd
COPY config/container.yaml /etc/scpd/scpd.yaml
# A user that is given by number alone is in group 0: so that any of them may write to a volume made of this.
RUN install -d -o 10001 -g 0 -m 0770 /var/lib/scpd
ENV PATH=/opt/scpd/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    KRB5RCACHEDIR=/var/lib/scpd
USER 10001:0
VOLUME /var/lib/scpd
EXPOSE 11112
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 CMD ["scpd", "health"]
ENTRYPOINT ["tini", "--", "scpd"]
CMD ["run"]
ARG VERSION=unknown
LABEL org.opencontainers.image.title="scpd" \
      org.opencontainers.image.description="A DICOM server that receives images and keeps them" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"
