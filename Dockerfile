# One image for every service of docker-compose.yml. The torch pin takes the CUDA build where one is
# offered for the machine; the worker-gpu service is the one that uses it.
FROM python:3.11.7-slim-bookworm

RUN apt-get update \
 && apt-get install -y --no-install-recommends bubblewrap curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 hone \
 && install -d -o hone -g hone /srv/hone /data

WORKDIR /srv/hone
COPY --chown=hone:hone pyproject.toml constraints.txt README.md manage.py ./
COPY --chown=hone:hone platform platform
COPY --chown=hone:hone jobs jobs
COPY --chown=hone:hone graders graders
COPY --chown=hone:hone templates templates
COPY --chown=hone:hone static static
# `--build-arg EXTRAS=graders` brings the libraries that Python graders may import.
ARG EXTRAS=
RUN pip install --no-cache-dir torch==2.13.0 \
 && pip install --no-cache-dir -c constraints.txt -e ".${EXTRAS:+[$EXTRAS]}"

USER hone
ENV HONE_DATA_DIR=/data PYTHONUNBUFFERED=1
EXPOSE 8000
CMD ["gunicorn", "hone.wsgi", "--bind", "0.0.0.0:8000", "--threads", "32", "--no-control-socket"]
