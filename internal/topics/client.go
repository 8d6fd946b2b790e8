package topics

import (
	"net"
	"time"

	"github.com/segmentio/kafka-go"
)

// ClientID is the name under which every connection presents itself.
const ClientID = "promopool"

// requestTimeout bounds one administrative request. Fetching and producing set
// their own deadlines.
const requestTimeout = 10 * time.Second

// Client returns the one client that the packages of a process share, so that
// there is one set of connections and one view of who leads which partition.
// That view is at most a second old, which bounds how long requests go to a
// former leader. Where topics are named, only they are asked for, which
// matters on clusters with thousands.
//
// Close it with Close.
func Client(brokers []string, topics ...string) *kafka.Client {
	dialer := &net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}
	return &kafka.Client{
		Addr:    kafka.TCP(brokers...),
		Timeout: requestTimeout,
		Transport: &kafka.Transport{
			Dial:           dialer.DialContext,
			DialTimeout:    5 * time.Second,
			IdleTimeout:    30 * time.Second,
			MetadataTTL:    time.Second,
			MetadataTopics: topics,
			ClientID:       ClientID,
		},
	}
}

// Close ends the client's connections and the goroutine that refreshes its
// view of the cluster.
func Close(c *kafka.Client) {
	if t, ok := c.Transport.(*kafka.Transport); ok {
		t.CloseIdleConnections()
	}
}
