package child

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// FreePort names a port of 127.0.0.1 that was free a moment ago. It lies below
// those the system gives to outgoing connections: one of them could hold the
// port when a stopped server wants it back, and a client that dials the stopped
// server could be connected to itself.
func FreePort() int {
	for {
		port := 20_000 + rand.IntN(10_000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err == nil {
			l.Close()
		}
		return port // any other error is told by the server that meets it again
	}
}
