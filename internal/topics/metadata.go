package topics

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// metadata is the answer to a Metadata request of version 11. The client speaks
// version 8 at most, which knows no topic ids, and answers from its cache.
type metadata struct {
	clusterID string
	brokers   int
	topics    map[string]topicMetadata
}

type topicMetadata struct {
	err        error
	id         [16]byte
	partitions int
	leaderless int
}

func fetchMetadata(ctx context.Context, client *kafka.Client, topics []string) (*metadata, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := client.Transport.RoundTrip(ctx, client.Addr, &metadataRequest{topics: topics})
	if err != nil {
		return nil, err
	}
	return m.(*metadata), nil
}

func (*metadata) ApiKey() protocol.ApiKey { return protocol.Metadata }

// metadataRequest writes itself to a connection that the client has opened and
// authenticated (protocol.RawExchanger).
type metadataRequest struct{ topics []string }

func (*metadataRequest) ApiKey() protocol.ApiKey                 { return protocol.Metadata }
func (*metadataRequest) Required(map[protocol.ApiKey]int16) bool { return true }

func (r *metadataRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(11)
	for _, t := range r.topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(t)
		req.Topics = append(req.Topics, rt)
	}
	const correlation = 1 // one request at a time on a connection
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID(ClientID))
	if _, err := rw.Write(f.AppendRequest(nil, req, correlation)); err != nil {
		return nil, err
	}

	var head [9]byte // size, correlation id, no tags
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return nil, err
	}
	size, id := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if id != correlation || head[8] != 0 || size < 5 || size > 256<<20 {
		return nil, fmt.Errorf("unexpected head %x of a metadata response", head)
	}
	body := make([]byte, size-5)
	if _, err := io.ReadFull(rw, body); err != nil {
		return nil, err
	}
	res := kmsg.NewPtrMetadataResponse()
	res.SetVersion(11)
	if err := res.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("metadata response: %w", err)
	}
	return readMetadata(res), nil
}

func readMetadata(res *kmsg.MetadataResponse) *metadata {
	m := &metadata{brokers: len(res.Brokers), topics: make(map[string]topicMetadata, len(res.Topics))}
	if res.ClusterID != nil {
		m.clusterID = *res.ClusterID
	}
	for _, t := range res.Topics {
		if t.Topic == nil {
			continue
		}
		tm := topicMetadata{id: t.TopicID, partitions: len(t.Partitions)}
		if t.ErrorCode != 0 {
			tm.err = kafka.Error(t.ErrorCode)
		}
		for _, p := range t.Partitions {
			if p.Leader < 0 {
				tm.leaderless++
			}
		}
		m.topics[*t.Topic] = tm
	}
	return m
}
