# Tally as an image, from the JavaScript that the npm package ships.
#   docker build -t tally .                      for a ClickHouse server (--clickhouse): small
#   docker build -t tally:embedded --target embedded .   with the embedded ClickHouse (half a gigabyte more)
# Runs as user 1000 and writes to /data alone: docker run --read-only -v tally-data:/data tally run JOB --data /data ...
# The state store has prebuilt binaries for linux/amd64; build it there, or with --platform linux/amd64.

FROM node:24.21.0-bookworm-slim AS built
WORKDIR /tally
COPY package.json package-lock.json ./
# Nothing that the build needs has an install script, so none is run.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY bin bin
COPY contracts contracts
COPY scripts scripts
COPY src src
COPY state state
COPY topology topology
RUN node scripts/build.mjs

FROM node:24.21.0-bookworm-slim AS installed
WORKDIR /tally
COPY package.json package-lock.json ./
# npm's package "node" is for machines without Node 24; sources and other systems' binaries of the state store are no use here.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
    && rm -rf node_modules/node node_modules/@nxtedition/rocksdb/deps node_modules/@nxtedition/rocksdb/prebuilds.zip \
        node_modules/@nxtedition/rocksdb/prebuilds/darwin-* /root/.npm

FROM installed AS lean
RUN rm -rf node_modules/chdb node_modules/@chdb

FROM node:24.21.0-bookworm-slim AS base
ENV NODE_ENV=production
WORKDIR /tally
COPY package.json README.md CHANGELOG.md LICENSE ./
COPY bin bin
COPY --from=built /tally/dist dist
RUN install -d -o 1000 -g 1000 /data
USER 1000:1000
VOLUME ["/data"]
EXPOSE 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "/tally/bin/tally.mjs"]
CMD ["--help"]

FROM base AS embedded
COPY --from=installed /tally/node_modules node_modules

FROM base AS tally
COPY --from=lean /tally/node_modules node_modules
