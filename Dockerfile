# The HTTP service (docs/serving.md), on CPUs and on NVIDIA GPUs.
#
#   docker build --tag oneformer .
#   docker run --rm --publish 127.0.0.1:8000:8000 oneformer                            # the shipped model, on the CPU
#   docker run --rm --publish 127.0.0.1:8000:8000 --gpus all --volume oneformer:/cache oneformer --model NAME
#
# PyTorch's wheel from the default index brings CUDA and runs without a GPU too. For a smaller image without CUDA:
#   docker build --tag oneformer --build-arg TORCH_INDEX=<the index of CPU wheels that PyTorch's installation page names> .
#
# This file was not built where it was written, for want of a Docker daemon: its commands were tried one by one in a
# virtual environment, and a test checks that what it copies exists and that what it starts responds.
FROM python:3.11-slim-bookworm

# OpenCV's wheel links to GL and GLib even where no window is opened; Triton compiles its kernels on GPUs with gcc.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 MMSEG_ONEFORMER_CACHE=/cache
WORKDIR /app

# PyTorch in a layer of its own: it is most of the image and changes least.
ARG TORCH_INDEX=""
COPY requirements/constraints.txt requirements/
RUN pip install --constraint requirements/constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch torchvision

COPY setup.py pyproject.toml MANIFEST.in README.md LICENSE model-index.yml ./
COPY configs configs
COPY projects projects
COPY tools tools
RUN pip install --constraint requirements/constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    '.[openmmlab,serve]'

# Nobody in particular, with a home for Triton's kernels and a place for downloaded weights.
RUN useradd --create-home oneformer && install --directory --owner oneformer /cache
USER oneformer

EXPOSE 8000
# Loading the model, and downloading it before, counts as starting.
HEALTHCHECK --start-period=300s --interval=30s --timeout=10s CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=8); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
# Responses that are under way get 30 s when the container is stopped: docker stop --time 40.
ENTRYPOINT ["python", "tools/serve.py", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--model", "oneformer_r18-narrow_1xb16-6k_shapes-96x96"]
