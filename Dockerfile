# The project with its compiled decoder, as `make setup` installs it; what runs in it is no root.
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends make gcc libc6-dev libjpeg-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/* && useradd --create-home user && install -d -o user /src /data
USER user
WORKDIR /src
COPY --chown=user . .
RUN make setup
ENV PATH=/src/.venv/bin:$PATH
WORKDIR /data
CMD ["alexnet-prep", "--help"]
