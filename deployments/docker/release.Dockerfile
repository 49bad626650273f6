# The image of a release: as Dockerfile beside it, around the program that .goreleaser.yaml has built.

FROM --platform=$BUILDPLATFORM busybox:1.37 AS data
RUN mkdir -p /rootfs/data && chown 65532:65532 /rootfs/data

FROM gcr.io/distroless/static-debian12:nonroot
ARG TARGETPLATFORM
COPY $TARGETPLATFORM/klingbridge /usr/bin/klingbridge
COPY --from=data --chown=65532:65532 /rootfs/data /data
USER 65532:65532
WORKDIR /
ENV BRIDGE_DATA_DIR=/data
VOLUME /data
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["/usr/bin/klingbridge", "healthcheck"]
ENTRYPOINT ["/usr/bin/klingbridge"]
CMD ["serve"]
