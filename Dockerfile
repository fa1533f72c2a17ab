# The dashboard and the whole command line, with the store as a volume.
#
#   docker build -t saescope .                                   torch for the CPU
#   docker build -t saescope --build-arg TORCH=cu130 .           torch for CUDA 13.0
#   docker run -p 8501:8501 -v ./my-store:/store saescope        serve my-store on port 8501
#   docker run -v ./my-store:/store saescope saescope ls --store /store
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/saescope
WORKDIR /src
COPY constraints.txt ./
# torch changes rarely and is large: a layer of its own, before the sources. A build with a label (2.13.0+cpu) sorts
# above the plain one, so it is the one that pip takes.
RUN /opt/saescope/bin/pip install -c constraints.txt --extra-index-url "https://download.pytorch.org/whl/${TORCH}" torch
COPY pyproject.toml README.md LICENSE ./
COPY backend backend
COPY store store
COPY dashboard dashboard
RUN /opt/saescope/bin/pip install -c constraints.txt '.[all]'

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="saescope" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin saescope \
    && install -d -o saescope -g saescope /store
COPY --from=build /opt/saescope /opt/saescope
ENV PATH="/opt/saescope/bin:${PATH}" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SAESCOPE_SERVE_STORE=/store \
    SAESCOPE_SERVE_HOST=0.0.0.0 \
    SAESCOPE_SERVE_PORT=8501 \
    SAESCOPE_SERVE_BASE_PATH=""
USER saescope
WORKDIR /home/saescope
VOLUME /store
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; b = os.environ['SAESCOPE_SERVE_BASE_PATH'].strip('/'); urllib.request.urlopen('http://127.0.0.1:' + os.environ['SAESCOPE_SERVE_PORT'] + (b and '/' + b) + '/_stcore/health', timeout=4)"]
CMD ["saescope", "serve"]
