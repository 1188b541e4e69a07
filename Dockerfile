# syntax=docker/dockerfile:1
# One static binary and nothing else: no shell, no libraries, no CA certificates (the API server's comes with the
# service account). Reproducible: the same sources and SOURCE_DATE_EPOCH give the same bytes; `make image` sets it.
FROM docker.io/library/rust:1.95-bookworm AS build
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    make static && install -D -m 0555 target/static/external-ca-operator /image/external-ca-operator

FROM scratch
COPY --from=build /image/external-ca-operator /external-ca-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/external-ca-operator"]
CMD ["run"]
LABEL org.opencontainers.image.title="external-ca-operator" \
      org.opencontainers.image.description="Mutual TLS for OpenChoreo's cluster gateway and agents from a CA that you bring" \
      org.opencontainers.image.source="https://github.com/openchoreo/external-ca-operator" \
      org.opencontainers.image.licenses="Apache-2.0"
