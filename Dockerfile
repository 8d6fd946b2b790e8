FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /promopool ./cmd/promopool

FROM alpine:3.22
COPY --from=build /promopool /usr/local/bin/promopool
USER nobody
ENTRYPOINT ["promopool"]
