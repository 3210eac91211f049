# The image of every role: one static binary, the CA certificates, nothing else. `make image` builds it.
FROM docker.io/library/rust:1.95.0-bookworm AS build
WORKDIR /src
COPY rust-toolchain.toml* Cargo.toml Cargo.lock Makefile ./
COPY bench bench
COPY src src
# `make test` runs the same step.
RUN make static CI=true && cp target/*-linux-gnu/image/twinops /twinops

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /twinops /twinops
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 10001:10001
ENTRYPOINT ["/twinops"]
