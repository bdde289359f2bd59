# The router's image. Build it with scripts/router-image, which lays the context out:
#   requirements.txt   the locked dependencies with hashes, without the deploy extra
#   wheels/            exactly those wheels, and anvil's own
# Nothing is fetched while building, and no compiler, pip or shell user is in the final stage.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS build
COPY requirements.txt /build/requirements.txt
COPY wheels /build/wheels
RUN python3 -m venv --without-pip /opt/anvil \
 && python3 -m pip --python /opt/anvil/bin/python install --no-cache-dir --no-index --find-links /build/wheels \
      --require-hashes -r /build/requirements.txt \
 && python3 -m pip --python /opt/anvil/bin/python install --no-cache-dir --no-index --no-deps /build/wheels/anvil_serving-*.whl

FROM ${BASE}
RUN groupadd --gid 10001 anvil \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/anvil --shell /usr/sbin/nologin anvil \
 && install -d -o 10001 -g 10001 /etc/anvil /var/lib/anvil
COPY --from=build /opt/anvil /opt/anvil
ENV PATH=/opt/anvil/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/anvil
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["anvil", "probe", "--healthz"]
ENTRYPOINT ["anvil"]
CMD ["serve", "--config", "/etc/anvil/current/router.toml", "--host", "0.0.0.0", "--port", "8000"]
