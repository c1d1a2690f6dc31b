# The image of Layerscope with the starter pack: the dashboard, and with `--target ray` also the nodes of a Ray cluster.
#   docker build --tag layerscope .                        the dashboard
#   docker build --tag layerscope:ray --target ray .       the same, and a head or a worker of a Ray cluster
# Slurm is not included: its jobs run on machines that share the program folder, not in containers.
# PIP_EXTRA_INDEX_URL names a package index with other builds of torch, such as the smaller CPU-only builds. Do not put
# credentials into it: anyone with the image can read its build history.

FROM python:3.11.14-slim-trixie AS packages
ENV PIP_NO_CACHE_DIR=1
ARG PIP_EXTRA_INDEX_URL
WORKDIR /opt/layerscope
COPY supply supply
COPY requirements.txt requirements.lock requirements-starter.txt ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m supply.install --lock requirements.lock requirements.txt \
    && /opt/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-starter.txt \
    && { /opt/venv/bin/python -m compileall -qq -j 0 /opt/venv/lib || true; }

FROM packages AS packages-ray
COPY requirements-ray.txt ./
RUN /opt/venv/bin/python -m supply.install requirements-ray.txt \
    && { /opt/venv/bin/python -m compileall -qq -j 0 /opt/venv/lib || true; }

FROM python:3.11.14-slim-trixie AS base
# Create the cache with access for its owner only: a new volume mounted over it inherits owner and mode.
RUN groupadd --gid 10001 layerscope \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin layerscope \
    && install --directory --mode 0700 --owner 10001 --group 10001 /cache
WORKDIR /opt/layerscope
COPY . .
# The user has only read access here, so Python bytecode is compiled now, as that of the packages above. Some of their files
# are for newer Pythons, which compileall calls an error.
RUN chmod -R a+rX . \
    && python -m compileall -q analysis pages app.py
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LAYERSCOPE_CACHE=/cache \
    HF_HOME=/cache/hub
USER 10001:10001
VOLUME /cache
EXPOSE 8501
# The health address reports only that the server runs, so it needs no login.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
# The address is not the loopback, so it runs in Show mode unless LAYERSCOPE_MODE is team. Tokens are in /cache/access.json.
CMD ["python", "-m", "analysis", "dashboard", "--address", "0.0.0.0", "--port", "8501"]

FROM base AS ray
USER 0:0
# Compose, and KubeRay before 1.7, use wget (any version) for the health check of a Ray node.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
COPY --from=packages-ray /opt/venv /opt/venv
ENV RAY_USAGE_STATS_ENABLED=0
USER 10001:10001

FROM base AS dashboard
COPY --from=packages /opt/venv /opt/venv
