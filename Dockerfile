# Turns the code and its lock files into one image for every service of compose.yaml: nobody in it is root. docs/deploy.md
FROM python:3.11-slim-bookworm AS built
WORKDIR /srv/adloom
# A folder or page of wheels to take torch from, such as its build for CPUs alone; empty: the registry's, with CUDA.
ARG PIP_FIND_LINKS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/lock-server.txt requirements/torch.txt requirements/
RUN python -m venv /opt/adloom \
    && /opt/adloom/bin/pip install --no-deps --require-hashes -r requirements/lock-server.txt \
    && /opt/adloom/bin/pip install -r requirements/torch.txt
COPY . .
RUN /opt/adloom/bin/pip install --no-deps --editable .

FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 libfribidi0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home adloom
WORKDIR /srv/adloom
ENV PATH=/opt/adloom/bin:$PATH PYTHONUNBUFFERED=1 PREFECT_HOME=/srv/adloom/data/prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY=false DO_NOT_TRACK=1 \
    OMP_WAIT_POLICY=PASSIVE MPLCONFIGDIR=/tmp/matplotlib NUMBA_CACHE_DIR=/tmp/numba
COPY --from=built /opt/adloom /opt/adloom
COPY --from=built /srv/adloom /srv/adloom
# Volumes that are mounted here take over these folders' owner.
RUN install -d -o adloom -g adloom data data/shop data/runs data/models data/prefect
USER adloom
EXPOSE 8080
CMD ["adloom", "review", "--host", "0.0.0.0"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/sign-in', timeout=4)"]
